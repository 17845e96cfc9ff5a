//! A tiny world to try everything on: short film reviews from a grammar, a small GPT-2 that has learnt
//! to write them, prompts, preference pairs, and a reward model fitted to the pairs.
//!
//! The pairs were labelled by a known [`gold`] score, so what a reward model or a policy has learnt can
//! be held against the truth. Nothing is trained here: `scripts/demo.sh` makes the files with the
//! commands that everybody has, and [`FILES`] holds them.
//!
//! ```
//! assert_eq!(rlhf_demo::gold("wonderful but a little slow ."), 1.75);
//! assert!(rlhf_demo::FILES.iter().any(|(path, _)| *path == "model/model.safetensors"));
//! ```

#![forbid(unsafe_code)]

mod grammar;
mod shipped;
mod texts;
mod true_score;

pub use shipped::{FILES, SEED};
pub use texts::{Texts, lexicon, model_config, tokenizer};
pub use true_score::{gold, preference};
