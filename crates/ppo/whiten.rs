//! Whitening of advantages.

/// Normalizes values to mean 0 and variance 1 in place: (x − μ)/√(σ² + 10⁻⁸) with the unbiased σ², as
/// TRL's `masked_whiten`. Fewer than two values are left unchanged.
pub fn whiten(values: &mut [f64]) {
    if values.len() < 2 {
        return;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let scale = (variance + 1e-8).sqrt().recip();
    for x in values {
        *x = (*x - mean) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitened_advantages_match_reference_values() {
        let mut values = [0.613_425, 0.5615, 0.37];
        whiten(&mut values);
        let expected = [0.767_890_86, 0.362_885_95, -1.130_776_81];
        for (x, y) in values.iter().zip(expected) {
            // The 1e-8 inside the root is a relative difference of 3e-7.
            assert!((x - y).abs() < 1e-8, "{x} is not {y}");
        }
    }

    #[test]
    fn constant_and_single_values_stay_finite() {
        let mut constant = [0.7; 5];
        whiten(&mut constant);
        assert!(constant.iter().all(|x| x.abs() < 1e-9));
        let mut single = [3.0];
        whiten(&mut single);
        assert_eq!(single, [3.0]);
        whiten(&mut []);
    }
}
