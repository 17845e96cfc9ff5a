//! Language models: the networks and the tokenizer of a checkpoint folder. No RL is known here.

#![forbid(unsafe_code)]

mod adapter;
#[cfg(test)]
mod adapter_tests;
#[cfg(test)]
mod architecture_conformance_tests;
#[cfg(test)]
mod architecture_tests;
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
mod file_order;
mod footprint;
#[cfg(test)]
mod golden_tests;
mod inspect;
mod loading;
mod model;
mod options;
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
#[cfg(test)]
mod smollm2_tests;
mod table;
#[cfg(test)]
mod testing;
mod tokenizer;
mod tokenizer_config;
mod tokenizer_rules;
mod without_text;

pub use adapter::{AdapterSpec, Scaling, Targets};
pub use config::{ModelClass, ModelConfig};
pub use ends::EndToken;
pub use error::{Error, Result};
pub use inspect::{AdapterSummary, Memory, Summary, TensorSummary, inspect, plan_adapter};
pub use loading::{NewAdapter, load, load_with_adapter, merge};
pub use model::{Model, init, init_architecture};
pub use options::{ActivationCheckpointing, Backend, LoadOptions, OutputHeads, OutputVocabulary};
pub use packed::{Packed, Segment};
pub use parameters::{SCORE_WEIGHT, VALUE_BIAS, VALUE_WEIGHT};
pub use plain::Plain;
pub use restricted::Restricted;
/// What [`Backend::Engine`] takes, and what a [`ModelSpec`] is made of.
pub use rlhf_device::{AttentionShape, Nonlinearity, Norm, NormKind, Precision};
/// What a network is made of.
pub use rlhf_models::{
    AttentionSpec, BlockSpec, EmbeddingSpec, Gate, MlpSpec, ModelSpec, NormPlace, PositionSpec,
    Projection, QkNorm, Ramp, Residual, RopeScaling, RopeSpec, Sizes, WeightLayout, architectures,
};
pub use table::{States, Table, TableConfig};
pub use tokenizer::Tokenizer;
pub use tokenizer_config::special_tokens;
pub use without_text::mass_without_text;

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
