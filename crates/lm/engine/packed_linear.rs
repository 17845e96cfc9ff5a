//! Linear layers whose weights are packed for products of few rows: what decoding multiplies with.

use super::low_rank::LowRank;
use super::modules::Linear;
use rlhf_device::{Device, Epilogue, Slice, SliceMut, Write};
use rlhf_tensor::Weights;

/// The packed weights of a linear layer, with its adapters merged.
#[derive(Debug)]
pub(super) struct PackedLinear<D: Device>(D::Packed);

impl<D: Device> PackedLinear<D> {
    pub(super) fn new(linear: &Linear, weights: Weights<'_, D>) -> Self {
        let (device, memory) = (weights.device(), D::Buffer::default());
        let mut of_merged = D::Buffer::default();
        let weight = match LowRank::of(linear) {
            Some(low_rank) => low_rank.merged(linear, weights, &mut of_merged),
            None => linear.weight(weights),
        };
        Self(device.pack(memory, linear.precision, weight))
    }

    /// `y` ← (`y` +) x·W + b.
    pub(super) fn forward(
        &self,
        (linear, weights): (&Linear, Weights<'_, D>),
        x: Slice<'_, D>,
        (y, write): (SliceMut<'_, D>, Write),
        scratch: &mut D::Buffer,
    ) {
        let epilogue = Epilogue {
            bias: linear.bias(weights),
            scale: 1.0,
            write,
        };
        let device = weights.device();
        device.multiply_packed(x, &self.0, epilogue, scratch, y);
    }
}
