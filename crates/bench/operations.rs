//! How many additions and multiplications a workload needs, counted from shapes: matrix products
//! alone, each multiplication and each addition as one.

use rlhf_lm::{BlockSpec, Summary};

/// Sequences of one shape: `count` prompts of `prompt` tokens, each with `responses` responses of
/// `response` tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) count: usize,
    pub(crate) responses: usize,
    pub(crate) prompt: usize,
    pub(crate) response: usize,
}

/// What is read of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The vocabulary head on each row that predicts; the last token of a response is not read.
    Language,
    /// As much, and no head: a separate critic.
    Values,
    /// Everything, and no head: a reward model.
    Score,
}

impl Batch {
    /// Response tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.count * self.responses * self.response
    }

    /// One forward pass, a prompt read once for all of its responses; behind the attention of the last
    /// block, the rows that are asked about alone.
    pub(crate) fn forward(&self, shape: &Summary, reads: Reads) -> f64 {
        let width = shape.width as f64;
        let read = match reads {
            Reads::Score => self.response,
            Reads::Language | Reads::Values => self.response - 1,
        };
        let prompts = self.count as f64;
        let responses = prompts * self.responses as f64;
        let tokens = prompts * self.prompt as f64 + responses * read as f64;
        let asked = match reads {
            Reads::Language | Reads::Values => self.tokens() as f64,
            Reads::Score => responses,
        };
        let blocks = &shape.spec.blocks;
        let of_block = |(layer, block): (usize, &BlockSpec)| {
            let (attention, mlp) = (&block.attention.shape, &block.mlp);
            let attended = |first, tokens| attended(first, tokens, attention.window);
            let pairs =
                prompts * attended(0, self.prompt) + responses * attended(self.prompt, read);
            let queries = attention.query_width() as f64;
            let of_all =
                2.0 * tokens * attention.qkv_width() as f64 * width + 4.0 * pairs * queries;
            let behind = queries + (mlp.expanded() + mlp.inner) as f64;
            let rows = if layer + 1 == blocks.len() {
                asked
            } else {
                tokens
            };
            of_all + 2.0 * rows * behind * width
        };
        let head = match reads {
            Reads::Language => 2.0 * self.tokens() as f64 * width * shape.vocab as f64,
            Reads::Values | Reads::Score => 0.0,
        };
        blocks.iter().enumerate().map(of_block).sum::<f64>() + head
    }

    /// A forward pass and the two products of each of its products' gradients.
    pub(crate) fn training(&self, shape: &Summary, reads: Reads) -> f64 {
        3.0 * self.forward(shape, reads)
    }
}

/// How many tokens so many tokens attend to together, the first of which is at position `first`: each to
/// itself and all before it, or as many as its window has.
fn attended(first: usize, tokens: usize, window: Option<usize>) -> f64 {
    let of_token = |position: usize| (position + 1).min(window.unwrap_or(usize::MAX));
    (first..first + tokens)
        .map(|position| of_token(position) as f64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_experiment::DtypeName;

    #[test]
    fn one_token_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let size = crate::size::Size::open(("tiny", None), [DtypeName::F32; 2], folder.path());
        let size = size.unwrap();
        let one = Batch {
            count: 1,
            responses: 1,
            prompt: 1,
            response: 1,
        };
        // Width 128, inner 512, 4 layers: 4 × (2·12·128² + 4·128), and a head of 2·128·4096.
        let (trunk, head) = (1_574_912.0, 1_048_576.0);
        assert_eq!(one.forward(&size.shape, Reads::Language), trunk + head);
        assert_eq!(one.forward(&size.shape, Reads::Values), trunk);
        // The second token attends to two; the last block ends, 2·9·128², with it alone.
        let end = 294_912.0;
        assert_eq!(
            one.forward(&size.shape, Reads::Score),
            2.0 * trunk + 4.0 * 4.0 * 128.0 - end
        );
        let shared = Batch {
            responses: 3,
            ..one
        };
        assert_eq!(
            shared.forward(&size.shape, Reads::Language),
            trunk + 2.0 * end + 3.0 * head
        );
        assert_eq!(one.training(&size.shape, Reads::Values), 3.0 * trunk);
    }
}
