//! Measures the expected reward and KL of a policy on held-out prompts.

use crate::{Bootstrap, DistinctPrompts, PriorRewards, intervals};
use rlhf_journal::{Estimate, FrontierPoint, Intervals, Point};
use rlhf_objective::{
    Error, Network, Prior, Prompt, Result, Reward, Sequences, finite_optional_scores,
};
use rlhf_policy::{Sampled, Sampling, sample, score};
use std::sync::Arc;

/// The prompts and the sampling of an evaluation. Use the same for all checkpoints: with equal prompts
/// and random numbers their differences have less variance than the values themselves.
#[derive(Clone, Copy)]
pub struct EvalSetup<'a> {
    /// Held-out prompts.
    pub prompts: &'a [Arc<Prompt>],
    /// How responses are sampled. The KL estimate requires sampling from the full distribution,
    /// without top-k or greedy decoding.
    pub sampling: &'a Sampling,
    /// Decodes the tokens of a response.
    pub decode: &'a dyn Fn(&[u32]) -> String,
    /// The maximum number of tokens of a forward pass.
    pub tokens: usize,
}

/// The reward and KL of one response, or their means over responses or prompts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardAndKl {
    /// The score, in units of the reward; `None` where the reward scores none of the responses.
    pub reward: Option<f64>,
    /// The sum over tokens of the exact KL(π ‖ p₀), nats per sequence (Rao–Blackwellized; Amini et al.
    /// 2025).
    pub kl: f64,
    /// log π(y|x) − log p₀(y|x), nats per sequence: also unbiased, but with a larger variance.
    pub kl_k1: f64,
}

/// The measurement of a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The means of each distinct prompt.
    pub prompts: Vec<RewardAndKl>,
    /// The number of rows of each distinct prompt, its weight in means.
    pub rows: Vec<usize>,
    /// The values of each response.
    pub responses: Vec<RewardAndKl>,
    /// The standard error of the mean of kl − kl_k1, nats. Conditional on its prefix, each token's
    /// difference has mean 0, so responses are uncorrelated here even if they share a prompt.
    pub kl_k1_error: f64,
    /// Whether the prior is normalized: the KL is then never negative. Under the counting prior it is
    /// minus the entropy.
    pub prior_is_normalized: bool,
}

/// Samples responses from the policy, scores them, and computes their log-probs and KL under policy and
/// prior. Prompts with equal tokens are one prompt.
///
/// # Errors
/// If there are no prompts, the reward scores none of the responses, or sampling, a forward pass or
/// the reward fails.
pub fn measure(
    policy: &mut dyn Network,
    prior: &mut dyn Prior,
    reward: &mut dyn Reward,
    setup: &EvalSetup<'_>,
) -> Result<Measurement> {
    let sampled = sample_setup(&mut *policy.decoder()?, setup)?;
    let rollouts = score(policy, prior, sampled, setup.tokens, 1)?;
    let sequences = &rollouts.sequences;
    let scores = scores(reward, sequences)?;
    let (kl, log_probs) = (rollouts.kl.to_vec()?, rollouts.log_probs.to_vec()?);
    let prior_log_probs = rollouts.prior_log_probs.to_vec()?;
    let response = |index: usize| -> RewardAndKl {
        let range = rollouts.kl.range(index);
        let ratio = |t: usize| f64::from(log_probs[t]) - f64::from(prior_log_probs[t]);
        RewardAndKl {
            reward: scores[index],
            kl: kl[range.clone()].iter().map(|&kl| f64::from(kl)).sum(),
            kl_k1: range.map(ratio).sum(),
        }
    };
    let responses: Vec<RewardAndKl> = (0..sequences.len()).map(response).collect();
    let squares: f64 = responses.iter().map(|r| (r.kl - r.kl_k1).powi(2)).sum();
    let distinct = DistinctPrompts::new(sequences.prompts());
    let groups = group_by(
        sequences,
        &responses,
        distinct.prompt_of_row(),
        distinct.count(),
    );
    Ok(Measurement {
        prompts: groups.iter().map(|group| mean(group, &[])).collect(),
        rows: distinct.rows().to_vec(),
        kl_k1_error: squares.sqrt() / responses.len() as f64,
        prior_is_normalized: prior.is_normalized(),
        responses,
    })
}

/// Samples responses from the prior and scores them, to estimate the optimal frontier and best-of-n.
///
/// # Errors
/// As [`measure`].
pub fn prior_rewards(
    prior: &mut dyn Prior,
    reward: &mut dyn Reward,
    setup: &EvalSetup<'_>,
) -> Result<PriorRewards> {
    let sequences = sample_setup(&mut *prior.decoder()?, setup)?.sequences;
    let scores = scores(reward, &sequences)?;
    let rows: Vec<usize> = (0..sequences.prompts().len()).collect();
    let by_row = group_by(&sequences, &scores, &rows, rows.len());
    Ok(PriorRewards::of_rows(sequences.prompts(), &by_row))
}

fn sample_setup(
    decoder: &mut dyn rlhf_objective::Decoder,
    setup: &EvalSetup<'_>,
) -> Result<Sampled> {
    if setup.prompts.is_empty() {
        let what = "there are no prompts to evaluate on";
        return Err(Error::Empty(what.into()));
    }
    sample(decoder, setup.prompts, setup.sampling, setup.decode)
}

/// The score of each response; `None` where the reward gives none.
fn scores(reward: &mut dyn Reward, sequences: &Sequences) -> Result<Vec<Option<f64>>> {
    let scores = finite_optional_scores(reward, sequences)?;
    if scores.iter().all(Option::is_none) {
        return Err(Error::Empty(format!(
            "the reward gives no score to any of {} responses: there is nothing to measure",
            scores.len()
        )));
    }
    let scores = scores.into_iter().map(|score| score.map(f64::from));
    Ok(scores.collect())
}

/// Groups values of responses into `count` groups; `group_of_prompt` has the group of each prompt.
fn group_by<T: Copy>(
    sequences: &Sequences,
    values: &[T],
    group_of_prompt: &[usize],
    count: usize,
) -> Vec<Vec<T>> {
    let mut groups = vec![Vec::new(); count];
    for (response, &item) in sequences.responses().iter().zip(values) {
        groups[group_of_prompt[response.prompt]].push(item);
    }
    groups
}

/// The weighted mean; the weights are 1 where `weights` is empty.
fn mean(values: &[RewardAndKl], weights: &[usize]) -> RewardAndKl {
    let mean = |component: fn(&RewardAndKl) -> Option<f64>| -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0.0);
        for (index, value) in values.iter().enumerate() {
            let weight = weights.get(index).map_or(1.0, |&weight| weight as f64);
            if let Some(number) = component(value) {
                sum += weight * number;
                count += weight;
            }
        }
        (count > 0.0).then(|| sum / count)
    };
    RewardAndKl {
        reward: mean(|r| r.reward),
        kl: mean(|r| Some(r.kl)).unwrap_or(0.0),
        kl_k1: mean(|r| Some(r.kl_k1)).unwrap_or(0.0),
    }
}

impl Measurement {
    /// The means over rows.
    #[must_use]
    pub fn mean(&self) -> RewardAndKl {
        mean(&self.prompts, &self.rows)
    }

    /// J = E\[r\] − β·KL, in units of the reward.
    ///
    /// # Panics
    /// If no response has a score, which [`measure`] rules out.
    #[must_use]
    pub fn elbo(&self, beta: f64) -> f64 {
        let mean = self.mean();
        mean.reward.expect("a response has a score") - beta * mean.kl
    }

    /// Whether the two estimates of the KL agree within four standard errors. If not, the scored
    /// policy differs from the sampled one.
    #[must_use]
    pub fn kl_agrees(&self) -> bool {
        let mean = self.mean();
        // 1e-4 allows for f32 rounding where the standard error is 0.
        (mean.kl - mean.kl_k1).abs() <= 4.0 * self.kl_k1_error + 1e-4
    }

    /// The measurement as a point of the reward–KL plane.
    ///
    /// # Panics
    /// As [`elbo`](Self::elbo).
    #[must_use]
    pub fn point(&self, label: &str, step: usize, bootstrap: &Bootstrap) -> FrontierPoint {
        let scored = |r: &&RewardAndKl| r.reward.is_some();
        let kl = self.estimate(|p| Some(p.kl), bootstrap);
        let with_reward = self.prompts.iter().filter(scored).count();
        FrontierPoint {
            label: label.into(),
            point: Point::Checkpoint { step },
            kl: if self.prior_is_normalized {
                kl.not_below_zero()
            } else {
                kl
            },
            reward: self.estimate(|p| p.reward, bootstrap),
            kl_k1: Some(self.mean().kl_k1),
            kl_k1_error: Some(self.kl_k1_error),
            intervals: intervals(self.prompts.len()),
            prompts: self.prompts.len(),
            reward_prompts: (with_reward < self.prompts.len()).then_some(with_reward),
            rows: Some(self.rows.iter().sum()),
            samples: self.responses.len(),
            no_opinion: self.responses.len() - self.responses.iter().filter(scored).count(),
        }
    }

    /// The mean of a component over the prompts that have it, with its interval.
    fn estimate(
        &self,
        component: fn(&RewardAndKl) -> Option<f64>,
        bootstrap: &Bootstrap,
    ) -> Estimate {
        if intervals(self.prompts.len()) == Intervals::ThisPromptOnly {
            let values: Vec<f64> = self.responses.iter().filter_map(component).collect();
            return bootstrap.over_responses(&values);
        }
        let prompts = self.prompts.iter().zip(&self.rows);
        let scored = prompts.filter_map(|(prompt, rows)| Some((component(prompt)?, *rows)));
        let (values, rows): (Vec<f64>, Vec<usize>) = scored.unzip();
        bootstrap.over_prompts(&values, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{best_of_n_points, optimal_frontier};
    use rlhf_objective::PerSeq;
    use rlhf_oracle::{Outcome, Policy, Problem, Tree};
    use rlhf_policy::{Draw, testing::Bigram};
    use rlhf_prior::Frozen;
    use rlhf_tensor::Storage;

    const VOCAB: usize = 4;
    const STEPS: usize = 3;
    const BOOTSTRAP: Bootstrap = Bootstrap {
        resamples: 1000,
        seed: 1,
    };

    /// The sum over tokens of a fixed reward per token.
    struct TokenRewards;

    fn total_reward(ids: &[u32]) -> f64 {
        ids.iter()
            .map(|&id| [0.25, 1.0, -0.5, 0.5][id as usize])
            .sum()
    }

    impl Reward for TokenRewards {
        fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
            let scores = sequences
                .responses()
                .iter()
                .map(|r| total_reward(&r.ids) as f32);
            PerSeq::from_vec(scores.collect())
        }
    }

    fn network(seed: u64) -> Bigram {
        Bigram::random(VOCAB, Storage::Frozen, seed)
    }

    fn prior() -> Frozen {
        Frozen::new(Box::new(network(1))).unwrap()
    }

    fn prompts() -> Vec<Arc<Prompt>> {
        [1, 2, 3]
            .map(|id| Arc::new(Prompt::from_ids(vec![id])))
            .into()
    }

    fn sampling(samples: usize) -> Sampling {
        Sampling {
            samples,
            max_new_tokens: STEPS,
            rows: 64,
            stop: vec![0],
            context: 64,
            draw: Draw::Sample,
            seed: 7,
            step: 0,
        }
    }

    fn setup<'a>(prompts: &'a [Arc<Prompt>], sampling: &'a Sampling) -> EvalSetup<'a> {
        EvalSetup {
            prompts,
            sampling,
            decode: &|_| String::new(),
            tokens: 4096,
        }
    }

    /// The network's distribution on every prefix after a prompt of one token.
    fn enumerated(network: &mut Bigram, tree: &Tree, prompt: u32) -> Policy {
        let row = |prefix: &Vec<u32>| -> Vec<f64> {
            let last = prefix.last().copied().unwrap_or(prompt);
            let response = rlhf_objective::Response::new(0, vec![0], rlhf_objective::Finish::Eos);
            let sequences =
                Sequences::new(vec![Prompt::from_ids(vec![last])], vec![response]).unwrap();
            network
                .forward(&sequences, rlhf_objective::OutputSpec::SCORE)
                .unwrap();
            let log_dist = network.log_dist(0..1).unwrap().to_rows();
            log_dist[0].iter().map(|&x| f64::from(x).exp()).collect()
        };
        let rows: Vec<Vec<f64>> = tree.prefixes().iter().map(row).collect();
        Policy::from_weights(tree, &rows).unwrap()
    }

    fn problem(prompt: u32) -> Problem {
        let tree = Tree::new(VOCAB, Some(0), STEPS);
        let prior = enumerated(&mut network(1), &tree, prompt);
        let rewards = tree.responses().iter().map(|y| total_reward(y)).collect();
        Problem::new(tree, prior, rewards, 0.5).unwrap()
    }

    /// Four standard errors of the mean of `value` over `samples` responses of the policy.
    fn tolerance(log_probs: &[f64], value: &dyn Fn(usize) -> f64, samples: usize) -> f64 {
        let mean = |f: &dyn Fn(f64) -> f64| -> f64 {
            let all = log_probs.iter().enumerate();
            all.map(|(y, log_prob)| log_prob.exp() * f(value(y))).sum()
        };
        let variance = mean(&|x| x * x) - mean(&|x| x).powi(2);
        4.0 * (variance / samples as f64).sqrt()
    }

    #[test]
    fn measurements_match_exact_values() {
        let (prompts, sampling) = (prompts(), sampling(4000));
        let found = measure(
            &mut network(2),
            &mut prior(),
            &mut TokenRewards,
            &setup(&prompts, &sampling),
        )
        .unwrap();
        assert_eq!((found.prompts.len(), found.responses.len()), (3, 12_000));
        for (means, prompt) in found.prompts.iter().zip([1, 2, 3]) {
            let problem = problem(prompt);
            let policy = enumerated(&mut network(2), problem.tree(), prompt);
            let exact = problem.evaluate(&policy);
            let (_, log_probs) = policy.log_probs(problem.tree());
            let (_, log_prior) = problem.prior().log_probs(problem.tree());
            let reward_tolerance = tolerance(&log_probs, &|y| problem.rewards()[y], 4000);
            // The tolerance is that of k1; the exact KL has a smaller variance.
            let kl_tolerance = tolerance(&log_probs, &|y| log_probs[y] - log_prior[y], 4000);
            let reward = means.reward.unwrap();
            assert!((reward - exact.expected_reward).abs() < reward_tolerance);
            assert!((means.kl - exact.kl).abs() < kl_tolerance);
            assert!((means.kl_k1 - exact.kl).abs() < kl_tolerance);
        }
        assert!(found.kl_agrees());
        assert!(found.kl_k1_error > 0.0 && found.kl_k1_error < 0.05);
        let point = found.point("run", 5, &BOOTSTRAP);
        assert_eq!(
            (point.intervals, point.kl.interval),
            (Intervals::TooFewPrompts, None)
        );
        assert_eq!(
            (point.prompts, point.rows, point.samples),
            (3, Some(3), 12_000)
        );
        assert!((found.elbo(0.5) - (point.reward.value - 0.5 * point.kl.value)).abs() < 1e-12);
    }

    #[test]
    fn the_kl_of_the_prior_is_exactly_zero() {
        let (prompts, sampling) = (prompts(), sampling(20));
        let setup = setup(&prompts, &sampling);
        let found = measure(&mut network(1), &mut prior(), &mut TokenRewards, &setup).unwrap();
        let point = found.point("run", 0, &BOOTSTRAP);
        assert_eq!((point.kl.value, point.kl.interval), (0.0, None));
        assert_eq!(point.kl_k1, Some(0.0));
        assert!(found.kl_agrees());
        // With the same seed the prior samples the same responses.
        let rewards = prior_rewards(&mut prior(), &mut TokenRewards, &setup).unwrap();
        let means: Vec<f64> = rewards
            .rewards
            .iter()
            .map(|r| r.iter().sum::<f64>() / 20.0)
            .collect();
        let measured: Vec<f64> = found.prompts.iter().filter_map(|p| p.reward).collect();
        assert_eq!(means, measured);
    }

    /// A measurement of one response per prompt with these KLs; only the first `scored` have a reward.
    fn measured(kl: &[f64], scored: usize, prior_is_normalized: bool) -> Measurement {
        let response = |(index, kl): (usize, &f64)| RewardAndKl {
            reward: (index < scored).then_some(index as f64),
            kl: *kl,
            kl_k1: *kl,
        };
        let prompts: Vec<RewardAndKl> = kl.iter().enumerate().map(response).collect();
        Measurement {
            rows: vec![1; prompts.len()],
            responses: prompts.clone(),
            prompts,
            kl_k1_error: 0.0,
            prior_is_normalized,
        }
    }

    #[test]
    fn kl_intervals_are_not_negative_under_a_normalized_prior() {
        let kl = [0.01, 0.02, 0.01, 0.02, 7.0];
        let interval = |normalized: bool| {
            let found = measured(&kl, 5, normalized);
            found.point("run", 1, &BOOTSTRAP).kl.interval.unwrap()
        };
        assert!(interval(false).low < 0.0);
        assert_eq!(interval(true).low, 0.0);
        assert_eq!(interval(true).high, interval(false).high);
        // Under the counting prior the KL may be negative.
        let entropy = measured(&kl.map(|kl| kl / 10.0 - 9.0), 5, false);
        let point = entropy.point("run", 1, &BOOTSTRAP);
        assert!(point.kl.interval.unwrap().high < 0.0);
    }

    #[test]
    fn prompts_with_a_reward_are_counted() {
        let kl = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
        for (scored, reward_prompts) in [(6, None), (5, Some(5)), (3, Some(3))] {
            let point = measured(&kl, scored, true).point("run", 1, &BOOTSTRAP);
            assert_eq!((point.prompts, point.reward_prompts), (6, reward_prompts));
            assert_eq!(point.reward.interval.is_some(), scored >= 5);
            assert!(point.kl.interval.is_some());
        }
    }

    #[test]
    fn a_mismatch_of_sampled_and_scored_policy_is_detected() {
        let (prompts, sampling) = (prompts(), sampling(500));
        let setup = setup(&prompts, &sampling);
        let mut found = measure(&mut network(2), &mut prior(), &mut TokenRewards, &setup).unwrap();
        assert!(found.kl_agrees());
        for prompt in &mut found.prompts {
            prompt.kl_k1 += 0.5;
        }
        assert!(!found.kl_agrees());
    }

    #[test]
    fn the_estimated_frontier_matches_the_exact_one() {
        let (prompts, sampling) = (prompts(), sampling(4000));
        let setup = setup(&prompts, &sampling);
        let rewards = prior_rewards(&mut prior(), &mut TokenRewards, &setup).unwrap();
        let found = &optimal_frontier(&rewards.rewards, &[2.0])[0];
        assert_eq!(found.beta, 0.5);
        // Four standard errors, at effective sample sizes near 2000.
        let optimal = |prompt| problem(prompt).responses().optimum(0.5).outcome;
        for (outcome, prompt) in found.outcomes.iter().zip([1, 2, 3]) {
            let exact = optimal(prompt);
            assert!(
                (outcome.reward - exact.reward).abs() < 0.06,
                "{outcome:?} {exact:?}"
            );
            assert!(
                (outcome.kl - exact.kl).abs() < 0.08,
                "{outcome:?} {exact:?}"
            );
        }
        let points = best_of_n_points("reference", &rewards, &BOOTSTRAP);
        let four = points
            .iter()
            .find(|p| p.point == Point::BestOfN { n: 4 })
            .unwrap();
        let exact: Vec<Outcome> = [1, 2, 3]
            .map(|prompt| problem(prompt).responses().best_of_n(4))
            .into();
        let exact = Outcome::mean(&exact).unwrap();
        assert!((four.reward.value - exact.reward).abs() < 0.03);
        assert!((four.kl.value - exact.kl).abs() < 0.01);
    }

    #[test]
    fn no_prompts_is_an_error() {
        let sampling = sampling(1);
        let result = measure(
            &mut network(2),
            &mut prior(),
            &mut TokenRewards,
            &setup(&[], &sampling),
        );
        assert!(result.unwrap_err().to_string().contains("no prompts"));
    }
}
