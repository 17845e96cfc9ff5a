//! What is cut so that a prompt and its response fit.

/// The greatest lengths, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What the network reads at most: P + T − 1 tokens, since the last is predicted but not read.
    pub context: usize,
    /// Of a prompt.
    pub prompt: usize,
    /// Of a completion, EOS included.
    pub completion: usize,
}

impl Limits {
    /// No limit but the context's.
    #[must_use]
    pub fn context(context: usize) -> Self {
        Self {
            context,
            prompt: usize::MAX,
            completion: usize::MAX,
        }
    }

    /// How many tokens of a prompt (its end) and of a completion (its start) are kept. Where both
    /// together exceed the context, the prompt keeps what the completion leaves, and at least half
    /// of the context.
    #[must_use]
    pub fn fit(&self, prompt: usize, completion: usize) -> (usize, usize) {
        let completion = completion.min(self.completion);
        let left = (self.context + 1).saturating_sub(completion);
        let half = (self.context / 2).max(1);
        let prompt = prompt.min(self.prompt).min(left.max(half)).max(1);
        (
            prompt,
            completion.min((self.context + 1).saturating_sub(prompt)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_fits() {
        let all = Limits::context(10);
        for (prompt, completion, expected) in [
            (6, 5, (6, 5)),
            (6, 6, (5, 6)),
            (20, 3, (8, 3)),
            (20, 20, (5, 6)),
            (2, 20, (2, 9)),
            (1, 10, (1, 10)),
        ] {
            assert_eq!(
                all.fit(prompt, completion),
                expected,
                "{prompt} {completion}"
            );
        }
        let short = Limits {
            context: 10,
            prompt: 2,
            completion: 3,
        };
        assert_eq!(short.fit(9, 9), (2, 3));
        assert_eq!(Limits::context(1).fit(4, 4), (1, 1));
    }
}
