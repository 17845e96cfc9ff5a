//! Whether a reward model is as sure as it is right.

use serde::Serialize;

/// How many bins the probabilities from 0 to 1 are cut into. A guess is never surer of the other
/// response, so only the upper half holds pairs.
const BINS: usize = 10;

/// The reliability of a model's probabilities on held-out pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// The expected calibration error (Naeini et al. 2015; Guo et al. 2017, eq. 3): the mean
    /// distance of accuracy and confidence over bins, each weighted by its pairs. From 0 to 1; with
    /// few pairs it is above 0 for a calibrated model too, by about 0.4/√(pairs in a bin).
    pub expected_error: f64,
    /// The bins that hold pairs, by rising confidence: the points of a reliability diagram.
    pub bins: Vec<Bin>,
}

/// Pairs whose guess was about equally sure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// How many.
    pub pairs: usize,
    /// The mean probability, by the model, that its guess of the chosen response is right.
    pub confidence: f64,
    /// The share of guesses that were; a tie is half of one.
    pub accuracy: f64,
}

impl Calibration {
    /// Of margins r(x, y₊) − r(x, y₋) on held-out pairs, in units of the reward as the model was
    /// fitted: the probability that y₊ is chosen is σ(margin).
    #[must_use]
    pub fn of(margins: &[f32]) -> Self {
        let mut sums = [(0, 0.0, 0.0); BINS];
        for margin in margins.iter().map(|&margin| f64::from(margin)) {
            let confidence = 1.0 / (1.0 + (-margin.abs()).exp());
            let right = match margin {
                margin if margin > 0.0 => 1.0,
                margin if margin < 0.0 => 0.0,
                _ => 0.5,
            };
            let place = (confidence * BINS as f64) as usize;
            let (pairs, sure, correct) = &mut sums[place.min(BINS - 1)];
            *pairs += 1;
            *sure += confidence;
            *correct += right;
        }
        let bins = sums.into_iter().filter(|(pairs, ..)| *pairs > 0);
        let bins: Vec<_> = bins
            .map(|(pairs, sure, correct)| Bin {
                pairs,
                confidence: sure / pairs as f64,
                accuracy: correct / pairs as f64,
            })
            .collect();
        let off = |bin: &Bin| bin.pairs as f64 * (bin.accuracy - bin.confidence).abs();
        Self {
            expected_error: bins.iter().map(off).sum::<f64>() / margins.len().max(1) as f64,
            bins,
        }
    }

    /// The share of all guesses that were right; a tie is half of one, and so is nothing.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        let pairs: usize = self.bins.iter().map(|bin| bin.pairs).sum();
        let right = self.bins.iter().map(|bin| bin.accuracy * bin.pairs as f64);
        match pairs {
            0 => 0.5,
            pairs => right.sum::<f64>() / pairs as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{Rng, Stream};

    #[test]
    fn known_pairs() {
        // Confidences 0.5 (a tie), 0.731 right, 0.731 wrong, 0.953 right.
        let found = Calibration::of(&[0.0, 1.0, -1.0, 3.0]);
        let sure = |margin: f64| 1.0 / (1.0 + (-margin).exp());
        let pairs: Vec<_> = found.bins.iter().map(|bin| bin.pairs).collect();
        assert_eq!(pairs, [1, 2, 1]);
        assert!((found.bins[1].confidence - sure(1.0)).abs() < 1e-12);
        assert_eq!(found.bins[1].accuracy, 0.5);
        let expected = (2.0 * (sure(1.0) - 0.5) + (1.0 - sure(3.0))) / 4.0;
        assert!((found.expected_error - expected).abs() < 1e-12);
        assert_eq!(found.accuracy(), 0.625);
        assert!(Calibration::of(&[]).bins.is_empty());
        assert_eq!(Calibration::of(&[1e9]).expected_error, 0.0);
    }

    #[test]
    fn pairs_drawn_by_the_model_are_calibrated_and_boasts_are_not() {
        let mut rng = Rng::new(1, Stream::Data, 0, 0);
        let margins: Vec<f64> = (0..20_000).map(|_| 2.0 * rng.normal()).collect();
        // The margin towards whichever response the model's own probability chose.
        let mut draw = |margin: f64| {
            let chosen = rng.uniform() < 1.0 / (1.0 + (-margin).exp());
            if chosen { margin } else { -margin }
        };
        let drawn: Vec<f32> = margins.iter().map(|&margin| draw(margin) as f32).collect();
        assert!(Calibration::of(&drawn).expected_error < 0.02);
        let boasts: Vec<f32> = drawn.iter().map(|margin| 3.0 * margin).collect();
        assert!(Calibration::of(&boasts).expected_error > 0.08);
    }
}
