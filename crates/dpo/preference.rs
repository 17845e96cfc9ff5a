//! The losses of the family, as functions of implicit rewards.

use rlhf_objective::{Result, log_sigmoid};
use rlhf_tensor::Tensor;

/// A loss on a preference, given the implicit rewards β·log(π/p₀) of both responses. Each member of
/// the family is a function of these two numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Preference {
    /// −(1 − ε)·log σ(h) − ε·log σ(−h), h the difference of the implicit rewards. At ε = 0 it is
    /// DPO (Rafailov et al. 2023, eq. 7), whose optimum under Bradley–Terry labels is
    /// π* = p₀·exp(r/β)/Z; at ε > 0 conservative DPO (Mitchell 2023), whose optimum is that of
    /// labels flipped at rate ε.
    Sigmoid {
        /// ε.
        label_smoothing: f64,
    },
}

impl Preference {
    /// The loss of each pair, nats: \[pairs\], from the implicit rewards of the chosen and the
    /// rejected responses, each \[pairs\], in units of the reward.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn losses(&self, chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
        match *self {
            Self::Sigmoid { label_smoothing } => {
                let margin = (chosen - rejected)?;
                let agrees = (log_sigmoid(&margin)? * (label_smoothing - 1.0))?;
                if label_smoothing == 0.0 {
                    return Ok(agrees);
                }
                Ok((agrees - (log_sigmoid(&margin.neg()?)? * label_smoothing)?)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::tilt;
    use rlhf_tensor::{Device, Var};

    const DPO: Preference = Preference::Sigmoid {
        label_smoothing: 0.0,
    };
    const SMOOTHED: Preference = Preference::Sigmoid {
        label_smoothing: 0.1,
    };

    /// The loss of one pair and its derivatives with respect to the log-ratios c and r, in f64.
    fn at(preference: Preference, beta: f64, c: f64, r: f64) -> (f64, f64, f64) {
        let variable = |x: f64| Var::new(&[x], &Device::Cpu).unwrap();
        let (chosen, rejected) = (variable(c), variable(r));
        let zero = chosen.zeros_like().unwrap();
        let implicit = |log_ratio: &Var| tilt(log_ratio, &zero, beta).unwrap();
        let loss = preference
            .losses(&implicit(&chosen), &implicit(&rejected))
            .unwrap();
        let gradients = loss.backward().unwrap();
        let number = |t: &Tensor| t.to_vec1::<f64>().unwrap()[0];
        let slope = |v: &Var| number(gradients.get(v).unwrap());
        (number(&loss), slope(&chosen), slope(&rejected))
    }

    #[test]
    fn golden_values_and_gradients() {
        let (loss, c, r) = at(DPO, 0.1, 2.0, -1.0);
        assert!((loss - 0.554_355_24).abs() < 1e-8);
        assert!((c + 0.042_555_75).abs() < 1e-8 && (r - 0.042_555_75).abs() < 1e-8);
        let (loss, c, r) = at(SMOOTHED, 0.1, 2.0, -1.0);
        assert!((loss - 0.584_355_24).abs() < 1e-8);
        assert!((c + 0.032_555_75).abs() < 1e-8 && (r - 0.032_555_75).abs() < 1e-8);
    }

    #[test]
    fn at_the_prior_the_loss_is_log_2_and_the_slope_half_beta() {
        for log_ratio in [0.0, -3.5] {
            let (loss, c, r) = at(DPO, 0.1, log_ratio, log_ratio);
            assert!((loss - std::f64::consts::LN_2).abs() < 1e-15);
            assert_eq!((c, r), (-0.05, 0.05));
        }
    }

    #[test]
    fn exchanging_the_responses_exchanges_the_labels() {
        let flipped = Preference::Sigmoid {
            label_smoothing: 0.9,
        };
        for (c, r) in [(2.0, -1.0), (-7.0, 3.0), (0.0, 0.0)] {
            let (loss, dc, dr) = at(SMOOTHED, 0.3, c, r);
            let (other, other_dr, other_dc) = at(flipped, 0.3, r, c);
            assert!((loss - other).abs() < 1e-14);
            assert!((dc - other_dc).abs() < 1e-14 && (dr - other_dr).abs() < 1e-14);
            assert!((dc + dr).abs() < 1e-15);
        }
    }

    #[test]
    fn derivatives_agree_with_finite_differences() {
        let step = 1e-5;
        for preference in [DPO, SMOOTHED] {
            for margin in [-50.0, -1.0, 0.0, 1.0, 50.0] {
                let (beta, r) = (0.1, -0.7);
                let c = r + margin / beta;
                let (_, slope, _) = at(preference, beta, c, r);
                let (above, ..) = at(preference, beta, c + step, r);
                let (below, ..) = at(preference, beta, c - step, r);
                let difference = (above - below) / (2.0 * step);
                // The rounding of a loss of up to 50, divided by the step.
                assert!(
                    (slope - difference).abs() < 1e-6 * slope.abs() + 1e-9,
                    "{margin}: {slope} against {difference}"
                );
            }
        }
    }

    #[test]
    fn extreme_margins_stay_finite_in_f32() {
        for (c, r) in [(1e30f32, -1e30f32), (-1e30, 1e30), (200.0, -200.0)] {
            let chosen = Var::new(&[c], &Device::Cpu).unwrap();
            let rejected = Var::new(&[r], &Device::Cpu).unwrap();
            let loss = SMOOTHED.losses(&chosen, &rejected).unwrap();
            let gradients = loss.backward().unwrap();
            let slope = gradients.get(&chosen).unwrap().to_vec1::<f32>().unwrap()[0];
            assert!(loss.to_vec1::<f32>().unwrap()[0].is_finite());
            let limit = if c > r { 0.1 } else { -0.9 };
            assert!((slope - limit).abs() < 1e-6, "{slope}");
        }
    }
}
