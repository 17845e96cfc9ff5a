//! Token-level KL penalties, which are terms of a loss.

use crate::{Error, Outputs, PerToken, Result};
use rlhf_tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A KL penalty per token, added to a loss. **With any of them the optimum is not π\***: the gradient of
/// a token's own KL omits the effect of the token on the KL of later ones (Tang & Munos 2025). They are
/// provided for comparison with other implementations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocalKl {
    /// KL(π(·|s) ‖ p₀(·|s)), with the exact entropy and the cross-entropy of the sampled token. The fixed
    /// point is π(a|s) ∝ p₀(a|s)·exp(Q(s,a)/β), where Q is the future reward under π without later KL.
    LocalKl,
    /// ½·(log π − log p₀)² of the sampled token. Its expected gradient and its fixed point are those of
    /// [`LocalKl`](Self::LocalKl).
    LocalK2,
    /// p₀/π − 1 − log(p₀/π) of the sampled token, as in GRPO (Shao et al. 2024, eq. 4). Its expected
    /// gradient is that of the *forward* KL(p₀ ‖ π); the fixed point is
    /// π(a|s) = β·p₀(a|s)/(μ(s) − Q(s,a)).
    LocalK3,
}

impl LocalKl {
    /// The penalty of each token sampled from π: \[N\], nats. (The value of [`LocalKl`](Self::LocalKl) is
    /// not the KL; its expected gradient is that of the KL.)
    ///
    /// # Errors
    /// If the outputs lack the entropies that `LocalKl` needs, or the shapes differ.
    pub fn penalties(self, outputs: &Outputs, prior_log_probs: &PerToken) -> Result<Tensor> {
        let (log_probs, prior) = (outputs.log_probs.values(), prior_log_probs.values());
        let ratio = (log_probs - prior)?;
        Ok(match self {
            Self::LocalKl => {
                let entropy = outputs.entropy.as_ref().ok_or_else(|| {
                    Error::Unsupported(
                        "local-kl needs the entropies of the policy: request them with \
                    OutputSpec::with_entropy"
                            .into(),
                    )
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
    fn expected_gradients_are_those_of_the_reverse_and_forward_kl() {
        let (pi, p) = ([0.5f64, 0.3, 0.2], [0.1f64, 0.6, 0.3]);
        let responses = (0..3).map(|a| Response::new(0, vec![a], Finish::Length));
        let s = Sequences::new(vec![Prompt::from_ids(vec![0])], responses.collect()).unwrap();
        let logs = |x: [f64; 3]| x.iter().map(|x| x.ln() as f32).collect::<Vec<f32>>();
        let prior = PerToken::from_vec(logs(p), s.offsets()).unwrap();
        let entropy: f64 = pi.iter().map(|x| -x * x.ln()).sum();
        let reverse = [0.546_878_07, -0.362_648_69, -0.184_229_38];
        for (kind, reference) in [
            (LocalKl::LocalKl, reverse),
            (LocalKl::LocalK2, reverse),
            (LocalKl::LocalK3, [0.4, -0.3, -0.1]),
        ] {
            let outputs = Outputs::new(&s, logs(pi), Some(vec![entropy as f32; 3]), None).unwrap();
            let penalties = kind.penalties(&outputs, &prior).unwrap();
            let d = outputs.gradients(&penalties.sum_all().unwrap()).unwrap();
            let of_entropy = d.entropy.unwrap_or_else(|| vec![0.0; 3]);
            for (v, reference) in reference.into_iter().enumerate() {
                let mut expected = 0.0;
                for (a, slope) in d.log_probs.as_ref().unwrap().iter().enumerate() {
                    let own = f64::from(u8::from(a == v)) - pi[v];
                    let through_entropy = -pi[v] * (pi[v].ln() + entropy);
                    expected += pi[a]
                        * (f64::from(*slope) * own + f64::from(of_entropy[a]) * through_entropy);
                }
                assert!((expected - reference).abs() < 1e-6, "{kind:?}: {expected}");
            }
        }
        let without = Outputs::new(&s, logs(pi), None, None).unwrap();
        assert!(LocalKl::LocalKl.penalties(&without, &prior).is_err());
    }
}
