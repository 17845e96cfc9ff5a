//! Losses of quantities per token: \[pairs\] → \[pairs\]. Their optimum depends on lengths.

use super::{Answers, margin};
use rlhf_objective::{Result, log_sigmoid};
use rlhf_tensor::Tensor;

/// The greatest log-prob a token that has odds: beyond it, where a response is certain, the odds are
/// infinite and its slope is cut to 0.
const ALMOST_CERTAIN: f64 = -1e-6;

fn per_token(better: &Answers, worse: &Answers) -> Result<Tensor> {
    Ok(((&better.implicit / &better.tokens)? - (&worse.implicit / &worse.tokens)?)?)
}

/// (log-ratio₊/n₊ − log-ratio₋/n₋ − 1/(2β))².
pub(super) fn ipo(better: &Answers, worse: &Answers, beta: f64) -> Result<Tensor> {
    margin::ipo(&per_token(better, worse)?, beta)
}

/// −log σ(h₊/n₊ − h₋/n₋ − γ).
pub(super) fn simpo(better: &Answers, worse: &Answers, target: f64) -> Result<Tensor> {
    margin::sigmoid(&(per_token(better, worse)? - target)?, 0.0)
}

/// −log π₊/n₊ − λ·log σ(log-odds₊ − log-odds₋).
pub(super) fn orpo(better: &Answers, worse: &Answers, weight: f64) -> Result<Tensor> {
    let mean = |answers: &Answers| &answers.log_probs / &answers.tokens;
    let (better, worse) = (mean(better)?, mean(worse)?);
    let ratio = (log_odds(&better)? - log_odds(&worse)?)?;
    Ok((better.neg()? - (log_sigmoid(&ratio)? * weight)?)?)
}

/// x − log(1 − eˣ), by 1 − eˣ = −2t/(1 − t) with t = tanh(x/2), which keeps its digits where eˣ is
/// almost 1.
fn log_odds(log_prob: &Tensor) -> Result<Tensor> {
    let log_prob = log_prob.minimum(ALMOST_CERTAIN)?;
    let t = (&log_prob * 0.5)?.tanh()?;
    let other = ((&t * -2.0)? / (1.0 - &t)?)?;
    Ok((log_prob - other.log()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{Device, Var};

    #[test]
    fn odds_keep_their_digits() {
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
    fn a_certain_response_has_finite_odds() {
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
