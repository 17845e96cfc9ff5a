//! The counting measure as the prior: maximum-entropy RL.

use crate::constant_weight::ConstantWeight;
use crate::kind::{PriorContext, PriorKind, PriorPlan};
use rlhf_objective::{Decoder, Error, LogDist, NoSettings, PerToken, Prior, Result, Sequences};
use std::ops::Range;

/// The counting measure: log p₀(y|x) = 0 for every response, so the objective is E\[r\] + β·H(π),
/// maximum-entropy RL (Ziebart 2010; Levine 2018, eq. 8).
///
/// It is not a distribution. The reported KL to it, Σ π·log π, is minus the entropy of the policy, in nats
/// per sequence and never positive. It cannot be sampled from.
#[derive(Debug, Clone, Copy)]
pub struct Counting(ConstantWeight);

impl Counting {
    /// Over V tokens.
    #[must_use]
    pub fn new(vocab: usize) -> Self {
        Self(ConstantWeight {
            vocab,
            log_weight: 0.0,
        })
    }
}

impl Prior for Counting {
    /// Zeros: the weight of every token is 1.
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken> {
        self.0.log_probs(sequences)
    }

    /// Rows of zeros, which do not sum to 1: Σ_v π·(log π − 0) is minus the entropy.
    fn log_dist(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
        self.0.log_dist(sequences, rows)
    }

    fn is_normalized(&self) -> bool {
        false
    }

    /// Always an error: the measure has no finite total, so it cannot be normalized.
    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        Err(Error::Unsupported(
            "the counting prior cannot be sampled from, because it is not a distribution: set \
            eval.prior_samples = 0, or use the uniform prior"
                .into(),
        ))
    }
}

/// The kind `counting`.
#[derive(Debug, Clone, Copy)]
pub struct CountingKind;

impl PriorKind for CountingKind {
    type Settings = NoSettings;

    const NAME: &'static str = "counting";
    const ABOUT: &'static str = "every response has weight 1: maximum entropy";
    const CONSTANT: bool = true;

    fn plan(_: &NoSettings, context: &dyn PriorContext) -> Result<PriorPlan> {
        let plan = PriorPlan::over_vocabulary(Self::NAME, context.model()?, Counting::new);
        Ok(PriorPlan {
            symbol: None,
            description:
                "counting: every response has weight 1, so −KL is the entropy of the policy".into(),
            normalized: false,
            ..plan
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Network, OutputSpec, exact_kl};
    use rlhf_policy::testing::{Bigram, sequences};
    use rlhf_tensor::Storage;

    #[test]
    fn the_kl_to_it_is_minus_the_entropy() {
        let (mut policy, s) = (Bigram::random(5, Storage::Frozen, 3), sequences());
        let entropy = policy
            .forward(&s, OutputSpec::SCORE.with_entropy())
            .unwrap()
            .entropy;
        let kl = exact_kl(&mut policy, &mut Counting::new(5), &s).unwrap();
        let pairs = kl.kl.to_vec().unwrap().into_iter();
        for (kl, entropy) in pairs.zip(entropy.unwrap().to_vec().unwrap()) {
            assert!((kl + entropy).abs() < 1e-6 && kl < 0.0, "{kl} {entropy}");
        }
    }

    #[test]
    fn sampling_and_unknown_tokens_are_errors() {
        let mut prior = Counting::new(5);
        assert_eq!(
            prior.log_probs(&sequences()).unwrap().to_vec().unwrap(),
            [0.0; 8]
        );
        let error = prior.decoder().err().unwrap().to_string();
        assert!(error.contains("not a distribution"), "{error}");
        let error = Counting::new(4).log_probs(&sequences()).unwrap_err();
        assert!(error.to_string().contains("token 4"), "{error}");
        assert!(prior.log_dist(&sequences(), 7..9).is_err());
    }
}
