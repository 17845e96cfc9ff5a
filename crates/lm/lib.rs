//! Language models: the networks and the tokenizer of a checkpoint folder. No RL is known here.

mod error;
mod model;
mod tokenizer;

pub use error::{Error, Result};
pub use model::{Backend, Heads, LoadOptions, Model, load};
pub use tokenizer::Tokenizer;
