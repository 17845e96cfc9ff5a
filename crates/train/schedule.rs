//! The learning rate schedule.

use serde::{Deserialize, Serialize};

/// The learning rate schedule after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrSchedule {
    /// Constant.
    Constant,
    /// Linear decay to 0 at the end of the run.
    #[default]
    Linear,
    /// Cosine decay to 0 at the end of the run (Loshchilov & Hutter 2016, eq. 5, without restarts).
    Cosine,
}

/// The length of the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WarmUp {
    /// This many steps.
    Steps(usize),
    /// This fraction of all steps, in [0, 1), rounded up.
    Fraction(f64),
}

impl Default for WarmUp {
    fn default() -> Self {
        Self::Steps(0)
    }
}

/// The factor of the learning rate at each step: linear warm-up, then decay. No step has a factor of 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Schedule {
    /// The schedule after the warm-up.
    pub decay: LrSchedule,
    /// The warm-up.
    pub warm_up: WarmUp,
}

impl Schedule {
    /// The same factor, 1, at every step.
    pub const CONSTANT: Self = Self {
        decay: LrSchedule::Constant,
        warm_up: WarmUp::Steps(0),
    };

    /// The factor at `step` of `total`, counted from 0, in (0, 1].
    #[must_use]
    pub fn factor(&self, step: usize, total: usize) -> f64 {
        let warm_up = match self.warm_up {
            WarmUp::Steps(steps) => steps,
            WarmUp::Fraction(part) => (part * total as f64).ceil() as usize,
        };
        if step < warm_up {
            return (step + 1) as f64 / warm_up as f64;
        }
        let done = (step - warm_up) as f64 / total.saturating_sub(warm_up).max(1) as f64;
        match self.decay {
            LrSchedule::Constant => 1.0,
            LrSchedule::Linear => 1.0 - done,
            LrSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(decay: LrSchedule, warm_up: WarmUp, total: usize) -> Vec<f64> {
        let schedule = Schedule { decay, warm_up };
        (0..total)
            .map(|step| schedule.factor(step, total))
            .collect()
    }

    #[test]
    fn factors_of_each_schedule() {
        assert_eq!(
            factors(LrSchedule::Linear, WarmUp::Steps(0), 4),
            [1.0, 0.75, 0.5, 0.25]
        );
        let linear = factors(LrSchedule::Linear, WarmUp::Fraction(0.25), 8);
        for (step, sixths) in [3.0, 6.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0].iter().enumerate() {
            assert!((linear[step] - sixths / 6.0).abs() < 1e-15, "{linear:?}");
        }
        assert_eq!(
            factors(LrSchedule::Constant, WarmUp::Steps(2), 4),
            [0.5, 1.0, 1.0, 1.0]
        );
        let cosine = factors(LrSchedule::Cosine, WarmUp::Steps(0), 4);
        assert_eq!(cosine[0], 1.0);
        assert!((cosine[2] - 0.5).abs() < 1e-15);
        assert!(
            factors(LrSchedule::Linear, WarmUp::Steps(9), 3)
                .iter()
                .all(|&f| f > 0.0)
        );
    }
}
