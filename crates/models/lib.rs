//! What a decoder-only transformer is made of ([`ModelSpec`]), and how the `config.json` and the tensor names
//! of each [`Architecture`] say it. Nothing is computed here and no file is read.
//!
//! ```
//! use rlhf_models::{Architecture, Fields};
//!
//! let config = serde_json::json!({"model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24,
//!     "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864,
//!     "tie_word_embeddings": true});
//! let fields = Fields::new(config.as_object().unwrap());
//! let spec = Architecture::of(&fields).unwrap().spec(&fields).unwrap();
//! assert_eq!(spec.parameters(), 494_032_768);
//! assert_eq!(spec.blocks[0].attention.shape.kv_heads, 2);
//! ```

#![forbid(unsafe_code)]

mod architectures;
mod fields;
mod parts;
mod rope;
mod spec;

pub use architectures::{Architecture, FirstWeights, Sizes, architectures};
pub use fields::Fields;
pub use parts::{BlockPart, Part, PartTensor, Role, Which};
pub use rope::{Ramp, RopeScaling, RopeSpec, RopeTables};
pub use spec::{
    AttentionSpec, BlockSpec, EmbeddingSpec, Gate, MlpSpec, ModelSpec, NormPlace, PositionSpec,
    Projection, QkNorm, Residual, WeightLayout,
};
