//! β, the coefficient of the KL penalty: fixed, or adapted to a target KL or entropy.

use serde::{Deserialize, Serialize};

/// The coefficient of the KL penalty, in units of the reward per nat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Beta {
    /// Constant, so that the optimum π* = p₀·exp(r/β)/Z is constant too.
    Fixed(f64),
    /// Updated once an iteration to keep a target. The optimum π* changes with it.
    Adaptive(Adaptive),
}

/// A β that is adapted to keep the KL (Ziegler et al. 2019, §2.2) or the entropy near a target.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adaptive {
    /// The current value.
    pub beta: f64,
    /// The target.
    #[serde(flatten)]
    pub target: Target,
    /// After how many responses the full correction has been applied.
    pub horizon: f64,
    /// The lower bound of β, positive.
    #[serde(default)]
    pub lowest: f64,
    /// The upper bound of β.
    #[serde(default = "no_greatest")]
    pub greatest: f64,
}

/// The target of an adaptive β.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// The KL to the prior, nats per sequence. The prior must be a distribution.
    #[serde(rename = "target_kl")]
    Kl(f64),
    /// The entropy of the policy, nats per sequence, for a prior that is not a distribution: the KL to
    /// the counting prior is minus the entropy.
    #[serde(rename = "target_entropy")]
    Entropy(f64),
}

/// Statistics of an iteration, from which an adaptive β is updated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// The mean KL, nats per sequence.
    pub kl: f64,
    /// The mean entropy of the policy, nats per sequence.
    pub entropy: f64,
    /// How many responses were sampled.
    pub episodes: usize,
}

/// Which of its bounds an adaptive β has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`Adaptive::lowest`].
    Lowest,
    /// [`Adaptive::greatest`].
    Greatest,
}

/// The default bounds are the initial β divided and multiplied by this factor. Without bounds, a target
/// that no β can reach would change β without limit.
const BOUND_FACTOR: f64 = 1000.0;

/// The upper bound of checkpoints written before there were bounds.
fn no_greatest() -> f64 {
    f64::MAX
}

impl Adaptive {
    /// Starts at `start`, which must be positive, with bounds of 1/1000 and 1000 times `start`. The full
    /// correction is applied over `horizon` responses.
    #[must_use]
    pub fn new(start: f64, target: Target, horizon: f64) -> Self {
        Self {
            beta: start,
            target,
            horizon,
            lowest: start / BOUND_FACTOR,
            greatest: start * BOUND_FACTOR,
        }
    }

    /// e = clip(KL/target − 1, ±0.2) for a target KL, and clip(1 − H/target, ±0.2) for a target entropy:
    /// a KL that is too high and an entropy that is too low both increase β.
    fn observe(&mut self, seen: Observed) {
        let error = match self.target {
            Target::Kl(target) => seen.kl / target - 1.0,
            Target::Entropy(target) => 1.0 - seen.entropy / target,
        };
        let step = error.clamp(-0.2, 0.2) * seen.episodes as f64 / self.horizon;
        self.set(self.beta * (1.0 + step));
    }

    fn set(&mut self, beta: f64) {
        self.beta = beta.max(self.lowest).min(self.greatest);
    }
}

impl Beta {
    /// The current value.
    #[must_use]
    pub fn value(&self) -> f64 {
        match *self {
            Self::Fixed(beta) | Self::Adaptive(Adaptive { beta, .. }) => beta,
        }
    }

    /// The target, if β is adaptive.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        match self {
            Self::Fixed(_) => None,
            Self::Adaptive(adaptive) => Some(adaptive.target),
        }
    }

    /// Updates an adaptive β after an iteration: β ← β·(1 + e·episodes/horizon), within its bounds, with
    /// e = clip(KL/target − 1, ±0.2) for a KL and clip(1 − H/target, ±0.2) for an entropy H. A fixed β
    /// does not change.
    pub fn observe(&mut self, seen: Observed) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.observe(seen);
        }
    }

    /// Sets an adaptive β to the value of another, as when a run resumes. A fixed β does not change.
    pub fn restore_value(&mut self, other: &Self) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.set(other.value());
        }
    }

    /// The bound that an adaptive β has reached, if any.
    #[must_use]
    pub fn bound(&self) -> Option<Bound> {
        match self {
            Self::Adaptive(adaptive) if adaptive.beta <= adaptive.lowest => Some(Bound::Lowest),
            Self::Adaptive(adaptive) if adaptive.beta >= adaptive.greatest => Some(Bound::Greatest),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kl: f64, entropy: f64) -> Observed {
        Observed {
            kl,
            entropy,
            episodes: 64,
        }
    }

    fn observe(beta: &mut Beta, seen: Observed) -> f64 {
        beta.observe(seen);
        beta.value()
    }

    #[test]
    fn adaptive_beta_follows_the_reference_value() {
        let mut beta = Beta::Adaptive(Adaptive::new(0.2, Target::Kl(6.0), 1e4));
        assert!((observe(&mut beta, seen(9.0, 0.0)) - 0.200_256).abs() < 1e-12);
        assert!(observe(&mut beta, seen(0.0, 0.0)) < 0.200_256);
        let mut fixed = Beta::Fixed(0.2);
        assert_eq!(observe(&mut fixed, seen(9.0, 0.0)), 0.2);
        assert_eq!((fixed.target(), fixed.bound()), (None, None));
    }

    #[test]
    fn an_entropy_above_the_target_decreases_beta() {
        let adaptive = || Beta::Adaptive(Adaptive::new(0.2, Target::Entropy(40.0), 1e4));
        // The KL to the counting prior is minus the entropy; it is not used.
        let value_after = |entropy: f64| observe(&mut adaptive(), seen(-entropy, entropy));
        // 1 − 44/40 = −0.1; larger errors are clipped: 0.2·(1 ± 0.2·64/10⁴).
        assert!((value_after(44.0) - 0.2 * (1.0 - 0.1 * 64e-4)).abs() < 1e-15);
        assert!((value_after(60.0) - 0.199_744).abs() < 1e-12);
        assert!((value_after(20.0) - 0.200_256).abs() < 1e-12);
        assert_eq!(value_after(40.0), 0.2);
    }

    #[test]
    fn adaptive_beta_stays_within_its_bounds() {
        let mut beta = Beta::Adaptive(Adaptive::new(0.2, Target::Kl(6.0), 100.0));
        assert_eq!(beta.bound(), None);
        for _ in 0..100 {
            beta.observe(seen(0.0, 0.0));
        }
        assert_eq!((beta.value(), beta.bound()), (0.0002, Some(Bound::Lowest)));
        for _ in 0..200 {
            beta.observe(seen(99.0, 0.0));
        }
        assert_eq!((beta.value(), beta.bound()), (200.0, Some(Bound::Greatest)));
        // One step that would make β negative.
        let mut quick = Beta::Adaptive(Adaptive::new(0.2, Target::Kl(6.0), 5.0));
        assert_eq!(observe(&mut quick, seen(0.0, 0.0)), 0.0002);
    }

    #[test]
    fn beta_is_parsed_from_checkpoints_with_and_without_bounds() {
        let old = r#"{"adaptive":{"beta":0.25,"target_kl":6.0,"horizon":10000.0}}"#;
        let old: Beta = serde_json::from_str(old).unwrap();
        assert_eq!((old.value(), old.target()), (0.25, Some(Target::Kl(6.0))));
        assert_eq!(old.bound(), None);
        for target in [Target::Kl(6.0), Target::Entropy(40.0)] {
            let mut beta = Beta::Adaptive(Adaptive::new(0.1, target, 1e4));
            let text = serde_json::to_string(&beta).unwrap();
            assert_eq!(serde_json::from_str::<Beta>(&text).unwrap(), beta, "{text}");
            // The target and the bounds come from the settings.
            beta.restore_value(&old);
            assert_eq!((beta.value(), beta.target()), (0.25, Some(target)));
        }
        let fixed: Beta = serde_json::from_str(r#"{"fixed":0.5}"#).unwrap();
        assert_eq!(fixed, Beta::Fixed(0.5));
    }
}
