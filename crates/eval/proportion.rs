//! A confidence interval for a proportion.

use rlhf_journal::Estimate;

/// The 95 % interval of Wilson (1927) for the proportion `share` of `trials` independent trials. It is
/// within \[0, 1\] and not empty where the share is 0 or 1.
#[must_use]
pub fn wilson(share: f64, trials: usize) -> Estimate {
    let (n, z) = (trials.max(1) as f64, 1.959_963_984_540_054);
    let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt() / (1.0 + z * z / n);
    Estimate::within(share, middle - half, middle + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_match_published_tables() {
        // 15 of 20, and 0 of 10.
        for (share, n, low, high) in [(0.75, 20, 0.531_3, 0.888_1), (0.0, 10, 0.0, 0.277_5)] {
            let interval = wilson(share, n).interval.unwrap();
            assert!((interval.low - low).abs() < 1e-4, "{interval:?}");
            assert!((interval.high - high).abs() < 1e-4, "{interval:?}");
        }
    }
}
