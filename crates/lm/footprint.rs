//! How much memory the engine will take, from a checkpoint's headers.

use crate::engine::{CHUNK, KEPT, SCORED_CHUNKS};
use crate::{ActivationCheckpointing, Summary};
use rlhf_objective::Purpose;

/// Bytes of a number.
const F32: u64 = 4;

impl Summary {
    /// Bytes that a read of `tokens` tokens takes beside the weights, `rows` of which predict; to train,
    /// with its backward pass, which runs blocks again or not. They stay allocated for the next read.
    #[must_use]
    pub fn forward_bytes(
        &self,
        tokens: u64,
        rows: u64,
        reads: (Purpose, ActivationCheckpointing),
    ) -> u64 {
        let (width, inner, layers) = (self.width as u64, self.inner as u64, self.layers as u64);
        let rest = 5 * width + inner + self.heads as u64;
        let of_backward = 4 * width + inner + inner.max(3 * width);
        let blocks = match reads {
            (Purpose::Score, _) => 3 * width + rest + inner,
            (Purpose::Train, ActivationCheckpointing::None) => {
                layers * (width + rest) + of_backward
            }
            (Purpose::Train, ActivationCheckpointing::Blocks) => {
                layers * width + rest + of_backward
            }
        };
        F32 * (tokens * blocks + rows * 4 * width + self.logits(rows, reads.0))
    }

    /// Floats of logits held at once.
    fn logits(&self, rows: u64, purpose: Purpose) -> u64 {
        let all = rows * self.vocab as u64;
        match (self.reward_model, purpose) {
            (true, _) => 0,
            (false, Purpose::Score) => all.min((SCORED_CHUNKS * CHUNK) as u64),
            (false, Purpose::Train) => all.min((KEPT + CHUNK) as u64),
        }
    }

    /// Bytes that sampling takes beside the weights: the matrices packed once more, and the keys and
    /// values of `rows` sequences of at most `length` tokens.
    #[must_use]
    pub fn decoder_bytes(&self, rows: u64, length: u64) -> u64 {
        let (width, layers) = (self.width as u64, self.layers as u64);
        let matrices = layers * (4 * width + 2 * self.inner as u64) * width;
        let head = width * self.vocab as u64;
        F32 * (matrices + head + rows * length * layers * 2 * width)
    }

    /// Bytes of the largest tensor, which is copied when a checkpoint is written.
    #[must_use]
    pub fn largest_tensor_bytes(&self) -> u64 {
        let sizes = self
            .tensors
            .iter()
            .map(|t| t.shape.iter().product::<usize>());
        F32 * sizes.max().unwrap_or(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_run_again_keep_their_inputs_alone() {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("given.json");
        let config = r#"{"model_type": "gpt2", "vocab_size": 7, "n_positions": 1024, "n_embd": 96,
            "n_layer": 12, "n_head": 12}"#;
        std::fs::write(&given, config).unwrap();
        let out = folder.path().join("out");
        crate::init(&given, 1, &out).unwrap();
        let summary = crate::inspect(&out).unwrap();
        let tokens = 8 * 1024;
        let bytes = |activation_checkpointing| {
            summary.forward_bytes(tokens, 0, (Purpose::Train, activation_checkpointing))
        };
        let saved = bytes(ActivationCheckpointing::None) - bytes(ActivationCheckpointing::Blocks);
        // Queries, keys, values, what attention mixed, the stream between the two halves, the inner
        // layer and a number a head, of eleven of the twelve blocks.
        assert_eq!(saved, F32 * tokens * 11 * (9 * 96 + 12));
        let score =
            summary.forward_bytes(tokens, 0, (Purpose::Score, ActivationCheckpointing::None));
        assert!(score < bytes(ActivationCheckpointing::Blocks));
    }
}
