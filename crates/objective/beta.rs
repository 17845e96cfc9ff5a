//! β, the price of a nat.

use serde::{Deserialize, Serialize};

/// The weight of the KL penalty, in units of the reward per nat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Beta {
    /// Constant. π* = p₀·exp(r/β)/Z stands still.
    Fixed(f64),
    /// Moved once an iteration to hold a target. π* moves with it.
    Adaptive(Adaptive),
}

/// A β that moves to hold the KL near a target (Ziegler et al. 2019, §2.2), or the entropy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adaptive {
    /// The present value.
    pub beta: f64,
    /// What it holds.
    #[serde(flatten)]
    pub target: Target,
    /// How many episodes a full correction takes.
    pub horizon: f64,
    /// The least value it may take, positive.
    #[serde(default)]
    pub lowest: f64,
    /// The greatest value it may take.
    #[serde(default = "no_greatest")]
    pub greatest: f64,
}

/// What an adaptive β holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// The KL to a prior that is a distribution, nats per sequence.
    #[serde(rename = "target_kl")]
    Kl(f64),
    /// The entropy of the policy, nats per sequence: where the prior is no distribution, as the counting
    /// one, to which the KL is minus the entropy.
    #[serde(rename = "target_entropy")]
    Entropy(f64),
}

/// What an iteration tells an adaptive β.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// The mean KL, nats per sequence.
    pub kl: f64,
    /// The mean entropy of the policy, nats per sequence.
    pub entropy: f64,
    /// How many responses were drawn.
    pub episodes: usize,
}

/// A bound that β has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`Adaptive::lowest`].
    Lowest,
    /// [`Adaptive::greatest`].
    Greatest,
}

/// An adaptive β stays within this factor of its start unless another bound is given: what lies beyond is
/// no longer the same problem, and a target that no β reaches would move it for ever.
const FARTHEST: f64 = 1000.0;

/// As checkpoints had it before there were bounds.
fn no_greatest() -> f64 {
    f64::MAX
}

impl Adaptive {
    /// From `start`, which is positive, to `target`; a full correction takes `horizon` episodes. It stays
    /// between a thousandth and a thousand times its start.
    #[must_use]
    pub fn new(start: f64, target: Target, horizon: f64) -> Self {
        Self {
            beta: start,
            target,
            horizon,
            lowest: start / FARTHEST,
            greatest: start * FARTHEST,
        }
    }

    /// e = clip(KL/target − 1, ±0.2) where a KL is held, and clip(1 − H/target, ±0.2) where an entropy is:
    /// a KL that is too high and an entropy that is too low both raise the price of leaving the prior.
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
    /// The present value.
    #[must_use]
    pub fn value(&self) -> f64 {
        match *self {
            Self::Fixed(beta) | Self::Adaptive(Adaptive { beta, .. }) => beta,
        }
    }

    /// What it holds, if it moves.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        match self {
            Self::Fixed(_) => None,
            Self::Adaptive(adaptive) => Some(adaptive.target),
        }
    }

    /// After an iteration: β ← β·(1 + e·episodes/horizon), within its bounds, with
    /// e = clip(KL/target − 1, ±0.2) for a KL and clip(1 − H/target, ±0.2) for an entropy H. Nothing
    /// where β is fixed.
    pub fn observe(&mut self, seen: Observed) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.observe(seen);
        }
    }

    /// Takes the present value of another, as when a run resumes. A fixed β stays as it is.
    pub fn take_value(&mut self, other: &Self) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.set(other.value());
        }
    }

    /// The bound it is at, if it moves and is at one.
    #[must_use]
    pub fn bound(&self) -> Option<Bound> {
        match self {
            Self::Adaptive(of) if of.beta <= of.lowest => Some(Bound::Lowest),
            Self::Adaptive(of) if of.beta >= of.greatest => Some(Bound::Greatest),
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

    fn after(beta: &mut Beta, seen: Observed) -> f64 {
        beta.observe(seen);
        beta.value()
    }

    #[test]
    fn adaptive_follows_the_golden_number() {
        let mut beta = Beta::Adaptive(Adaptive::new(0.2, Target::Kl(6.0), 1e4));
        assert!((after(&mut beta, seen(9.0, 0.0)) - 0.200_256).abs() < 1e-12);
        assert!(after(&mut beta, seen(0.0, 0.0)) < 0.200_256);
        let mut fixed = Beta::Fixed(0.2);
        assert_eq!(after(&mut fixed, seen(9.0, 0.0)), 0.2);
        assert_eq!((fixed.target(), fixed.bound()), (None, None));
    }

    #[test]
    fn an_entropy_that_is_too_high_makes_entropy_cheaper() {
        let held = || Beta::Adaptive(Adaptive::new(0.2, Target::Entropy(40.0), 1e4));
        // The KL to the counting prior is minus the entropy; it has no part in it.
        let of = |entropy: f64| after(&mut held(), seen(-entropy, entropy));
        // 1 − 44/40 = −0.1; beyond a fifth, the same: 0.2·(1 ± 0.2·64/10⁴).
        assert!((of(44.0) - 0.2 * (1.0 - 0.1 * 64e-4)).abs() < 1e-15);
        assert!((of(60.0) - 0.199_744).abs() < 1e-12);
        assert!((of(20.0) - 0.200_256).abs() < 1e-12);
        assert_eq!(of(40.0), 0.2);
    }

    #[test]
    fn it_stays_within_its_bounds() {
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
        // A step of more than all of it.
        let mut quick = Beta::Adaptive(Adaptive::new(0.2, Target::Kl(6.0), 5.0));
        assert_eq!(after(&mut quick, seen(0.0, 0.0)), 0.0002);
    }

    #[test]
    fn it_is_read_from_checkpoints_old_and_new() {
        let old = r#"{"adaptive":{"beta":0.25,"target_kl":6.0,"horizon":10000.0}}"#;
        let old: Beta = serde_json::from_str(old).unwrap();
        assert_eq!((old.value(), old.target()), (0.25, Some(Target::Kl(6.0))));
        assert_eq!(old.bound(), None);
        for target in [Target::Kl(6.0), Target::Entropy(40.0)] {
            let mut beta = Beta::Adaptive(Adaptive::new(0.1, target, 1e4));
            let text = serde_json::to_string(&beta).unwrap();
            assert_eq!(serde_json::from_str::<Beta>(&text).unwrap(), beta, "{text}");
            // What it holds and how far it goes are of the settings.
            beta.take_value(&old);
            assert_eq!((beta.value(), beta.target()), (0.25, Some(target)));
        }
        let fixed: Beta = serde_json::from_str(r#"{"fixed":0.5}"#).unwrap();
        assert_eq!(fixed, Beta::Fixed(0.5));
    }
}
