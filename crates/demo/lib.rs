//! A small built-in demo: short film reviews from a grammar, a small GPT-2 trained on them, prompts,
//! preference pairs, and a reward model trained on the pairs.
//!
//! The pairs were labelled by a known function, [`true_score`], so a reward model or a policy can be
//! compared with it. Nothing is trained here: `scripts/demo.sh` makes the files with the commands of the
//! program, and [`FILES`] holds them.
//!
//! ```
//! assert_eq!(rlhf_demo::true_score("wonderful but a little slow ."), 1.75);
//! assert!(rlhf_demo::FILES.iter().any(|(path, _)| *path == "model/model.safetensors"));
//! ```

#![forbid(unsafe_code)]

mod grammar;
mod shipped;
mod texts;
mod true_score;

pub use shipped::{FILES, SEED};
pub use texts::{Texts, lexicon, model_config, tokenizer};
pub use true_score::{preference, true_score};
