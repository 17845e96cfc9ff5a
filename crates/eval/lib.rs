//! Evaluates policies: expected reward against KL to the prior, and the optimal frontier.
//!
//! ```text
//! measure(policy)       → E_π[r], KL(π ‖ p₀)            of a checkpoint, on held-out prompts
//! prior_rewards(prior)  → optimal_frontier, best_of_n   estimated from samples of the prior
//! Exact                 → the optimum, and gaps to it   where all responses can be enumerated
//! ```
//!
//! Points have bootstrap-t intervals over distinct prompts, where there are at least five. KL is in
//! nats per sequence, exact over the vocabulary at each token of sampled responses. All methods are
//! evaluated by the same code; this crate depends on no method and writes no file.
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
mod enumerate;
mod exact;
mod frontier;
mod listing;
mod measure;
mod prior_rewards;
mod proportion;
mod student_t;

pub use best_of_n::{best_of_n_points, best_of_n_reward};
pub use bootstrap::{Bootstrap, intervals};
pub use distinct::DistinctPrompts;
pub use enumerate::Enumeration;
pub use exact::{Exact, ExactEvaluation, GapToOptimum};
pub use frontier::{FrontierEstimate, lambda_grid, optimal_frontier, optimal_points};
pub use listing::Listing;
pub use measure::{EvalSetup, Measurement, RewardAndKl, measure, prior_rewards};
pub use prior_rewards::PriorRewards;
pub use proportion::wilson;
pub use rlhf_journal::LEAST_PROMPTS;
