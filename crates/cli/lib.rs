//! The crates of `rlhf` under one name, for programs of one's own: a reward, a prior, a method.
//!
//! One equation, maximize J(π) = E\[r\] − β·KL(π ‖ p₀), and a module a symbol: [`objective`] holds
//! them all, [`policy`] is π, [`prior`] is p₀, [`reward`] is r; [`train`] has the loops, [`ppo`],
//! [`reinforce`], [`dpo`] and [`sft`] the methods. Commands and configuration belong to the program alone.
//!
//! ```
//! use rlhf::objective::{Finish, PerSeq, Prompt, Response, Result, Reward, Sequences};
//!
//! /// One for each even token of a response.
//! struct Even;
//!
//! impl Reward for Even {
//!     fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
//!         let even = |ids: &[u32]| ids.iter().filter(|id| **id % 2 == 0).count() as f32;
//!         let responses = sequences.responses().iter();
//!         PerSeq::from_vec(responses.map(|response| even(&response.ids)).collect())
//!     }
//! }
//!
//! let answer = Response::new(0, vec![2, 3, 4], Finish::Length);
//! let sequences = Sequences::new(vec![Prompt::from_ids(vec![1])], vec![answer]).unwrap();
//! assert_eq!(Even.score(&sequences).unwrap().to_vec().unwrap(), [2.0]);
//! ```

pub use rlhf_data as data;
pub use rlhf_dpo as dpo;
pub use rlhf_eval as eval;
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
