//! Whitening.

/// Brings numbers to mean 0 and variance 1: (x − μ)/√(σ² + 10⁻⁸) with the unbiased σ², as TRL's
/// `masked_whiten`. One number alone has no variance and stays as it is.
pub fn whiten(numbers: &mut [f64]) {
    if numbers.len() < 2 {
        return;
    }
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let scale = (variance + 1e-8).sqrt().recip();
    for x in numbers {
        *x = (*x - mean) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_advantages() {
        let mut numbers = [0.613_425, 0.5615, 0.37];
        whiten(&mut numbers);
        let expected = [0.767_890_86, 0.362_885_95, -1.130_776_81];
        for (x, y) in numbers.iter().zip(expected) {
            // The 1e-8 inside the root is a relative difference of 3e-7.
            assert!((x - y).abs() < 1e-8, "{x} is not {y}");
        }
    }

    #[test]
    fn nothing_to_scale_stays_finite() {
        let mut constant = [0.7; 5];
        whiten(&mut constant);
        assert!(constant.iter().all(|x| x.abs() < 1e-9));
        let mut alone = [3.0];
        whiten(&mut alone);
        assert_eq!(alone, [3.0]);
        whiten(&mut []);
    }
}
