//! Language models: the networks and the tokenizer of a checkpoint folder. No RL is known here.

pub mod bodies;
mod config;
mod error;
mod model;
mod packed;
mod plain;
mod tokenizer;

pub use config::{Activation, Gpt2Config};
pub use error::{Error, Result};
pub use model::{Backend, Heads, LoadOptions, Model, load};
pub use packed::{Packed, Segment};
pub use plain::Plain;
pub use tokenizer::Tokenizer;
