//! Matrices for the tests of products.

/// `n` numbers in [−1, 1], others for another seed.
pub(super) fn numbers(n: usize, seed: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.37 + seed).sin()).collect()
}

/// The transpose of a row-major matrix of so many columns.
pub(super) fn transposed(x: &[f32], columns: usize) -> Vec<f32> {
    let rows = x.len() / columns;
    let entry = |i| x[i % rows * columns + i / rows];
    (0..x.len()).map(entry).collect()
}
