//! How much memory the engine will take, from a checkpoint's headers.

use crate::engine::{CHUNK, KEPT, SCORED_CHUNKS};
use crate::inspect::Summary;
use crate::options::ActivationCheckpointing;
use rlhf_models::{BlockSpec, Gate, NormPlace, QkNorm, Residual};
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
        let (width, blocks) = (self.width as u64, &self.spec.blocks);
        let most = |of: &dyn Fn(&BlockSpec) -> u64| blocks.iter().map(of).max().unwrap_or(0);
        let saved = |block: &BlockSpec| saved(block, width);
        let of_backward = most(&|block| of_backward(block, width));
        let blocks = match reads {
            (Purpose::Score, _) => 3 * width + most(&saved) + most(&|block| block.mlp.inner as u64),
            (Purpose::Train, ActivationCheckpointing::None) => {
                let kept = blocks.iter().map(|block| width + saved(block));
                kept.sum::<u64>() + of_backward
            }
            (Purpose::Train, ActivationCheckpointing::Blocks) => {
                blocks.len() as u64 * width + most(&saved) + of_backward
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
        let width = self.width as u64;
        let matrices = |block: &BlockSpec| {
            let shape = &block.attention.shape;
            let attention = shape.qkv_width() + shape.query_width();
            let mlp = block.mlp.expanded() + block.mlp.inner;
            (attention + mlp) as u64 * width
        };
        let cached = |block: &BlockSpec| 2 * block.attention.shape.kv_width() as u64;
        let (matrices, cached): (u64, u64) = self.spec.blocks.iter().fold((0, 0), |sums, block| {
            (sums.0 + matrices(block), sums.1 + cached(block))
        });
        let head = width * self.vocab as u64;
        F32 * (matrices + head + rows * length * cached)
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

/// Floats a token that a block keeps beside its input.
fn saved(block: &BlockSpec, width: u64) -> u64 {
    let (shape, mlp) = (&block.attention.shape, &block.mlp);
    let mut floats = shape.qkv_width() + shape.query_width() + shape.heads + mlp.expanded();
    if block.attention.qk_norm != QkNorm::None {
        floats += shape.qkv_width();
    }
    // The residual stream between the layers, and the answers that norms read.
    let streams = if block.place.after() { 3 } else { 1 };
    floats as u64 + streams * width
}

/// Floats a token that the backward pass of a block takes beside what it kept.
fn of_backward(block: &BlockSpec, width: u64) -> u64 {
    let (shape, mlp) = (&block.attention.shape, &block.mlp);
    let queries = shape.query_width() as u64;
    // The stream, its gradient, the output of a norm, and a gradient as wide as the stream or the queries.
    let mut floats = 3 * width + width.max(queries);
    floats += mlp.inner.max(shape.query_width()) as u64;
    floats += mlp.expanded().max(shape.qkv_width()) as u64;
    if mlp.gate == Gate::Gated {
        floats += mlp.inner as u64;
    }
    if matches!(block.place, NormPlace::After | NormPlace::Both) {
        floats += width;
    }
    if block.residual == Residual::Parallel {
        floats += queries;
    }
    floats
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
