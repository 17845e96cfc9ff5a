//! The policy π: the networks of a run by role, the sampler, and the forward pass that turns samples into
//! rollouts.
//!
//! ```text
//! sample(decoder, prompts) → Sampled → score(network, prior, sampled) → Rollouts
//! ```

#![forbid(unsafe_code)]

mod batch_scheduler;
mod networks;
mod role;
mod sampler;
mod saved;
mod score;
mod snapshot;
pub mod testing;

pub use networks::Networks;
pub use rlhf_objective::Draw;
pub use role::Role;
pub use sampler::{Sampled, Sampling, sample};
pub use saved::{SaveError, SavedNetwork};
pub use score::score;
pub use snapshot::{SnapshotError, load_optimizer, save_optimizer};
