//! The sizes of a network that is made anew, and the `config.json` that says them.

use serde_json::{Value, json};

/// The sizes of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// V.
    pub vocab: usize,
    /// The context, tokens.
    pub context: usize,
    /// D.
    pub width: usize,
    /// The number of blocks.
    pub layers: usize,
    /// The number of attention heads, which divides `width`.
    pub heads: usize,
    /// The number of key and value heads, which divides `heads`; architectures without groups of heads have
    /// as many as heads.
    pub kv_heads: usize,
    /// The width of the feed-forward layers.
    pub inner: usize,
}

impl Sizes {
    /// The width of a head.
    pub(super) fn head_width(&self) -> usize {
        self.width / self.heads.max(1)
    }

    /// The fields of most architectures.
    pub(super) fn fields(&self) -> Value {
        json!({
            "vocab_size": self.vocab,
            "max_position_embeddings": self.context,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.inner,
        })
    }

    /// These, with the width of a head.
    pub(super) fn fields_with_heads(&self) -> Value {
        let mut fields = self.fields();
        fields["head_dim"] = self.head_width().into();
        fields
    }
}
