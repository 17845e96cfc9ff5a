//! r(x, y): rules that score a response.
//!
//! A [`Rule`] is what a user writes (it is read from TOML), [`Rules`] is what scores: patterns
//! compiled, files read, tokens looked up. No model, prior or method is known here.
//!
//! ```
//! use rlhf_objective::{Finish, Prompt, Response, Reward, Sequences};
//! use rlhf_reward::{Rule, Rules};
//!
//! let rule: Rule = "token-share:2".parse().unwrap();
//! let mut reward = Rules::new(&rule, &|_| None).unwrap();
//! let answer = Response::new(0, vec![2, 2, 0, 1], Finish::Length);
//! let sequences = Sequences::new(vec![Prompt::from_ids(vec![0])], vec![answer]).unwrap();
//! assert_eq!(reward.score(&sequences).unwrap().to_vec().unwrap(), [0.5]);
//! ```

mod error;
mod lexicon;
mod rule;
mod rules;

pub use error::{Error, Result};
pub use lexicon::Lexicon;
pub use rule::{Rule, Token, Weighted};
pub use rules::Rules;
