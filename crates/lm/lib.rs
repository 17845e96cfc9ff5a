//! Language models: the networks and the tokenizer of a checkpoint folder. No RL is known here.

#![forbid(unsafe_code)]

#[cfg(test)]
mod bf16_storage_tests;
mod checkpoint;
mod config;
#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod damaged_checkpoint_tests;
mod ends;
pub mod engine;
mod error;
mod footprint;
#[cfg(test)]
mod golden_tests;
mod inspect;
mod model;
pub mod models;
mod packed;
mod parameters;
mod plain;
mod preconditions;
mod restricted;
#[cfg(test)]
mod row_gradients_tests;
mod save;
#[cfg(test)]
mod scored;
mod spec;
#[cfg(test)]
mod testing;
mod tokenizer;
mod tokenizer_config;
mod tokenizer_rules;

pub use config::{ModelClass, ModelConfig};
pub use ends::EndToken;
pub use error::{Error, Result};
pub use inspect::{Memory, Summary, TensorSummary, inspect};
pub use model::{ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, init, load};
pub use models::table::{States, Table, TableConfig};
pub use packed::{Packed, Segment};
pub use parameters::{HEAD_WEIGHT, SCORE_WEIGHT, VALUE_BIAS, VALUE_WEIGHT};
pub use plain::Plain;
pub use restricted::Restricted;
/// What [`Backend::Engine`] takes.
pub use rlhf_device::Precision;
pub use spec::{BlockSpec, ModelSpec};
pub use tokenizer::Tokenizer;
pub use tokenizer_config::special_tokens;

/// A folder of the test data, for tests that are ignored unless they are preconditions for.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test finds its data")]
pub(crate) fn test_data(folder: &str) -> std::path::PathBuf {
    let data = std::env::var_os("RLHF_TEST_DATA")
        .expect("RLHF_TEST_DATA is not set: set it to the folder of the test data");
    let path = std::path::Path::new(&data).join(folder);
    assert!(path.is_dir(), "RLHF_TEST_DATA has no folder {folder}");
    path
}
