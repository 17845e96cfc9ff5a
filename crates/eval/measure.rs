//! The meter: expected reward and KL of a policy on held-out prompts.

use crate::{Bootstrap, Distinct, Draws, intervals};
use rlhf_journal::{Estimate, FrontierPoint, Intervals, Point};
use rlhf_objective::{
    Error, Network, Prior, Prompt, Result, Reward, Sequences, finite_optional_scores,
};
use rlhf_policy::{Sampled, Sampling, sample, score};
use std::sync::Arc;

/// What is sampled. Use one for all checkpoints: with equal prompts and random numbers their
/// differences are less noisy than themselves.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    /// Held-out prompts.
    pub prompts: &'a [Arc<Prompt>],
    /// How responses are drawn. They must be drawn whole and at random for KL to mean anything.
    pub sampling: &'a Sampling,
    /// Tokens of a response to its text.
    pub decode: &'a dyn Fn(&[u32]) -> String,
    /// The most tokens the networks read at once.
    pub tokens: usize,
}

/// What was measured on the responses to one prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OfPrompt {
    /// Their mean score, in units of the reward; `None` where the reward had no opinion of any.
    pub reward: Option<f64>,
    /// The mean over responses of the sum over tokens of the exact KL(π ‖ p₀), nats per sequence
    /// (Rao–Blackwell; Amini et al. 2025).
    pub kl: f64,
    /// The mean of log π(y|x) − log p₀(y|x), nats per sequence: unbiased too, but noisier.
    pub kl_k1: f64,
}

/// A policy, measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Prompt by prompt, each distinct one once.
    pub prompts: Vec<OfPrompt>,
    /// How many rows give each of them: it counts as often.
    pub rows: Vec<usize>,
    /// Response by response.
    pub responses: Vec<OfPrompt>,
    /// The standard error of the mean of kl − kl_k1, nats. Given what came before it, each token's
    /// difference has mean 0, so responses count as independent here even when they share a prompt.
    pub kl_k1_error: f64,
    /// Whether the prior is a distribution: to one, a KL is never negative. To the counting prior it is
    /// minus the entropy.
    pub prior_is_normalized: bool,
}

/// Draws responses from the policy, scores them and reads them with both networks. Prompts of the same
/// tokens are one prompt.
///
/// # Errors
/// If there is no prompt, the reward has no opinion of any response, or drawing, reading or scoring
/// fails.
pub fn measure(
    policy: &mut dyn Network,
    prior: &mut dyn Prior,
    reward: &mut dyn Reward,
    trial: &Trial<'_>,
) -> Result<Measurement> {
    let sampled = draw(&mut *policy.decoder()?, trial)?;
    let rollouts = score(policy, prior, sampled, trial.tokens, 1)?;
    let sequences = &rollouts.sequences;
    let scores = scores(reward, sequences)?;
    let (kl, log_probs) = (rollouts.kl.to_vec()?, rollouts.log_probs.to_vec()?);
    let prior_log_probs = rollouts.prior_log_probs.to_vec()?;
    let of_response = |index: usize| -> OfPrompt {
        let range = rollouts.kl.range(index);
        let ratio = |t: usize| f64::from(log_probs[t]) - f64::from(prior_log_probs[t]);
        OfPrompt {
            reward: scores[index],
            kl: kl[range.clone()].iter().map(|&kl| f64::from(kl)).sum(),
            kl_k1: range.map(ratio).sum(),
        }
    };
    let responses: Vec<OfPrompt> = (0..sequences.len()).map(of_response).collect();
    let squares: f64 = responses.iter().map(|r| (r.kl - r.kl_k1).powi(2)).sum();
    let distinct = Distinct::of(sequences.prompts());
    let groups = gathered(sequences, &responses, distinct.of_row(), distinct.count());
    Ok(Measurement {
        prompts: groups.iter().map(|group| mean(group, &[])).collect(),
        rows: distinct.rows().to_vec(),
        kl_k1_error: squares.sqrt() / responses.len() as f64,
        prior_is_normalized: prior.is_normalized(),
        responses,
    })
}

/// The rewards of responses drawn from the prior: what the optimal frontier and best-of-n are estimated
/// from.
///
/// # Errors
/// As [`measure`].
pub fn prior_rewards(
    prior: &mut dyn Prior,
    reward: &mut dyn Reward,
    trial: &Trial<'_>,
) -> Result<Draws> {
    let sequences = draw(&mut *prior.decoder()?, trial)?.sequences;
    let scores = scores(reward, &sequences)?;
    let rows: Vec<usize> = (0..sequences.prompts().len()).collect();
    let of_rows = gathered(&sequences, &scores, &rows, rows.len());
    Ok(Draws::of_rows(sequences.prompts(), &of_rows))
}

fn draw(decoder: &mut dyn rlhf_objective::Decoder, trial: &Trial<'_>) -> Result<Sampled> {
    if trial.prompts.is_empty() {
        let what = "there is no prompt to measure on";
        return Err(Error::Empty(what.into()));
    }
    sample(decoder, trial.prompts, trial.sampling, trial.decode)
}

/// The score of each response that the reward has an opinion of.
fn scores(reward: &mut dyn Reward, sequences: &Sequences) -> Result<Vec<Option<f64>>> {
    let scores = finite_optional_scores(reward, sequences)?;
    if scores.iter().all(Option::is_none) {
        return Err(Error::Empty(format!(
            "the reward has no opinion of any of {} responses: there is nothing to measure",
            scores.len()
        )));
    }
    let wide = scores.into_iter().map(|score| score.map(f64::from));
    Ok(wide.collect())
}

/// What belongs to each response, gathered in `count` groups; `of_row` is the group of each prompt.
fn gathered<T: Copy>(
    sequences: &Sequences,
    of_response: &[T],
    of_row: &[usize],
    count: usize,
) -> Vec<Vec<T>> {
    let mut groups = vec![Vec::new(); count];
    for (response, &item) in sequences.responses().iter().zip(of_response) {
        groups[of_row[response.prompt]].push(item);
    }
    groups
}

/// The mean, each counted so often, or once where nothing is said.
fn mean(all: &[OfPrompt], weights: &[usize]) -> OfPrompt {
    let mean = |of: fn(&OfPrompt) -> Option<f64>| -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0.0);
        for (index, one) in all.iter().enumerate() {
            let weight = weights.get(index).map_or(1.0, |&weight| weight as f64);
            if let Some(number) = of(one) {
                sum += weight * number;
                count += weight;
            }
        }
        (count > 0.0).then(|| sum / count)
    };
    OfPrompt {
        reward: mean(|r| r.reward),
        kl: mean(|r| Some(r.kl)).unwrap_or(0.0),
        kl_k1: mean(|r| Some(r.kl_k1)).unwrap_or(0.0),
    }
}

impl Measurement {
    /// The means over rows.
    #[must_use]
    pub fn mean(&self) -> OfPrompt {
        mean(&self.prompts, &self.rows)
    }

    /// J = E\[r\] − β·KL, in units of the reward.
    ///
    /// # Panics
    /// Not where [`measure`] made it: one response at least has a score.
    #[must_use]
    pub fn elbo(&self, beta: f64) -> f64 {
        let mean = self.mean();
        mean.reward.expect("a response has a score") - beta * mean.kl
    }

    /// Whether the two estimates of the KL agree within four standard errors. If they do not,
    /// what was scored is not what was sampled.
    #[must_use]
    pub fn kl_agrees(&self) -> bool {
        let mean = self.mean();
        // Rounding of f32 sums remains where the error is 0.
        (mean.kl - mean.kl_k1).abs() <= 4.0 * self.kl_k1_error + 1e-4
    }

    /// As a point of the reward–KL plane.
    ///
    /// # Panics
    /// As [`elbo`](Self::elbo).
    #[must_use]
    pub fn point(&self, label: &str, step: usize, bootstrap: &Bootstrap) -> FrontierPoint {
        let scored = |r: &&OfPrompt| r.reward.is_some();
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

    /// The mean of a number over the prompts that have it.
    fn estimate(&self, of: fn(&OfPrompt) -> Option<f64>, bootstrap: &Bootstrap) -> Estimate {
        let of_prompts = self.prompts.iter().zip(&self.rows);
        let have = of_prompts.filter_map(|(prompt, rows)| Some((of(prompt)?, *rows)));
        let (numbers, rows): (Vec<f64>, Vec<usize>) = have.unzip();
        if intervals(self.prompts.len()) == Intervals::ThisPromptOnly {
            let of_responses: Vec<f64> = self.responses.iter().filter_map(of).collect();
            return bootstrap.over_responses(&of_responses);
        }
        bootstrap.over_prompts(&numbers, &rows)
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

    /// A number for each token, summed over a response.
    struct Worth;

    fn worth(ids: &[u32]) -> f64 {
        ids.iter()
            .map(|&id| [0.25, 1.0, -0.5, 0.5][id as usize])
            .sum()
    }

    impl Reward for Worth {
        fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
            let scores = sequences.responses().iter().map(|r| worth(&r.ids) as f32);
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

    fn trial<'a>(prompts: &'a [Arc<Prompt>], sampling: &'a Sampling) -> Trial<'a> {
        Trial {
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
            let one = rlhf_objective::Response::new(0, vec![0], rlhf_objective::Finish::Eos);
            let one = Sequences::new(vec![Prompt::from_ids(vec![last])], vec![one]).unwrap();
            network
                .forward(&one, rlhf_objective::OutputSpec::SCORE)
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
        let rewards = tree.responses().iter().map(|y| worth(y)).collect();
        Problem::new(tree, prior, rewards, 0.5).unwrap()
    }

    /// Four standard errors of the mean over `samples` responses of the policy.
    fn tolerance(log_probs: &[f64], of: &dyn Fn(usize) -> f64, samples: usize) -> f64 {
        let mean = |f: &dyn Fn(f64) -> f64| -> f64 {
            let all = log_probs.iter().enumerate();
            all.map(|(y, log_prob)| log_prob.exp() * f(of(y))).sum()
        };
        let variance = mean(&|x| x * x) - mean(&|x| x).powi(2);
        4.0 * (variance / samples as f64).sqrt()
    }

    #[test]
    fn the_meter_reads_what_enumeration_says() {
        let (prompts, sampling) = (prompts(), sampling(4000));
        let found = measure(
            &mut network(2),
            &mut prior(),
            &mut Worth,
            &trial(&prompts, &sampling),
        )
        .unwrap();
        assert_eq!((found.prompts.len(), found.responses.len()), (3, 12_000));
        for (of_prompt, prompt) in found.prompts.iter().zip([1, 2, 3]) {
            let problem = problem(prompt);
            let policy = enumerated(&mut network(2), problem.tree(), prompt);
            let exact = problem.evaluate(&policy);
            let (_, log_probs) = policy.log_probs(problem.tree());
            let (_, log_prior) = problem.prior().log_probs(problem.tree());
            let of_reward = tolerance(&log_probs, &|y| problem.rewards()[y], 4000);
            // The exact KL varies less than k1.
            let of_kl = tolerance(&log_probs, &|y| log_probs[y] - log_prior[y], 4000);
            let reward = of_prompt.reward.unwrap();
            assert!((reward - exact.expected_reward).abs() < of_reward);
            assert!((of_prompt.kl - exact.kl).abs() < of_kl);
            assert!((of_prompt.kl_k1 - exact.kl).abs() < of_kl);
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
    fn a_policy_at_its_prior_has_a_kl_of_exactly_zero() {
        let (prompts, sampling) = (prompts(), sampling(20));
        let trial = trial(&prompts, &sampling);
        let found = measure(&mut network(1), &mut prior(), &mut Worth, &trial).unwrap();
        let point = found.point("run", 0, &BOOTSTRAP);
        assert_eq!((point.kl.value, point.kl.interval), (0.0, None));
        assert_eq!(point.kl_k1, Some(0.0));
        assert!(found.kl_agrees());
        // The same seed, the same responses: the prior's own rewards have the same means.
        let rewards = prior_rewards(&mut prior(), &mut Worth, &trial).unwrap();
        let means: Vec<f64> = rewards
            .rewards
            .iter()
            .map(|r| r.iter().sum::<f64>() / 20.0)
            .collect();
        let measured: Vec<f64> = found.prompts.iter().filter_map(|p| p.reward).collect();
        assert_eq!(means, measured);
    }

    /// Responses of these KLs to a prompt each, a reward only for the first `scored`.
    fn measured(kl: &[f64], scored: usize, prior_is_normalized: bool) -> Measurement {
        let of_prompt = |(index, kl): (usize, &f64)| OfPrompt {
            reward: (index < scored).then_some(index as f64),
            kl: *kl,
            kl_k1: *kl,
        };
        let prompts: Vec<OfPrompt> = kl.iter().enumerate().map(of_prompt).collect();
        Measurement {
            rows: vec![1; prompts.len()],
            responses: prompts.clone(),
            prompts,
            kl_k1_error: 0.0,
            prior_is_normalized,
        }
    }

    #[test]
    fn a_kl_to_a_distribution_is_not_negative() {
        let kl = [0.01, 0.02, 0.01, 0.02, 7.0];
        let interval = |normalized: bool| {
            let found = measured(&kl, 5, normalized);
            found.point("run", 1, &BOOTSTRAP).kl.interval.unwrap()
        };
        assert!(interval(false).low < 0.0);
        assert_eq!(interval(true).low, 0.0);
        assert_eq!(interval(true).high, interval(false).high);
        // Minus the entropy stays as it is.
        let entropy = measured(&kl.map(|kl| kl / 10.0 - 9.0), 5, false);
        let point = entropy.point("run", 1, &BOOTSTRAP);
        assert!(point.kl.interval.unwrap().high < 0.0);
    }

    #[test]
    fn the_prompts_that_a_reward_rests_on_are_counted() {
        let kl = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
        for (scored, rests_on) in [(6, None), (5, Some(5)), (3, Some(3))] {
            let point = measured(&kl, scored, true).point("run", 1, &BOOTSTRAP);
            assert_eq!((point.prompts, point.reward_prompts), (6, rests_on));
            assert_eq!(point.reward.interval.is_some(), scored >= 5);
            assert!(point.kl.interval.is_some());
        }
    }

    #[test]
    fn scoring_another_policy_than_the_one_sampled_is_noticed() {
        let (prompts, sampling) = (prompts(), sampling(500));
        let trial = trial(&prompts, &sampling);
        let mut found = measure(&mut network(2), &mut prior(), &mut Worth, &trial).unwrap();
        assert!(found.kl_agrees());
        for prompt in &mut found.prompts {
            prompt.kl_k1 += 0.5;
        }
        assert!(!found.kl_agrees());
    }

    #[test]
    fn the_estimated_frontier_is_the_exact_one() {
        let (prompts, sampling) = (prompts(), sampling(4000));
        let trial = trial(&prompts, &sampling);
        let rewards = prior_rewards(&mut prior(), &mut Worth, &trial).unwrap();
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
    fn no_prompts_are_refused() {
        let sampling = sampling(1);
        let result = measure(
            &mut network(2),
            &mut prior(),
            &mut Worth,
            &trial(&[], &sampling),
        );
        assert!(result.unwrap_err().to_string().contains("no prompt"));
    }
}
