//! π: a policy with or without a critic, the sampler, and the pass that turns samples into rollouts.
//!
//! ```text
//! sample(decoder, prompts) → Sampled → score(network, prior, sampled) → Rollouts
//! ```

#![forbid(unsafe_code)]

mod actor_critic;
mod sampler;
mod score;
mod snapshot;
pub mod testing;
mod waiting;

pub use actor_critic::ActorCritic;
pub use rlhf_objective::Draw;
pub use sampler::{Sampled, Sampling, sample};
pub use score::score;
pub use snapshot::{SnapshotError, load_optimizer, save_optimizer};
