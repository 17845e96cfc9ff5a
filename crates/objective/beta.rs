//! β, the price of a nat.

use serde::{Deserialize, Serialize};

/// The weight of the KL penalty, in units of the reward per nat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Beta {
    /// Constant. π* = p₀·exp(r/β)/Z stands still.
    Fixed(f64),
    /// Moved once an iteration to hold the KL near a target (Ziegler et al. 2019, §2.2). π* moves
    /// with it.
    Adaptive {
        /// The present value.
        beta: f64,
        /// The KL to hold, nats per sequence.
        target_kl: f64,
        /// How many episodes a full correction takes.
        horizon: f64,
    },
}

impl Beta {
    /// The present value.
    #[must_use]
    pub fn value(&self) -> f64 {
        match *self {
            Self::Fixed(beta) | Self::Adaptive { beta, .. } => beta,
        }
    }

    /// After an iteration of `episodes` responses with mean `kl` (nats per sequence):
    /// e = clip(kl/target − 1, ±0.2), β ← β·(1 + e·episodes/horizon). Nothing where β is fixed.
    pub fn observe(&mut self, kl: f64, episodes: usize) {
        if let Self::Adaptive {
            beta,
            target_kl,
            horizon,
        } = self
        {
            let error = (kl / *target_kl - 1.0).clamp(-0.2, 0.2);
            *beta *= 1.0 + error * episodes as f64 / *horizon;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adaptive_follows_the_golden_number() {
        let mut beta = Beta::Adaptive {
            beta: 0.2,
            target_kl: 6.0,
            horizon: 1e4,
        };
        beta.observe(9.0, 64);
        assert!((beta.value() - 0.200_256).abs() < 1e-12);
        beta.observe(0.0, 64);
        assert!(beta.value() < 0.200_256);
        let mut fixed = Beta::Fixed(0.2);
        fixed.observe(9.0, 64);
        assert_eq!(fixed.value(), 0.2);
    }
}
