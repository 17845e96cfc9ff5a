//! The interface of data sets, in memory or on disk.

use crate::{Pairs, Prompt, Result, Sequences};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A data set from which each step reads the items it needs, from memory or from a file of any size. An
/// item is a prompt, a prompt with a response, or a prompt with a pair of responses.
pub trait Dataset {
    /// How many items there are.
    fn count(&self) -> usize;

    /// How many tokens a forward pass over an item processes.
    fn cost(&self, item: usize) -> usize;

    /// Reads these items, in this order: their prompts, and their responses if they have any.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read(&mut self, items: &[usize]) -> Result<Sequences>;
}

/// Each item is a response with its prompt.
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

/// Each item is a pair.
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

/// Each item is a prompt.
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

/// The settings type of components without settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}
