//! Data sets that need not be in memory.

use crate::{Pairs, Prompt, Result, Sequences};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A data set of which a step reads the items it needs: in memory, or from a file of any size. An item
/// is what must not be parted: a prompt, a prompt with a response, or one with a pair of them.
pub trait Dataset {
    /// How many items there are.
    fn count(&self) -> usize;

    /// How many tokens a network reads for an item.
    fn cost(&self, item: usize) -> usize;

    /// These items, in this order: their prompts, and their responses if they have any.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read(&mut self, items: &[usize]) -> Result<Sequences>;
}

/// An item is a response with its prompt.
impl Dataset for Sequences {
    fn count(&self) -> usize {
        self.len()
    }

    fn cost(&self, item: usize) -> usize {
        self.network_tokens(item..item + 1)
    }

    fn read(&mut self, items: &[usize]) -> Result<Sequences> {
        Ok(self.select(items))
    }
}

/// An item is a pair.
impl Dataset for Pairs {
    fn count(&self) -> usize {
        self.len()
    }

    fn cost(&self, item: usize) -> usize {
        self.sequences().network_tokens(2 * item..2 * item + 2)
    }

    fn read(&mut self, items: &[usize]) -> Result<Sequences> {
        Ok(self.select(items).sequences().clone())
    }
}

/// An item is a prompt.
impl Dataset for Vec<Arc<Prompt>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn cost(&self, item: usize) -> usize {
        self[item].ids.len()
    }

    fn read(&mut self, items: &[usize]) -> Result<Sequences> {
        let prompts = items.iter().map(|item| self[*item].clone()).collect();
        Sequences::from_shared(prompts, Vec::new())
    }
}

/// Settings of what has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}
