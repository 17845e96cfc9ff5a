//! Losses of per-token quantities: \[pairs\] → \[pairs\]. Their optima depend on response lengths.

use super::{PairSide, margin};
use rlhf_objective::{Result, log_sigmoid};
use rlhf_tensor::Tensor;

/// Log-probs per token are clamped here, because the odds of a response with probability 1 are
/// infinite; above it the gradient is 0.
const MAX_LOG_PROB: f64 = -1e-6;

/// The difference of the implicit rewards per token.
fn per_token_margin(chosen: &PairSide, rejected: &PairSide) -> Result<Tensor> {
    let per_token = |side: &PairSide| &side.implicit_rewards / &side.lengths;
    Ok((per_token(chosen)? - per_token(rejected)?)?)
}

/// (log-ratio₊/n₊ − log-ratio₋/n₋ − 1/(2β))².
pub(super) fn ipo(chosen: &PairSide, rejected: &PairSide, beta: f64) -> Result<Tensor> {
    margin::ipo(&per_token_margin(chosen, rejected)?, beta)
}

/// −log σ(h₊/n₊ − h₋/n₋ − γ).
pub(super) fn simpo(chosen: &PairSide, rejected: &PairSide, target: f64) -> Result<Tensor> {
    margin::sigmoid(&(per_token_margin(chosen, rejected)? - target)?, 0.0)
}

/// −log π₊/n₊ − λ·log σ(log-odds₊ − log-odds₋).
pub(super) fn orpo(chosen: &PairSide, rejected: &PairSide, weight: f64) -> Result<Tensor> {
    let mean = |side: &PairSide| &side.log_probs / &side.lengths;
    let (chosen, rejected) = (mean(chosen)?, mean(rejected)?);
    let ratio = (log_odds(&chosen)? - log_odds(&rejected)?)?;
    Ok((chosen.neg()? - (log_sigmoid(&ratio)? * weight)?)?)
}

/// x − log(1 − eˣ), computed by 1 − eˣ = −2t/(1 − t) with t = tanh(x/2), which is accurate where eˣ
/// is close to 1.
fn log_odds(log_prob: &Tensor) -> Result<Tensor> {
    let log_prob = log_prob.minimum(MAX_LOG_PROB)?;
    let t = (&log_prob * 0.5)?.tanh()?;
    let complement = ((&t * -2.0)? / (1.0 - &t)?)?;
    Ok((log_prob - complement.log()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{Device, Var};

    #[test]
    fn log_odds_are_accurate_near_certainty() {
        for x in [-1e-5f64, -0.3, -0.7, -20.0, -700.0] {
            let log_prob = Var::new(&[x], &Device::Cpu).unwrap();
            let odds = log_odds(&log_prob).unwrap();
            let slope = odds.backward().unwrap();
            let slope = slope.get(&log_prob).unwrap().to_vec1::<f64>().unwrap()[0];
            let exact = x - (-x.exp_m1()).ln();
            let found = odds.to_vec1::<f64>().unwrap()[0];
            assert!(
                (found - exact).abs() < 1e-11 * exact.abs(),
                "{x}: {found} {exact}"
            );
            let exact = 1.0 / -x.exp_m1();
            assert!((slope - exact).abs() < 1e-9 * exact, "{x}: {slope} {exact}");
        }
    }

    #[test]
    fn log_odds_of_probability_one_are_finite_with_zero_gradient() {
        let certain = Var::new(&[0f32], &Device::Cpu).unwrap();
        let odds = log_odds(&certain).unwrap();
        assert!(odds.to_vec1::<f32>().unwrap()[0].is_finite());
        let slope = odds.backward().unwrap();
        assert_eq!(
            slope.get(&certain).unwrap().to_vec1::<f32>().unwrap(),
            [0.0]
        );
    }
}
