//! The clipped losses of the policy and of the critic, one value per token.

use rlhf_objective::Result;
use rlhf_tensor::Tensor;

/// The losses of N tokens, and whether each is clipped.
#[derive(Debug)]
pub struct Clipped {
    /// The loss of each token, to minimize: \[N\].
    pub losses: Tensor,
    /// Whether the clipped term is the greater: \[N\], u8.
    pub clipped: Tensor,
}

impl Clipped {
    /// The elementwise maximum of both terms.
    fn maximum(unclipped: &Tensor, clipped: &Tensor) -> Result<Self> {
        Ok(Self {
            losses: unclipped.maximum(clipped)?,
            clipped: clipped.gt(unclipped)?,
        })
    }
}

/// max(−Aρ, −A·clip(ρ, 1 ± ε)) for ratios ρ = π/π_old and advantages A (Schulman et al. 2017, eq. 7,
/// negated): in the units of A.
///
/// # Errors
/// If the shapes differ.
pub fn policy_losses(ratios: &Tensor, advantages: &Tensor, clip: f64) -> Result<Clipped> {
    let ones = ratios.ones_like()?;
    let clipped = clamp(ratios, &(&ones - clip)?, &(&ones + clip)?)?;
    let negated = advantages.neg()?;
    Clipped::maximum(&(&negated * ratios)?, &(&negated * clipped)?)
}

/// ½·max((v − R)², (clip(v, v_old ± ε_v) − R)²) for values v and returns R, in squared units of the
/// reward: the critic's loss of Ziegler et al. (2019).
///
/// # Errors
/// If the shapes differ.
pub fn value_losses(
    values: &Tensor,
    old_values: &Tensor,
    returns: &Tensor,
    clip: f64,
) -> Result<Clipped> {
    let clipped = clamp(values, &(old_values - clip)?, &(old_values + clip)?)?;
    let half_square = |v: &Tensor| (v - returns)?.sqr()? * 0.5;
    Clipped::maximum(&half_square(values)?, &half_square(&clipped)?)
}

/// Clamps x to \[low, high\], with derivative 1 inside and at both bounds, as in PyTorch. candle's
/// clamp has derivative ½ at the bounds.
fn clamp(x: &Tensor, low: &Tensor, high: &Tensor) -> Result<Tensor> {
    let inside = (x.ge(low)? * x.le(high)?)?;
    let clipped = x.detach().maximum(low)?.minimum(high)?;
    Ok(inside.where_cond(x, &clipped)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{Device, Var};

    fn constant(x: f64) -> Tensor {
        Tensor::new(&[x], &Device::Cpu).unwrap()
    }

    /// The loss of one token, its derivative, and whether it is clipped.
    fn at(x: f64, loss: impl Fn(&Tensor) -> Result<Clipped>) -> (f64, f64, bool) {
        let x = Var::new(&[x], &Device::Cpu).unwrap();
        let result = loss(&x).unwrap();
        let gradients = result.losses.backward().unwrap();
        let number = |t: &Tensor| t.to_vec1::<f64>().unwrap()[0];
        let clipped = result.clipped.to_vec1::<u8>().unwrap()[0] == 1;
        (
            number(&result.losses),
            number(gradients.get(&x).unwrap()),
            clipped,
        )
    }

    fn policy(ratio: f64, advantage: f64) -> (f64, f64, bool) {
        at(ratio, |r| policy_losses(r, &constant(advantage), 0.2))
    }

    fn value(v: f64, old: f64, target: f64) -> (f64, f64, bool) {
        at(v, |v| {
            value_losses(v, &constant(old), &constant(target), 0.2)
        })
    }

    #[test]
    fn policy_losses_match_hand_computed_values() {
        assert_eq!(policy(1.3, 1.0), (-1.2, 0.0, true));
        assert_eq!(policy(0.7, 1.0), (-0.7, -1.0, false));
        assert_eq!(policy(1.3, -1.0), (1.3, 1.0, false));
        assert_eq!(policy(0.7, -1.0), (0.8, 0.0, true));
    }

    #[test]
    fn gradients_are_unclipped_at_the_old_policy_and_at_the_bounds() {
        for advantage in [2.0, -2.0] {
            assert_eq!(policy(1.0, advantage), (-advantage, -advantage, false));
            for bound in [1.0 - 0.2, 1.0 + 0.2] {
                assert_eq!(policy(bound, advantage).1, -advantage);
            }
        }
        assert_eq!(policy(1.0, 0.0).1, 0.0);
        assert_eq!(value(0.5, 0.5, 2.0), (1.125, -1.5, false));
        assert_eq!(value(0.25 + 0.2, 0.25, 2.0).1, 0.25 + 0.2 - 2.0);
    }

    #[test]
    fn value_losses_match_hand_computed_values() {
        let close = |(loss, slope, clipped): (f64, f64, bool), to: (f64, f64, bool)| {
            assert!((loss - to.0).abs() < 1e-12 && (slope - to.1).abs() < 1e-12);
            assert_eq!(clipped, to.2);
        };
        // Beyond the bound and towards the return: clipped, no gradient.
        close(value(0.5, 0.0, 1.0), (0.32, 0.0, true));
        // Beyond the bound and away from the return: not clipped.
        close(value(-0.5, 0.0, 1.0), (1.125, -1.5, false));
        // Beyond the bound and beyond the return: not clipped.
        close(value(3.0, 0.0, 1.0), (2.0, 2.0, false));
        close(value(0.1, 0.0, 1.0), (0.405, -0.9, false));
    }

    #[test]
    fn derivatives_match_finite_differences() {
        let step = 1e-6;
        for advantage in [1.7, -0.4] {
            for ratio in [0.5, 0.79, 0.93, 1.07, 1.21, 2.0] {
                let slope = policy(ratio, advantage).1;
                let above = policy(ratio + step, advantage).0;
                let below = policy(ratio - step, advantage).0;
                assert!((slope - (above - below) / (2.0 * step)).abs() < 1e-8);
            }
            for v in [-1.0, 0.05, 0.31, 0.9, 1.9] {
                let slope = value(v, 0.1, 0.5 * advantage).1;
                let above = value(v + step, 0.1, 0.5 * advantage).0;
                let below = value(v - step, 0.1, 0.5 * advantage).0;
                assert!((slope - (above - below) / (2.0 * step)).abs() < 1e-8);
            }
        }
    }
}
