//! The calibration of a reward model: its confidence compared with its accuracy.

use crate::bradley_terry::accuracy_of;
use serde::Serialize;

/// The number of bins of probabilities from 0 to 1. The confidence is at least ½, so only the upper half of
/// the bins contains pairs.
const BINS: usize = 10;

/// The reliability of a model's probabilities on held-out pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// The expected calibration error (Naeini et al. 2015; Guo et al. 2017, eq. 3): the mean
    /// distance of accuracy and confidence over bins, each weighted by its pairs. From 0 to 1; with
    /// few pairs it is above 0 for a calibrated model too, by about 0.4/√(pairs in a bin).
    pub expected_error: f64,
    /// The bins that contain pairs, sorted by confidence: the points of a reliability diagram.
    pub bins: Vec<Bin>,
}

/// Pairs with similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// The number of pairs.
    pub pairs: usize,
    /// The mean probability that the model gives to its prediction.
    pub confidence: f64,
    /// The fraction of correct predictions; a tie counts half.
    pub accuracy: f64,
}

impl Calibration {
    /// From margins r(x, y₊) − r(x, y₋) on held-out pairs, in units of the reward before normalization: the
    /// model's probability that y₊ is chosen is σ(margin).
    #[must_use]
    pub fn of(margins: &[f32]) -> Self {
        Self::labelled(margins, &vec![1.0; margins.len()])
    }

    /// The same with labels: the probability that the first response of each pair is preferred.
    #[must_use]
    pub fn labelled(margins: &[f32], labels: &[f32]) -> Self {
        let mut sums = [(0, 0.0, 0.0); BINS];
        for (margin, label) in margins.iter().zip(labels) {
            let (margin, label) = (f64::from(*margin), f64::from(*label));
            let confidence = 1.0 / (1.0 + (-margin.abs()).exp());
            let accuracy = accuracy_of(margin, label);
            let bin = (confidence * BINS as f64) as usize;
            let (pairs, confidences, correct) = &mut sums[bin.min(BINS - 1)];
            *pairs += 1;
            *confidences += confidence;
            *correct += accuracy;
        }
        let bins = sums.into_iter().filter(|(pairs, ..)| *pairs > 0);
        let bins: Vec<_> = bins
            .map(|(pairs, confidences, correct)| Bin {
                pairs,
                confidence: confidences / pairs as f64,
                accuracy: correct / pairs as f64,
            })
            .collect();
        let error = |bin: &Bin| bin.pairs as f64 * (bin.accuracy - bin.confidence).abs();
        Self {
            expected_error: bins.iter().map(error).sum::<f64>() / margins.len().max(1) as f64,
            bins,
        }
    }

    /// The fraction of correct predictions; a tie counts half. ½ without pairs.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        let pairs: usize = self.bins.iter().map(|bin| bin.pairs).sum();
        let correct = self.bins.iter().map(|bin| bin.accuracy * bin.pairs as f64);
        match pairs {
            0 => 0.5,
            pairs => correct.sum::<f64>() / pairs as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{Rng, Stream};

    /// Two opposite predictions for a label of 0.8 are correct with probabilities 0.8 and 0.2.
    #[test]
    fn labels_are_probabilities() {
        let found = Calibration::labelled(&[1.0, -1.0], &[0.8, 0.8]);
        assert_eq!(found.bins.len(), 1);
        assert!((found.bins[0].accuracy - 0.5).abs() < 1e-7);
        let sure = Calibration::labelled(&[1.0], &[1.0]);
        assert_eq!(sure, Calibration::of(&[1.0]));
    }

    #[test]
    fn bins_and_the_expected_error_match_values_by_hand() {
        // Confidences 0.5 (a tie), 0.731 (correct), 0.731 (wrong), 0.953 (correct).
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
    fn overconfident_margins_have_a_large_calibration_error() {
        let mut rng = Rng::new(1, Stream::Data, 0, 0);
        let margins: Vec<f64> = (0..20_000).map(|_| 2.0 * rng.normal()).collect();
        // The chosen response is drawn with the model's own probability.
        let mut draw = |margin: f64| {
            let chosen = rng.uniform() < 1.0 / (1.0 + (-margin).exp());
            if chosen { margin } else { -margin }
        };
        let drawn: Vec<f32> = margins.iter().map(|&margin| draw(margin) as f32).collect();
        assert!(Calibration::of(&drawn).expected_error < 0.02);
        let overconfident: Vec<f32> = drawn.iter().map(|margin| 3.0 * margin).collect();
        assert!(Calibration::of(&overconfident).expected_error > 0.08);
    }
}
