//! Where a policy stands: expected reward against KL to the prior, and the best that could be had.
//!
//! ```text
//! measure(policy)       → E_π[r], KL(π ‖ p₀)            of a checkpoint, on held-out prompts
//! prior_rewards(prior)  → optimal_frontier, best_of_n   of any policy whatever, from the prior alone
//! Exact                 → the optimum, and gaps to it   where all responses can be listed
//! ```
//!
//! Points come with bootstrap-t intervals over distinct prompts, where there are five at least. KL is
//! in nats per sequence, exact over the vocabulary at each token of sampled responses. Every method is
//! measured by this one meter; it knows of no method and writes no file.
//!
//! ```
//! // Two prompts, rewards of the prior's responses to each.
//! let rewards = [[0.0, 1.0].repeat(100), [0.0, 0.0, 0.0, 1.0].repeat(50)];
//! let points = rlhf_eval::optimal_frontier(&rewards, &[1.0, 2.0]);
//! assert!(points[1].outcomes[0].reward > points[0].outcomes[0].reward);
//! ```

#![forbid(unsafe_code)]

mod best_of_n;
mod bootstrap;
mod distinct;
mod draws;
mod enumerate;
mod exact;
mod frontier;
mod listing;
mod measure;
mod proportion;
mod student;

pub use best_of_n::{best_of_n_points, best_of_n_reward};
pub use bootstrap::{Bootstrap, intervals};
pub use distinct::Distinct;
pub use draws::Draws;
pub use enumerate::Enumeration;
pub use exact::{Exact, Priced, Standing};
pub use frontier::{FrontierEstimate, optimal_frontier, optimal_points, temperatures};
pub use listing::Listing;
pub use measure::{Measurement, OfPrompt, Trial, measure, prior_rewards};
pub use proportion::wilson;
pub use rlhf_journal::LEAST_PROMPTS;
