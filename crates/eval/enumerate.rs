//! Builds the exact problem of a network whose responses can be enumerated.

use crate::Listing;
use rlhf_objective::{
    Network, OutputSpec, Prior, Prompt, Response, Result, Reward, Sequences, finite_scores,
};
use rlhf_oracle::Responses;
use std::sync::Arc;

/// All responses to a prompt.
#[derive(Debug, Clone)]
pub struct Enumeration {
    /// The responses in micro-batches.
    batches: Vec<Sequences>,
}

impl Enumeration {
    /// An enumeration of `responses`, with forward passes of `batch` of them. Their probabilities sum
    /// to 1 only if none is missing.
    ///
    /// # Errors
    /// If a response has no tokens.
    ///
    /// # Panics
    /// If `batch` is 0.
    pub fn new(prompt: &Arc<Prompt>, responses: Vec<Response>, batch: usize) -> Result<Self> {
        let responses: Vec<Arc<Response>> = responses.into_iter().map(Arc::new).collect();
        let batches = responses
            .chunks(batch)
            .map(|part| Sequences::from_shared(vec![prompt.clone()], part.to_vec()));
        Ok(Self {
            batches: batches.collect::<Result<_>>()?,
        })
    }

    /// All responses of `listing`, with forward passes of `batch` of them.
    ///
    /// # Errors
    /// If a response has no tokens.
    ///
    /// # Panics
    /// If `batch` is 0.
    pub fn of_listing(prompt: &Arc<Prompt>, listing: &Listing<'_>, batch: usize) -> Result<Self> {
        Self::new(prompt, listing.responses(), batch)
    }

    /// The exact problem: log p₀(y|x) and r(x, y) of each response. It gives the optimum, the frontier
    /// and the [`evaluation`](Responses::evaluate) of any policy.
    ///
    /// # Errors
    /// If the prior or the reward fails.
    pub fn problem(&self, prior: &mut dyn Prior, reward: &mut dyn Reward) -> Result<Responses> {
        let (mut log_prior, mut rewards) = (Vec::new(), Vec::new());
        for batch in &self.batches {
            log_prior.extend(sums(&prior.log_probs(batch)?.to_vec()?, batch));
            let scores = finite_scores(reward, batch)?.to_vec()?;
            rewards.extend(scores.into_iter().map(f64::from));
        }
        Responses::new(log_prior, rewards).map_err(rlhf_objective::Error::other)
    }

    /// log π(y|x) of each response, nats.
    ///
    /// # Errors
    /// If a forward pass fails.
    pub fn log_probs(&self, policy: &mut dyn Network) -> Result<Vec<f64>> {
        let mut log_probs = Vec::new();
        for batch in &self.batches {
            let token_log_probs = policy.forward(batch, OutputSpec::SCORE)?.log_probs;
            log_probs.extend(sums(&token_log_probs.to_vec()?, batch));
        }
        Ok(log_probs)
    }
}

/// Sums over the tokens of each response, in f64.
fn sums(per_token: &[f32], sequences: &Sequences) -> Vec<f64> {
    let offsets = sequences.offsets();
    let values = |ends: &[usize]| per_token[ends[0]..ends[1]].iter().map(|&x| f64::from(x));
    offsets.windows(2).map(|ends| values(ends).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::PerSeq;
    use rlhf_policy::testing::Bigram;
    use rlhf_prior::Frozen;
    use rlhf_tensor::Storage;

    /// The share of one token in the response.
    struct TokenShare(u32);

    impl Reward for TokenShare {
        fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
            let share = |response: &Arc<Response>| {
                let hits = response.ids.iter().filter(|&&id| id == self.0).count();
                hits as f32 / response.ids.len() as f32
            };
            PerSeq::from_vec(sequences.responses().iter().map(share).collect())
        }
    }

    #[test]
    fn all_responses_of_a_length_are_enumerated_with_total_probability_one() {
        let network = |seed| Bigram::random(3, Storage::Frozen, seed);
        let mut prior = Frozen::new(Box::new(network(1))).unwrap();
        let prompt = Arc::new(Prompt::from_ids(vec![1]));
        let text = |ids: &[u32]| format!("{ids:?}");
        let listing = Listing {
            tokens: &[0, 1, 2],
            stop: &[],
            length: 4,
            decode: &text,
        };
        let all = Enumeration::of_listing(&prompt, &listing, 10).unwrap();
        let problem = all.problem(&mut prior, &mut TokenShare(2)).unwrap();
        assert_eq!(problem.rewards().len(), 81);
        let total: f64 = problem.log_prior().iter().map(|x| x.exp()).sum();
        assert!((total - 1.0).abs() < 1e-6);
        assert_eq!(all.batches[0].responses()[5].text, "[0, 0, 1, 2]");
        assert_eq!(problem.rewards()[5], 0.25);
        // The gap of another network is β times its KL to the optimum; the KL of the prior is 0.
        let optimum = problem.optimum(0.3);
        let other = all.log_probs(&mut network(2)).unwrap();
        let gap = 0.3 * optimum.log_z - problem.evaluate(&other).elbo(0.3);
        let kl: f64 = other
            .iter()
            .zip(&optimum.log_policy)
            .map(|(a, b)| a.exp() * (a - b))
            .sum();
        assert!(kl > 0.01 && (gap - 0.3 * kl).abs() < 1e-6);
        let own = all.log_probs(&mut network(1)).unwrap();
        assert_eq!(problem.evaluate(&own).kl, 0.0);
    }
}
