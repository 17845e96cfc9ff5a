//! The objective of KL-regularized policy optimization: its types and traits.
//!
//! ```text
//! maximize  J(π) = E[ r(x,y) ] − β·KL( π(·|x) ‖ p₀(·|x) )        maximum: π* = p₀·exp(r/β)/Z
//! ```
//!
//! [`Reward`] is r, [`Prior`] is p₀, [`Beta`] is β, and [`Network`] is the interface of π.
//! [`Objective`] combines them: it turns [`Rollouts`] into rewards per token. [`KlPenalty`] is the
//! prior with β, which is all that methods on preference pairs need. This crate contains no model and
//! reads no files.
//!
//! # Letters
//! B sequences (responses), T tokens of one response, P tokens of one prompt, V vocabulary entries,
//! D width, N = ΣT response tokens of a batch. Log-probabilities, KL and entropy are in nats; the
//! objective, scores, rewards and values are in units of the reward.
//!
//! # Ragged, never padded
//! A quantity per response token is a [`PerToken`]: flat values and offsets. It contains no prompt
//! tokens and no padding, so no mean can include them.
//!
//! ```
//! use rlhf_objective::{Finish, PerToken, Prompt, Response, Sequences};
//!
//! let prompts = vec![Prompt::from_ids(vec![1, 2])];
//! let response = |ids: &[u32]| Response::new(0, ids.to_vec(), Finish::Length);
//! let sequences = Sequences::new(prompts, vec![response(&[3, 4]), response(&[5])]).unwrap();
//! let log_probs = PerToken::from_vec(vec![-1.0, -2.0, -0.5], sequences.offsets()).unwrap();
//! assert_eq!(log_probs.sums().unwrap().to_vec().unwrap(), [-3.0, -0.5]);
//! ```

#![forbid(unsafe_code)]

mod action_values;
mod batch_size;
mod beta;
pub mod conformance;
mod dataset;
mod decoder;
mod error;
#[cfg(test)]
mod estimator_tests;
mod estimators;
mod kl;
mod log_dist;
mod log_sigmoid;
mod logits_processor;
mod network;
#[allow(clippy::module_inception)]
mod objective;
mod pairs;
mod parameter_set;
mod ragged;
mod rollouts;
mod row_gradients;
mod rows;
mod sequences;
mod tilt;
mod token_kl;
mod wrapper;

pub use action_values::{ActionValues, RowValues};
pub use batch_size::BatchSize;
pub use beta::{Adaptive, Beta, Bound, Observed, Target};
pub use dataset::{Dataset, NoSettings};
pub use decoder::{Decoder, Start, check_gather, gather_rows};
pub use error::{Error, Result};
pub use estimators::{k1, k2, k3, kl_of_rows, rao_blackwell};
pub use kl::{PriorComparison, exact_kl};
pub use log_dist::{Draw, LogDist, RowCallback, rows_copied};
pub use log_sigmoid::log_sigmoid;
pub use logits_processor::MappedDecoder;
pub use network::{Network, OutputGrads, OutputSpec, Outputs, Purpose, rows_at_once};
pub use objective::{
    BatchCallback, KlPenalty, Objective, Prior, Reward, finite_optional_scores, finite_scores,
};
pub use pairs::{Pairs, PairsWithPrior};
pub use parameter_set::{ParameterInfo, ParameterSet};
pub use ragged::{PerSeq, PerToken};
pub use rollouts::{Rollouts, Scored};
pub use row_gradients::RowGradients;
pub use sequences::{Finish, Prompt, Response, Sequences};
pub use tilt::tilt;
pub use token_kl::LocalKl;
pub use wrapper::NetworkWrapper;
