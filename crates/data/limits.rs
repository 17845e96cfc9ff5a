//! The maximum lengths of prompts and responses, and how they are truncated to fit the context.

/// The maximum lengths, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The context length: a network reads P + T − 1 tokens, since the last is predicted but not
    /// read.
    pub context: usize,
    /// Of a prompt.
    pub prompt: usize,
    /// Of a completion, including EOS.
    pub completion: usize,
    /// Of a sampled response, including EOS.
    pub response: usize,
}

impl Limits {
    /// Limits only by the context.
    #[must_use]
    pub fn context(context: usize) -> Self {
        Self {
            context,
            prompt: usize::MAX,
            completion: usize::MAX,
            response: 1,
        }
    }

    /// How many tokens at the end of a prompt are kept when a response is sampled. A prompt is kept
    /// whole if at least one token fits after it and no limit is set. A longer prompt is truncated
    /// to leave room for the maximum response, but keeps at least half of the context.
    #[must_use]
    pub fn kept_prompt_tokens(&self, prompt: usize) -> usize {
        let prompt = prompt.min(self.prompt).max(1);
        if prompt <= self.context {
            return prompt;
        }
        let left = (self.context + 1).saturating_sub(self.response);
        left.max(self.context / 2).max(1)
    }

    /// The maximum number of response tokens after a prompt of this length: the rest of the context
    /// plus one, as the last token is never read.
    #[must_use]
    pub fn max_response_tokens(&self, prompt: usize) -> usize {
        self.response.min((self.context + 1).saturating_sub(prompt))
    }

    /// How many tokens at the end of a prompt and at the start of a completion are kept. If both
    /// exceed the context together, the prompt keeps what the completion leaves, but at least half
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

/// The lengths of prompts, in tokens, and the room they leave for responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLengths {
    /// The limits they were read with.
    pub limits: Limits,
    /// The shortest prompt.
    pub shortest: usize,
    /// The longest prompt.
    pub longest: usize,
    /// The number of prompts that leave less room than the maximum response.
    pub short_of_room: usize,
}

impl PromptLengths {
    /// Starts with a prompt of this length.
    pub(crate) fn new(limits: Limits, prompt: usize) -> Self {
        Self {
            limits,
            shortest: prompt,
            longest: prompt,
            short_of_room: usize::from(limits.max_response_tokens(prompt) < limits.response),
        }
    }

    /// Adds a prompt.
    pub(crate) fn with(self, prompt: usize) -> Self {
        let one = Self::new(self.limits, prompt);
        Self {
            limits: self.limits,
            shortest: self.shortest.min(prompt),
            longest: self.longest.max(prompt),
            short_of_room: self.short_of_room + one.short_of_room,
        }
    }

    /// The effective maximum response length, in words: what the shortest and the longest prompt
    /// leave of the context, if that is less than the setting.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self {
            limits,
            shortest,
            longest,
            short_of_room,
        } = *self;
        let (most, least) = (
            limits.max_response_tokens(shortest),
            limits.max_response_tokens(longest),
        );
        if short_of_room == 0 {
            return format!("up to {most} tokens");
        }
        let prompts = if shortest == longest {
            format!("{longest}")
        } else {
            format!("{shortest} to {longest}")
        };
        let after = if most == least {
            String::new()
        } else {
            format!(", after the longest prompt {least}")
        };
        // If prompts take most of the context, shorter prompts help.
        let advice = if least < limits.context / 2 {
            "; a smaller data.max_prompt_tokens leaves more"
        } else {
            ""
        };
        format!(
            "up to {most} tokens{after}: context {} minus prompts of {prompts} \
             (sampling.max_new_tokens = {}){advice}",
            limits.context, limits.response
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_and_completion_fit_the_context() {
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
            response: 4,
        };
        assert_eq!(short.fit(9, 9), (2, 3));
        assert_eq!(Limits::context(1).fit(4, 4), (1, 1));
        assert_eq!(
            (short.kept_prompt_tokens(1), short.kept_prompt_tokens(9)),
            (1, 2)
        );
    }

    #[test]
    fn sentence_names_the_effective_response_length() {
        let limits = Limits {
            response: 64,
            ..Limits::context(48)
        };
        let prompt_lengths = PromptLengths::new(limits, 4);
        assert_eq!(
            prompt_lengths.sentence(),
            "up to 45 tokens: context 48 minus prompts of 4 (sampling.max_new_tokens = 64)"
        );
        let prompt_lengths = prompt_lengths.with(3).with(20);
        assert_eq!(
            (
                prompt_lengths.shortest,
                prompt_lengths.longest,
                prompt_lengths.short_of_room
            ),
            (3, 20, 3)
        );
        let said = prompt_lengths.sentence();
        assert!(
            said.starts_with("up to 46 tokens, after the longest prompt 29: context 48 minus"),
            "{said}"
        );
        let said = prompt_lengths.with(40).sentence();
        assert!(
            said.contains("after the longest prompt 9:") && said.ends_with("leaves more"),
            "{said}"
        );
        let roomy = Limits {
            response: 8,
            ..limits
        };
        let prompt_lengths = PromptLengths::new(roomy, 4);
        assert_eq!(prompt_lengths.sentence(), "up to 8 tokens");
        assert_eq!(prompt_lengths.with(45).short_of_room, 1);
    }

    #[test]
    fn a_prompt_is_truncated_only_if_no_token_fits_after_it() {
        let of = |context, response| Limits {
            response,
            ..Limits::context(context)
        };
        for (limits, prompt, kept, room) in [
            // The maximum response is longer than the context: prompts are kept whole.
            (of(48, 64), 4, 4, 45),
            (of(48, 64), 48, 48, 1),
            (of(48, 64), 49, 24, 25),
            (of(48, 8), 41, 41, 8),
            (of(48, 8), 45, 45, 4),
            (of(48, 8), 49, 41, 8),
            (of(48, 1), 49, 48, 1),
            (of(1, 64), 3, 1, 1),
        ] {
            let found = limits.kept_prompt_tokens(prompt);
            assert_eq!(
                (found, limits.max_response_tokens(found)),
                (kept, room),
                "{limits:?} {prompt}"
            );
        }
    }
}
