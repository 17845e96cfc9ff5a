//! Exact answers, in f64, to problems small enough to enumerate.
//!
//! ```text
//! J(π) = E_π[ r ] − β·KL(π ‖ p₀) ≤ β·log Z,     equal at π* = p₀·exp(r/β)/Z,     β·log Z − J(π) = β·KL(π ‖ π*)
//! ```
//!
//! [`soft_backup`] is the one step everything is made of. A [`Problem`] is a prior, a reward and β
//! on a token [`Tree`]; [`Problem::solve`] gives V, Q, π* and log Z by backward recursion, and
//! [`Problem::evaluate`] measures any [`Policy`]. [`Responses`] is the same problem with whole
//! responses as actions: the exact frontier, best-of-n, and real networks whose responses can be
//! listed. [`Mdp`] has stochastic transitions. Everything here is plain numbers: no tensors, no
//! models, nothing sampled.
//!
//! ```
//! // Two actions, r = (1, 0), temperature 1, no prior: control as inference in one line.
//! let backup = rlhf_oracle::soft_backup(&[1.0, 0.0], &rlhf_oracle::counting(2), 1.0);
//! assert!((backup.value - 1.313_261_687_518).abs() < 1e-12);
//! assert!((backup.log_policy[0].exp() - 0.731_058_578_630).abs() < 1e-12);
//! ```

#![forbid(unsafe_code)]

mod backup;
mod best_of_n;
mod error;
mod evaluate;
mod iterate;
mod local;
mod mdp;
mod parse;
mod parse_mdp;
mod policy;
mod problem;
mod quantile;
mod reference_values;
mod responses;
mod tree;

#[cfg(test)]
mod objective_and_sampler_tests;
#[cfg(test)]
mod prior_and_estimator_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod testing;

pub use backup::{Backup, counting, soft_backup};
pub use best_of_n::best_of_n_kl_bound;
pub use error::{Error, Result};
pub use evaluate::{Evaluation, Gap};
pub use local::LocalPenalty;
pub use mdp::{Mdp, MdpAction, MdpSolution};
pub use policy::Policy;
pub use problem::{Problem, Solution};
pub use quantile::{QuantileOptimum, quantile_optimum};
pub use reference_values::{reference_demonstrations, reference_tree};
pub use responses::{Optimum, Outcome, Responses};
pub use tree::{Child, Tree};

/// The numbers of the README.
#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct Readme;
