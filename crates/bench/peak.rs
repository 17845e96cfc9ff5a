//! What a machine's matrix products reach.

use rlhf_tensor::cpu::{Precision, View, Write, matmul};
use std::time::Instant;

/// A cube, and a layer of GPT-2's: which of them is faster depends on caches.
const SHAPES: [[usize; 3]; 2] = [[1024, 1024, 1024], [2048, 768, 3072]];

/// The most floating-point operations a second, in 10⁹, of a large matrix product.
pub(crate) fn matrix_peak(precision: Precision) -> f64 {
    let mut best: f64 = 0.0;
    for [m, k, n] in SHAPES {
        let (left, right) = (vec![0.5f32; m * k], vec![0.5f32; k * n]);
        let mut product = vec![0.0; m * n];
        for _ in 0..8 {
            let since = Instant::now();
            let (left, right) = (View::new(&left, k), View::new(&right, n));
            rayon::scope(|_| matmul(precision, &mut product, Write::Over, 1.0, left, right));
            let operations = 2.0 * (m * k * n) as f64;
            best = best.max(operations / since.elapsed().as_secs_f64());
        }
    }
    best / 1e9
}
