//! Wrappers of networks.

use crate::{
    ActionValues, Decoder, LogDist, Network, OutputGrads, OutputSpec, Outputs, ParameterSet,
    Result, RowCallback, RowGradients, Sequences,
};
use std::ops::Range;

/// A wrapper that forwards every call to the network inside it, such as a network stored with the path of
/// its folder. Implementing these two methods makes it a [`Network`]; a wrapper that changes an output
/// implements [`Network`] itself.
pub trait NetworkWrapper {
    /// The type of the network inside.
    type Inner: Network + ?Sized;

    /// The network inside.
    fn inner(&self) -> &Self::Inner;

    /// The network inside, mutable.
    fn inner_mut(&mut self) -> &mut Self::Inner;
}

impl<N: Network + ?Sized> NetworkWrapper for Box<N> {
    type Inner = N;

    fn inner(&self) -> &N {
        self
    }

    fn inner_mut(&mut self) -> &mut N {
        self
    }
}

impl<W: NetworkWrapper> Network for W {
    fn vocab(&self) -> usize {
        self.inner().vocab()
    }

    fn forward(&mut self, sequences: &Sequences, spec: OutputSpec) -> Result<Outputs> {
        self.inner_mut().forward(sequences, spec)
    }

    fn log_dist(&mut self, rows: Range<usize>) -> Result<LogDist<'_>> {
        self.inner_mut().log_dist(rows)
    }

    fn forward_with_rows(
        &mut self,
        sequences: &Sequences,
        each: &mut RowCallback<'_>,
    ) -> Result<Outputs> {
        self.inner_mut().forward_with_rows(sequences, each)
    }

    fn action_values(&mut self, rows: Range<usize>) -> Result<ActionValues<'_>> {
        self.inner_mut().action_values(rows)
    }

    fn backward_rows(&mut self, rows: Range<usize>, gradients: &RowGradients) -> Result<()> {
        self.inner_mut().backward_rows(rows, gradients)
    }

    fn backward(&mut self, gradients: &OutputGrads) -> Result<()> {
        self.inner_mut().backward(gradients)
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        self.inner_mut().decoder()
    }

    fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
        self.inner().parameter_sets()
    }

    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
        self.inner_mut().parameter_sets_mut()
    }
}
