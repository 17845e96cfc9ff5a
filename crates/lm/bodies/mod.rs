//! Architectures: what their parameters are called and how they start.

pub mod gpt2;
pub mod table;
