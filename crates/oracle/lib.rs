//! Exact solutions, in f64, of problems small enough to enumerate.
//!
//! ```text
//! J(π) = E_π[ r ] − β·KL(π ‖ p₀) ≤ β·log Z,     equal at π* = p₀·exp(r/β)/Z,     β·log Z − J(π) = β·KL(π ‖ π*)
//! ```
//!
//! All solvers are built on [`soft_backup`]. A [`Problem`] is a prior, a reward and β on a token
//! [`Tree`]; [`Problem::solve`] computes V, Q, π* and log Z by backward recursion, and
//! [`Problem::evaluate`] evaluates any [`Policy`]. [`Responses`] is the same problem with whole
//! responses as actions: the exact frontier, best-of-n, and networks whose responses can be
//! enumerated. [`Mdp`] has stochastic transitions. Everything here is plain f64 arithmetic: no
//! tensors, no models, no sampling.
//!
//! ```
//! // Two actions, r = (1, 0), temperature 1, the counting measure as prior.
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

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct Readme;
