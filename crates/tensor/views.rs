//! Weights to read and gradients to add to, parameter by parameter.

use crate::ParameterSpec;
use crate::cpu::Numbers;
use std::ops::Range;

/// A parameter's index in its [`Parameters`](crate::Parameters): cheap to copy and to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub(crate) usize);

impl ParameterId {
    /// The place in the order of the specs.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where a parameter is.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) spec: ParameterSpec,
    /// Of the floats, or of the words.
    pub(crate) range: Range<usize>,
    pub(crate) held: Held,
}

/// In which of the two buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Floats,
    Words,
}

/// A view of the weights by [`ParameterId`].
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    pub(crate) entries: &'a [Entry],
    pub(crate) flat: &'a [f32],
    pub(crate) words: &'a [u16],
}

impl<'a> Weights<'a> {
    /// The values of one parameter, row-major.
    ///
    /// # Panics
    /// If it is held in bf16: what [may be](crate::Rounding::Allowed) is read by [`matrix`](Self::matrix).
    #[must_use]
    pub fn get(&self, id: ParameterId) -> &'a [f32] {
        match self.matrix(id) {
            Numbers::F32(values) => values,
            Numbers::Bf16(_) => panic!("`{}` is held in bf16", self.entries[id.0].spec.name),
        }
    }

    /// The values of one parameter, row-major, as they are held.
    #[must_use]
    pub fn matrix(&self, id: ParameterId) -> Numbers<'a> {
        let Entry { range, held, .. } = &self.entries[id.0];
        match held {
            Held::Floats => Numbers::F32(&self.flat[range.clone()]),
            Held::Words => Numbers::Bf16(&self.words[range.clone()]),
        }
    }
}

/// A view of the gradients by [`ParameterId`], to add to.
#[derive(Debug)]
pub struct Gradients<'a> {
    pub(crate) entries: &'a [Entry],
    pub(crate) flat: &'a mut [f32],
}

impl Gradients<'_> {
    /// The gradient of one parameter, row-major, to accumulate into.
    pub fn get_mut(&mut self, id: ParameterId) -> &mut [f32] {
        &mut self.flat[self.entries[id.0].range.clone()]
    }

    /// The gradients of two parameters at once.
    ///
    /// # Panics
    /// If they are the same.
    pub fn get_two_mut(&mut self, a: ParameterId, b: ParameterId) -> (&mut [f32], &mut [f32]) {
        let ranges = [a, b].map(|id| self.entries[id.0].range.clone());
        let [a, b] = self
            .flat
            .get_disjoint_mut(ranges)
            .expect("two different parameters");
        (a, b)
    }
}
