//! Re-exports the crates of `rlhf`, for programs that add a reward, a prior or a method.
//!
//! All methods maximize J(π) = E\[r\] − β·KL(π ‖ p₀). [`objective`] defines its symbols, [`policy`] is π,
//! [`prior`] is p₀, [`reward`] is r. [`train`] has the training loops; [`ppo`], [`reinforce`], [`dpo`] and
//! [`sft`] have the methods. [`experiment`] runs them from settings, as the program `rlhf` does. The program
//! itself adds only the command line and the terminal output.
//!
//! | to | start at |
//! |---|---|
//! | run from a program what `rlhf train` runs | [`experiment::Session`] |
//! | add a reward, a prior or a method that settings can name | [`experiment::Registry`], and the examples `own_reward`, `own_prior`, `own_method` |
//! | write a loss | [`train::Learner`], [`train::Method`] |
//! | load, evaluate and sample a model | [`lm::load`], [`objective::Network`], [`policy::sample`] |
//! | solve a small problem exactly | [`oracle::Problem`] |
//! | measure reward against KL | [`experiment::Evaluator`], [`eval::measure`] |
//!
//! Trains in a folder and measures the reward and KL of its checkpoints:
//!
//! ```no_run
//! use rlhf::experiment::Session;
//!
//! # fn main() -> anyhow::Result<()> {
//! let session = Session::default();
//! let mut settings = session.layers(Some("configs/ppo-kl.toml".as_ref()))?;
//! settings.set("beta=0.1")?;
//! for point in session.fit_and_measure(&settings, "runs/mine".as_ref())? {
//!     eprintln!("{:?}: reward {}, KL {} nats", point.point, point.reward.value, point.kl.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A custom reward and a custom prior, checked with the [conformance tests](objective::conformance):
//!
//! ```
//! use rlhf::objective::conformance::{self, Measure};
//! use rlhf::objective::{Beta, Decoder, Error, KlPenalty, LogDist, Objective, PerSeq, PerToken};
//! use rlhf::objective::{Prior, Result, Reward, Sequences};
//! use std::ops::Range;
//!
//! /// One for each even token of a response.
//! struct Even;
//!
//! impl Reward for Even {
//!     fn score(&mut self, s: &Sequences) -> Result<PerSeq> {
//!         let even = |ids: &[u32]| ids.iter().filter(|id| **id % 2 == 0).count() as f32;
//!         PerSeq::from_vec(s.responses().iter().map(|y| even(&y.ids)).collect())
//!     }
//! }
//!
//! /// Ends after each token with probability ½; token 0 is the end.
//! struct Short { row: Vec<f32> }
//!
//! impl Prior for Short {
//!     fn log_probs(&mut self, s: &Sequences) -> Result<PerToken> {
//!         let tokens = s.responses().iter().flat_map(|y| &y.ids);
//!         PerToken::from_vec(tokens.map(|&a| self.row[a as usize]).collect(), s.offsets())
//!     }
//!     fn log_dist(&mut self, _: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
//!         LogDist::of_log_probs(self.row.repeat(rows.len()), self.row.len())
//!     }
//!     fn is_normalized(&self) -> bool {
//!         true
//!     }
//!     fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
//!         Err(Error::Unsupported("this prior cannot be sampled".into()))
//!     }
//! }
//!
//! let short = || {
//!     let mut row = vec![0.05f32.ln(); 11];
//!     row[0] = 0.5f32.ln();
//!     Short { row }
//! };
//! conformance::reward(&mut Even, &conformance::batch(11)).unwrap();
//! conformance::prior(&mut short(), &conformance::batch(11), Measure::Distribution).unwrap();
//! let penalty = KlPenalty::new(Box::new(short()), Beta::Fixed(0.1));
//! let objective = Objective::new(Box::new(Even), penalty); // E[even tokens] − 0.1·KL(π ‖ short)
//! # let _ = objective;
//! ```

#![forbid(unsafe_code)]

pub use rlhf_data as data;
pub use rlhf_device as device;
pub use rlhf_dpo as dpo;
pub use rlhf_eval as eval;
pub use rlhf_experiment as experiment;
pub use rlhf_hub as hub;
pub use rlhf_journal as journal;
pub use rlhf_lm as lm;
pub use rlhf_objective as objective;
pub use rlhf_oracle as oracle;
pub use rlhf_policy as policy;
pub use rlhf_ppo as ppo;
pub use rlhf_prior as prior;
pub use rlhf_reinforce as reinforce;
pub use rlhf_report as report;
pub use rlhf_reward as reward;
pub use rlhf_sft as sft;
pub use rlhf_tensor as tensor;
pub use rlhf_train as train;
