//! The rewards r(x, y): rules, external programs and reward models that score responses, and the loss that
//! fits a reward model.
//!
//! A [`Rule`] is the setting a user writes in TOML. [`Rules`] is the reward made from it, with patterns
//! compiled, files and models loaded and tokens looked up. External programs and HTTP endpoints are rules
//! too. A [`RewardModel`] is a network with one score per response; [`BradleyTerry`] fits it to preference
//! pairs. This crate uses no prior and no policy-optimization method.
//!
//! ```
//! use rlhf_objective::{Finish, Prompt, Response, Reward, Sequences};
//! use rlhf_reward::{Rule, Rules};
//!
//! let rule: Rule = "token-share:2".parse().unwrap();
//! let folder = tempfile::tempdir().unwrap(); // of a checkpoint without a tokenizer
//! let tokenizer = rlhf_lm::Tokenizer::load(folder.path(), 3).unwrap();
//! let mut reward = Rules::new(&rule, &tokenizer).unwrap();
//! let answer = Response::new(0, vec![2, 2, 0, 1], Finish::Length);
//! let sequences = Sequences::new(vec![Prompt::from_ids(vec![0])], vec![answer]).unwrap();
//! assert_eq!(reward.score(&sequences).unwrap().to_vec().unwrap(), [0.5]);
//! ```

#![forbid(unsafe_code)]

mod answer;
mod bradley_terry;
mod calibration;
mod command;
#[cfg(test)]
mod conformance_tests;
mod endpoint;
mod ensemble;
mod eos_replacement;
mod error;
mod external_protocol;
mod field;
mod implicit;
mod interrupt_timer;
mod lexicon;
mod model;
mod parse;
mod process;
mod registered;
mod retokenize;
mod rule;
mod rules;
mod spec;
mod table;

pub use bradley_terry::{BradleyTerry, BradleyTerryConfig, PairBatch, PairSource};
pub use calibration::{Bin, Calibration};
pub use command::Command;
pub use endpoint::Endpoint;
pub use error::{Error, Result};
pub use field::Field;
pub use lexicon::Lexicon;
pub use model::{Normalization, RewardModel};
pub use parse::RULE_FORMS;
pub use process::end_programs;
pub use registered::{Registered, RewardKind};
pub use rule::{Combine, OnNull, Rule, Token, Weighted};
pub use rules::Rules;
pub use spec::BradleyTerrySpec;
pub use table::RewardTable;
