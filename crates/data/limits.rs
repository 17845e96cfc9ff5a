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
    /// Of a response that is to be drawn, EOS included.
    pub response: usize,
}

impl Limits {
    /// No limit but the context's.
    #[must_use]
    pub fn context(context: usize) -> Self {
        Self {
            context,
            prompt: usize::MAX,
            completion: usize::MAX,
            response: 1,
        }
    }

    /// How many tokens of a prompt (its end) are kept where a response is to be drawn. A prompt stays
    /// whole where a token fits behind it and no limit was set. One that does not fit leaves room for
    /// the greatest response, and keeps at least half of the context.
    #[must_use]
    pub fn kept_prompt_tokens(&self, prompt: usize) -> usize {
        let prompt = prompt.min(self.prompt).max(1);
        if prompt <= self.context {
            return prompt;
        }
        let left = (self.context + 1).saturating_sub(self.response);
        left.max(self.context / 2).max(1)
    }

    /// How many tokens a response to a prompt of this length may have: the context less the prompt,
    /// as the last token is never read.
    #[must_use]
    pub fn max_response_tokens(&self, prompt: usize) -> usize {
        self.response.min((self.context + 1).saturating_sub(prompt))
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

/// How long prompts are, in tokens, and how much room they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLengths {
    /// The limits they were read by.
    pub limits: Limits,
    /// The shortest prompt.
    pub shortest: usize,
    /// The longest prompt.
    pub longest: usize,
    /// Prompts that leave less than the greatest response.
    pub crowded: usize,
}

impl PromptLengths {
    /// Of the first prompt, which has this length.
    pub(crate) fn of(limits: Limits, prompt: usize) -> Self {
        Self {
            limits,
            shortest: prompt,
            longest: prompt,
            crowded: usize::from(limits.max_response_tokens(prompt) < limits.response),
        }
    }

    /// Of these prompts and one more.
    pub(crate) fn and(self, prompt: usize) -> Self {
        let one = Self::of(self.limits, prompt);
        Self {
            limits: self.limits,
            shortest: self.shortest.min(prompt),
            longest: self.longest.max(prompt),
            crowded: self.crowded + one.crowded,
        }
    }

    /// The greatest response length in force, in words: what the longest and the shortest prompt
    /// leave of the context, where that is less than what was asked for.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self {
            limits,
            shortest,
            longest,
            crowded,
        } = *self;
        let (most, least) = (
            limits.max_response_tokens(shortest),
            limits.max_response_tokens(longest),
        );
        if crowded == 0 {
            return format!("up to {most} tokens");
        }
        let prompts = match shortest == longest {
            true => format!("{longest}"),
            false => format!("{shortest} to {longest}"),
        };
        let after = match most == least {
            true => String::new(),
            false => format!(", after the longest prompt {least}"),
        };
        // Where prompts take most of the context, shorter ones would help.
        let advice = match least < limits.context / 2 {
            true => "; data.max_prompt_tokens leaves more",
            false => "",
        };
        format!(
            "up to {most} tokens{after}: context {} less prompts of {prompts} (sampling.max_new_tokens = \
             {}){advice}",
            limits.context, limits.response
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
    fn rooms_are_said() {
        let limits = Limits {
            response: 64,
            ..Limits::context(48)
        };
        let rooms = PromptLengths::of(limits, 4);
        assert_eq!(
            rooms.sentence(),
            "up to 45 tokens: context 48 less prompts of 4 (sampling.max_new_tokens = 64)"
        );
        let rooms = rooms.and(3).and(20);
        assert_eq!((rooms.shortest, rooms.longest, rooms.crowded), (3, 20, 3));
        let said = rooms.sentence();
        assert!(
            said.starts_with("up to 46 tokens, after the longest prompt 29: context 48 less"),
            "{said}"
        );
        let said = rooms.and(40).sentence();
        assert!(
            said.contains("after the longest prompt 9:") && said.ends_with("leaves more"),
            "{said}"
        );
        let roomy = Limits {
            response: 8,
            ..limits
        };
        let rooms = PromptLengths::of(roomy, 4);
        assert_eq!(rooms.sentence(), "up to 8 tokens");
        assert_eq!(rooms.and(45).crowded, 1);
    }

    #[test]
    fn a_prompt_is_cut_only_where_nothing_fits_behind_it() {
        let of = |context, response| Limits {
            response,
            ..Limits::context(context)
        };
        for (limits, prompt, kept, room) in [
            // More may be drawn than is read: prompts stay whole.
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
