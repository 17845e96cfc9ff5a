//! Matrix products. The `gemm` crate computes small ones, and those of processors without AVX-512; our own
//! kernels compute large ones, and those of bf16 operands.

use super::matmul_bf16::matmul_bf16;
use super::simd::{Isa, isa};
use super::view::View;
use super::widened::{self, Layout};
use crate::{Precision, Write};

/// `c` ← (`c` +) `scale`·`a`·`b`, with all threads; `c` is row-major and contiguous. The result
/// does not depend on the number of threads.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(
    precision: Precision,
    c: &mut [f32],
    into: Write,
    scale: f32,
    a: View<'_>,
    b: View<'_>,
) {
    assert_eq!(a.columns(), b.rows(), "inner sizes of a product");
    assert_eq!(c.len(), a.rows() * b.columns(), "size of a product");
    if c.is_empty() {
        return;
    }
    assert!(a.columns() > 0, "a product of something");
    match precision {
        Precision::F32 => multiply_on(isa(), c, into, scale, a, b),
        Precision::Bf16 => matmul_bf16(c, into, scale, a, b),
    }
}

fn multiply_on(isa: Isa, c: &mut [f32], into: Write, scale: f32, a: View<'_>, b: View<'_>) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 | Isa::Avx512
            if a.rows().min(a.columns()).min(b.columns()) >= super::tiles::MANY =>
        {
            super::tiles::multiply(Precision::F32, c, into, scale, a, b);
        }
        _ => widened::multiply(Layout::AsItWas, c, into, scale, a, b),
    }
}
