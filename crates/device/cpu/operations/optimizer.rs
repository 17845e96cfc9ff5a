//! [`Optimizer`] of the processor: each operation is a kernel of the folder above.

use crate::cpu::{self, Buffer, Cpu};
use crate::{AdamWStep, Optimizer, Slice, Trained};

impl Optimizer for Cpu {
    fn sum_of_squares(&self, x: Slice<'_, Self>) -> f64 {
        cpu::sum_of_squares(x.host())
    }

    fn adamw_step(
        &self,
        step: AdamWStep<'_>,
        trained: &[Trained],
        weights: &mut Buffer,
        gradients: &mut Buffer,
        [first, second]: [&mut Buffer; 2],
    ) {
        cpu::adamw_step(step, trained, weights, gradients, [first, second]);
    }
}
