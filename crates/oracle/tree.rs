//! The tree of all responses of at most T tokens.

/// A child of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// The index of an incomplete prefix.
    Prefix(usize),
    /// The index of a complete response.
    Response(usize),
}

/// All prefixes and all complete responses over a vocabulary of A tokens: a response is complete
/// when it ends with eos or has T tokens. Prefixes are indexed breadth-first, the empty one is 0, so
/// parents come before children; responses are ordered by their last prefix, then by their last token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    vocab: usize,
    eos: Option<u32>,
    horizon: usize,
    prefixes: Vec<Vec<u32>>,
    responses: Vec<Vec<u32>>,
    children: Vec<Child>,
}

impl Tree {
    /// The tree over `vocab` tokens with at most `horizon` tokens per response. It has up to A^T
    /// leaves, so both must be small.
    ///
    /// # Panics
    /// If `vocab` or `horizon` is 0, or `eos` is not a token. [`crate::Problem::from_json`] checks
    /// these.
    #[must_use]
    pub fn new(vocab: usize, eos: Option<u32>, horizon: usize) -> Self {
        assert!(
            vocab > 0 && horizon > 0,
            "vocab and horizon must be at least 1"
        );
        assert!(
            eos.is_none_or(|eos| (eos as usize) < vocab),
            "eos must be a token"
        );
        let mut prefixes = vec![Vec::new()];
        let mut responses = Vec::new();
        let mut children = Vec::new();
        let mut node = 0;
        while node < prefixes.len() {
            for token in 0..vocab as u32 {
                let mut next = prefixes[node].clone();
                next.push(token);
                if Some(token) == eos || next.len() == horizon {
                    children.push(Child::Response(responses.len()));
                    responses.push(next);
                } else {
                    children.push(Child::Prefix(prefixes.len()));
                    prefixes.push(next);
                }
            }
            node += 1;
        }
        Self {
            vocab,
            eos,
            horizon,
            prefixes,
            responses,
            children,
        }
    }

    /// A, the number of tokens, including the eos.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// The token that ends a response, if there is one.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// T, the maximum length of a response.
    #[must_use]
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// The incomplete prefixes.
    #[must_use]
    pub fn prefixes(&self) -> &[Vec<u32>] {
        &self.prefixes
    }

    /// The complete responses.
    #[must_use]
    pub fn responses(&self) -> &[Vec<u32>] {
        &self.responses
    }

    /// The children of prefix `node`, one per token: \[A\].
    #[must_use]
    pub fn children(&self, node: usize) -> &[Child] {
        &self.children[node * self.vocab..(node + 1) * self.vocab]
    }

    /// The index of an incomplete prefix, if `tokens` is one.
    #[must_use]
    pub fn prefix(&self, tokens: &[u32]) -> Option<usize> {
        match self.walk(tokens)? {
            Child::Prefix(node) => Some(node),
            Child::Response(_) => None,
        }
    }

    /// The index of a complete response, if `tokens` is one.
    #[must_use]
    pub fn response(&self, tokens: &[u32]) -> Option<usize> {
        match self.walk(tokens)? {
            Child::Response(response) => Some(response),
            Child::Prefix(_) => None,
        }
    }

    fn walk(&self, tokens: &[u32]) -> Option<Child> {
        tokens
            .iter()
            .try_fold(Child::Prefix(0), |at, &token| match at {
                Child::Prefix(node) => self.children(node).get(token as usize).copied(),
                Child::Response(_) => None,
            })
    }
}

/// Token ids joined by spaces, as in problem files.
pub(crate) fn join_ids(tokens: &[u32]) -> String {
    let ids: Vec<String> = tokens.iter().map(u32::to_string).collect();
    ids.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_responses_are_enumerated_and_indexed() {
        let tree = Tree::new(3, Some(2), 3);
        assert_eq!(tree.prefixes().len(), 7);
        assert_eq!(tree.responses().len(), 15);
        for (index, response) in tree.responses().iter().enumerate() {
            assert_eq!(tree.response(response), Some(index));
            assert_eq!(tree.prefix(response), None);
        }
        for (index, prefix) in tree.prefixes().iter().enumerate() {
            assert_eq!(tree.prefix(prefix), Some(index));
        }
        assert_eq!(tree.response(&[2, 0]), None);
        assert_eq!(tree.response(&[3]), None);
        let fixed = Tree::new(2, None, 3);
        assert_eq!((fixed.prefixes().len(), fixed.responses().len()), (7, 8));
    }
}
