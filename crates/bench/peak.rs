//! What a machine's matrix products reach.

use rlhf_device::{Cpu, Matrix, Memory, Precision, Products, Slice, SliceMut, Write};
use std::time::Instant;

/// A cube, and a layer of GPT-2's: which of them is faster depends on caches.
const SHAPES: [[usize; 3]; 2] = [[1024, 1024, 1024], [2048, 768, 3072]];

/// The most floating-point operations a second, in 10⁹, of a large matrix product.
pub(crate) fn matrix_peak(precision: Precision) -> f64 {
    let mut best: f64 = 0.0;
    for [m, k, n] in SHAPES {
        let [mut left, mut right, mut product] = [m * k, k * n, m * n].map(|n| Cpu.zeroed(n));
        left.fill(0.5);
        right.fill(0.5);
        for _ in 0..8 {
            let since = Instant::now();
            Cpu.run(|| {
                let product = SliceMut::first(&mut product, m * n);
                let left = Matrix::new(Slice::first(&left, m * k), k);
                let right = Matrix::new(Slice::first(&right, k * n), n);
                Cpu.matmul(precision, product, Write::Over, 1.0, left, right);
            });
            let operations = 2.0 * (m * k * n) as f64;
            best = best.max(operations / since.elapsed().as_secs_f64());
        }
    }
    best / 1e9
}
