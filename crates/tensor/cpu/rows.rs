//! Biases over the rows of a matrix.

use super::split::over_rows;

/// Every row of `y` [n, D] ← `bias` \[D\].
///
/// # Panics
/// If the sizes do not fit.
pub fn fill_rows(y: &mut [f32], bias: &[f32]) {
    assert_eq!(y.len() % bias.len(), 0);
    over_rows(y, bias.len(), |_, y| {
        y.chunks_exact_mut(bias.len())
            .for_each(|row| row.copy_from_slice(bias));
    });
}

/// Adds `bias` \[D\] to every row of `y` [n, D].
///
/// # Panics
/// If the sizes do not fit.
pub fn add_to_rows(y: &mut [f32], bias: &[f32]) {
    assert_eq!(y.len() % bias.len(), 0);
    over_rows(y, bias.len(), |_, y| {
        for row in y.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_gets_its_bias() {
        let bias: Vec<f32> = (0..7).map(|i| i as f32).collect();
        let mut y = vec![9.0; 7 * 3001];
        fill_rows(&mut y, &bias);
        add_to_rows(&mut y, &bias);
        assert!(
            y.iter()
                .enumerate()
                .all(|(i, y)| *y == 2.0 * (i % 7) as f32)
        );
    }
}
