//! Penalties on the KL of each token alone, to differentiate in a loss.

use crate::{Error, Outputs, PerToken, Result};
use rlhf_tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A penalty that a loss pays token by token. **With any of them the optimum is not π\***: the
/// gradient of a token's own KL forgets that the token changes the KL of later ones (Tang & Munos
/// 2025). They are here because others use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocalKl {
    /// KL(π(·|s) ‖ p₀(·|s)): its entropy exactly, its cross-entropy by the token drawn. At rest
    /// π(a|s) ∝ p₀(a|s)·exp(Q(s,a)/β), Q the reward to come under π, no later KL in it.
    LocalKl,
    /// ½·(log π − log p₀)² of the token drawn. Its expected gradient, and so its rest, is that of
    /// the former.
    LocalK2,
    /// p₀/π − 1 − log(p₀/π) of the token drawn, as in GRPO (Shao et al. 2024, eq. 4). Its expected
    /// gradient is that of the *forward* KL(p₀ ‖ π): at rest π(a|s) = β·p₀(a|s)/(μ(s) − Q(s,a)).
    LocalK3,
}

impl LocalKl {
    /// Of each token drawn from π: \[N\], nats, with the gradient of the penalty. (The value of
    /// [`LocalKl`](Self::LocalKl) is not the KL itself; its gradient is.)
    ///
    /// # Errors
    /// If the entropies were not asked for where they are needed, or the shapes differ.
    pub fn penalties(self, outputs: &Outputs, prior_log_probs: &PerToken) -> Result<Tensor> {
        let (log_probs, prior) = (outputs.log_probs.values(), prior_log_probs.values());
        let ratio = (log_probs - prior)?;
        Ok(match self {
            Self::LocalKl => {
                let entropy = outputs.entropy.as_ref().ok_or_else(|| {
                    Error::Unsupported("local-kl needs the entropies of the policy".into())
                })?;
                ((log_probs * prior.detach())? + entropy.values())?.neg()?
            }
            Self::LocalK2 => (ratio.sqr()? * 0.5)?,
            Self::LocalK3 => (ratio.neg()?.exp()? - 1.0)?.add(&ratio)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Finish, Prompt, Response, Sequences};

    /// The expected gradient with respect to the logits of one distribution, by enumeration.
    #[test]
    fn expected_gradients_are_those_of_the_two_kl() {
        let (pi, p) = ([0.5f64, 0.3, 0.2], [0.1f64, 0.6, 0.3]);
        let answers = (0..3).map(|a| Response::new(0, vec![a], Finish::Length));
        let s = Sequences::new(vec![Prompt::from_ids(vec![0])], answers.collect()).unwrap();
        let logs = |x: [f64; 3]| x.iter().map(|x| x.ln() as f32).collect::<Vec<f32>>();
        let prior = PerToken::from_vec(logs(p), s.offsets()).unwrap();
        let entropy: f64 = pi.iter().map(|x| -x * x.ln()).sum();
        let reverse = [0.546_878_07, -0.362_648_69, -0.184_229_38];
        for (kind, golden) in [
            (LocalKl::LocalKl, reverse),
            (LocalKl::LocalK2, reverse),
            (LocalKl::LocalK3, [0.4, -0.3, -0.1]),
        ] {
            let outputs = Outputs::new(&s, logs(pi), Some(vec![entropy as f32; 3]), None).unwrap();
            let penalties = kind.penalties(&outputs, &prior).unwrap();
            let d = outputs.gradients(&penalties.sum_all().unwrap()).unwrap();
            let of_entropy = d.entropy.unwrap_or_else(|| vec![0.0; 3]);
            for (v, golden) in golden.into_iter().enumerate() {
                let mut expected = 0.0;
                for (a, slope) in d.log_probs.as_ref().unwrap().iter().enumerate() {
                    let own = f64::from(u8::from(a == v)) - pi[v];
                    let through_entropy = -pi[v] * (pi[v].ln() + entropy);
                    expected += pi[a]
                        * (f64::from(*slope) * own + f64::from(of_entropy[a]) * through_entropy);
                }
                assert!((expected - golden).abs() < 1e-6, "{kind:?}: {expected}");
            }
        }
        let without = Outputs::new(&s, logs(pi), None, None).unwrap();
        assert!(LocalKl::LocalKl.penalties(&without, &prior).is_err());
    }
}
