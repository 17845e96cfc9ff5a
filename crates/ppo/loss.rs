//! The clipped losses of the policy and of the critic, a number for each token.

use rlhf_objective::Result;
use rlhf_tensor::Tensor;

/// The losses of N tokens, and which of them the clipping decided.
#[derive(Debug)]
pub struct Clipped {
    /// The loss of each token, to minimize: \[N\].
    pub losses: Tensor,
    /// Whether the clipped side was the greater: \[N\], u8.
    pub clipped: Tensor,
}

impl Clipped {
    /// The greater of both sides, token by token.
    fn worse_of(free: &Tensor, bounded: &Tensor) -> Result<Self> {
        Ok(Self {
            losses: free.maximum(bounded)?,
            clipped: bounded.gt(free)?,
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
    let bounded = clamp(ratios, &(&ones - clip)?, &(&ones + clip)?)?;
    let gains = advantages.neg()?;
    Clipped::worse_of(&(&gains * ratios)?, &(&gains * bounded)?)
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
    let bounded = clamp(values, &(old_values - clip)?, &(old_values + clip)?)?;
    let half_square = |v: &Tensor| (v - returns)?.sqr()? * 0.5;
    Clipped::worse_of(&half_square(values)?, &half_square(&bounded)?)
}

/// x between `low` and `high`, with derivative 1 there, the ends included, as PyTorch has it.
/// (candle's clamp has ½ at the ends.)
fn clamp(x: &Tensor, low: &Tensor, high: &Tensor) -> Result<Tensor> {
    let inside = (x.ge(low)? * x.le(high)?)?;
    let bounded = x.detach().maximum(low)?.minimum(high)?;
    Ok(inside.where_cond(x, &bounded)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{Device, Var};

    fn constant(x: f64) -> Tensor {
        Tensor::new(&[x], &Device::Cpu).unwrap()
    }

    /// A loss of one token, its derivative, and whether it was clipped.
    fn at(x: f64, loss: impl Fn(&Tensor) -> Result<Clipped>) -> (f64, f64, bool) {
        let x = Var::new(&[x], &Device::Cpu).unwrap();
        let made = loss(&x).unwrap();
        let gradients = made.losses.backward().unwrap();
        let number = |t: &Tensor| t.to_vec1::<f64>().unwrap()[0];
        let clipped = made.clipped.to_vec1::<u8>().unwrap()[0] == 1;
        (
            number(&made.losses),
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
    fn the_policy_table() {
        assert_eq!(policy(1.3, 1.0), (-1.2, 0.0, true));
        assert_eq!(policy(0.7, 1.0), (-0.7, -1.0, false));
        assert_eq!(policy(1.3, -1.0), (1.3, 1.0, false));
        assert_eq!(policy(0.7, -1.0), (0.8, 0.0, true));
    }

    #[test]
    fn the_first_step_and_the_ends_have_the_whole_gradient() {
        for advantage in [2.0, -2.0] {
            assert_eq!(policy(1.0, advantage), (-advantage, -advantage, false));
            for end in [1.0 - 0.2, 1.0 + 0.2] {
                assert_eq!(policy(end, advantage).1, -advantage);
            }
        }
        assert_eq!(policy(1.0, 0.0).1, 0.0);
        assert_eq!(value(0.5, 0.5, 2.0), (1.125, -1.5, false));
        assert_eq!(value(0.25 + 0.2, 0.25, 2.0).1, 0.25 + 0.2 - 2.0);
    }

    #[test]
    fn the_value_table() {
        let close = |(loss, slope, clipped): (f64, f64, bool), to: (f64, f64, bool)| {
            assert!((loss - to.0).abs() < 1e-12 && (slope - to.1).abs() < 1e-12);
            assert_eq!(clipped, to.2);
        };
        // Beyond the bound and towards the return: nothing to gain.
        close(value(0.5, 0.0, 1.0), (0.32, 0.0, true));
        // Beyond the bound and away from the return: pulled back.
        close(value(-0.5, 0.0, 1.0), (1.125, -1.5, false));
        // Beyond the bound and past the return.
        close(value(3.0, 0.0, 1.0), (2.0, 2.0, false));
        close(value(0.1, 0.0, 1.0), (0.405, -0.9, false));
    }

    #[test]
    fn derivatives_agree_with_finite_differences() {
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
