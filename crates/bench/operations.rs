//! How many additions and multiplications a workload needs, counted from shapes: matrix products
//! alone, each multiplication and each addition as one.

use rlhf_lm::Summary;

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
        let (width, inner) = (shape.width as f64, shape.inner as f64);
        let read = match reads {
            Reads::Score => self.response,
            Reads::Language | Reads::Values => self.response - 1,
        };
        // A token attends to itself and all before it.
        let attended = |first: usize, tokens: usize| {
            (tokens * first) as f64 + (tokens * (tokens + 1)) as f64 / 2.0
        };
        let prompts = self.count as f64;
        let responses = prompts * self.responses as f64;
        let tokens = prompts * self.prompt as f64 + responses * read as f64;
        let pairs = prompts * attended(0, self.prompt) + responses * attended(self.prompt, read);
        let asked = match reads {
            Reads::Language | Reads::Values => self.tokens() as f64,
            Reads::Score => responses,
        };
        let of_all = 2.0 * tokens * 3.0 * width * width + 4.0 * pairs * width;
        let of_asked = 2.0 * (width * width + 2.0 * width * inner);
        let layers = shape.layers as f64;
        let head = match reads {
            Reads::Language => 2.0 * self.tokens() as f64 * width * shape.vocab as f64,
            Reads::Values | Reads::Score => 0.0,
        };
        layers * of_all + ((layers - 1.0) * tokens + asked) * of_asked + head
    }

    /// A forward pass and the two products of each of its products' gradients.
    pub(crate) fn training(&self, shape: &Summary, reads: Reads) -> f64 {
        3.0 * self.forward(shape, reads)
    }
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
