//! Gradients against exact solutions of a problem small enough to enumerate.

use crate::testing::{penalty, rng, scored_rollouts};
use crate::{
    Baseline, KlPlacement, MovingMean, PolicyGradient, VarGrad, VarGradBatch, VarGradConfig,
};
use rlhf_objective::{LocalKl, Outputs, Scored};
use rlhf_oracle::{LocalPenalty, Policy, Problem, reference_demonstrations, reference_tree};
use rlhf_train::{Learner, Method};

const BETA: f64 = 0.5;
/// The gradient of the objective with respect to the logits at the root and after token 0
/// (scripts/constants/tree.py).
const OBJECTIVE_GRADIENT: [(&[u32], [f64; 3]); 2] = [
    (&[], [0.178_158_00, -0.115_804_30, -0.062_353_70]),
    (&[0], [0.100_084_70, -0.144_471_44, 0.044_386_74]),
];

/// A policy that is neither the prior nor the optimum.
fn mixed_policy(problem: &Problem) -> Policy {
    problem.prior().mix(&reference_demonstrations(), 0.5)
}

/// Groups of responses of the tree, sampled from `policy`.
struct ResponseGroups<'a> {
    problem: &'a Problem,
    policy: &'a Policy,
    groups: Vec<Vec<usize>>,
}

impl<'a> ResponseGroups<'a> {
    /// Every ordered pair of responses.
    fn pairs(problem: &'a Problem, policy: &'a Policy) -> Self {
        let n = problem.tree().responses().len();
        Self {
            problem,
            policy,
            groups: (0..n * n).map(|code| vec![code / n, code % n]).collect(),
        }
    }

    /// Every response in a group of its own.
    fn singles(problem: &'a Problem, policy: &'a Policy) -> Self {
        let n = problem.tree().responses().len();
        Self {
            problem,
            policy,
            groups: (0..n).map(|y| vec![y]).collect(),
        }
    }

    fn responses(&self) -> impl Iterator<Item = (usize, &Vec<u32>)> {
        let groups = self.groups.iter().enumerate();
        let all = groups.flat_map(|(g, group)| group.iter().map(move |&y| (g, y)));
        all.map(|(g, y)| (g, &self.problem.tree().responses()[y]))
    }

    /// The log-probs of all tokens under a policy.
    fn log_probs(&self, policy: &Policy) -> Vec<f32> {
        let tree = self.problem.tree();
        let tokens = |(_, y): (usize, &Vec<u32>)| -> Vec<f32> {
            let at = |t: usize| policy.row(tree.prefix(&y[..t]).unwrap())[y[t] as usize] as f32;
            (0..y.len()).map(at).collect()
        };
        self.responses().flat_map(tokens).collect()
    }

    fn scored(&self) -> Scored {
        let responses: Vec<_> = self.responses().map(|(g, y)| (g, y.clone())).collect();
        let rewards = self.problem.rewards();
        let scores = self
            .groups
            .iter()
            .flatten()
            .map(|&y| rewards[y] as f32)
            .collect();
        let per_token = [
            self.log_probs(self.policy),
            self.log_probs(self.problem.prior()),
        ];
        scored_rollouts(&responses, scores, per_token, BETA)
    }

    /// The probability of each group under the policy.
    fn weights(&self) -> Vec<f64> {
        let log_probs = self.policy.log_probs(self.problem.tree()).1;
        let probability = |group: &Vec<usize>| group.iter().map(|&y| log_probs[y].exp()).product();
        self.groups.iter().map(probability).collect()
    }

    /// The gradient of the expected loss with respect to the logits at a prefix, given the gradients
    /// of the mean loss over all groups with respect to the log-probs.
    fn gradient(&self, token_gradients: &[f32], prefix: &[u32]) -> [f64; 3] {
        let row = self.policy.row(self.problem.tree().prefix(prefix).unwrap());
        let (weights, groups) = (self.weights(), self.groups.len() as f64);
        let (mut gradient, mut start) = ([0.0; 3], 0);
        for (g, y) in self.responses() {
            if y.len() > prefix.len() && y[..prefix.len()] == *prefix {
                let slope = f64::from(token_gradients[start + prefix.len()]) * groups * weights[g];
                for (k, log_prob) in row.iter().enumerate() {
                    let taken = f64::from(u8::from(y[prefix.len()] == k as u32));
                    gradient[k] += slope * (taken - log_prob.exp());
                }
            }
            start += y.len();
        }
        gradient
    }
}

/// The gradient of a method's loss with respect to each log-prob.
fn token_gradients<M: Method>(mut method: M, scored: Scored) -> Vec<f32> {
    let log_probs = scored.rollouts.log_probs.to_vec().unwrap();
    let batch = method
        .batches(scored, &mut penalty(), rng())
        .unwrap()
        .remove(0);
    let outputs = Outputs::new(method.sequences(&batch), log_probs, None, None).unwrap();
    let loss = method.loss(&outputs, &batch).unwrap();
    outputs.gradients(&loss.value).unwrap().log_probs.unwrap()
}

fn policy_gradient(baseline: Baseline) -> PolicyGradient {
    PolicyGradient::new(baseline, KlPlacement::Reward).unwrap()
}

fn vargrad() -> VarGrad {
    VarGrad::new(VarGradConfig::default()).unwrap()
}

/// Asserts that the gradient at both prefixes is `scale` times that of the objective.
fn assert_gradient(groups: &ResponseGroups<'_>, token_gradients: &[f32], scale: f64) {
    for (prefix, expected) in OBJECTIVE_GRADIENT {
        let gradient = groups.gradient(token_gradients, prefix);
        for (ours, exact) in gradient.into_iter().zip(expected) {
            assert!(
                (ours - scale * exact).abs() < 1e-6,
                "{gradient:?} at {prefix:?}"
            );
        }
    }
}

#[test]
fn expected_gradient_is_minus_that_of_the_objective() {
    let problem = reference_tree(BETA);
    let policy = mixed_policy(&problem);
    let pairs = ResponseGroups::pairs(&problem, &policy);
    let method = policy_gradient(Baseline::LeaveOneOut);
    assert_gradient(&pairs, &token_gradients(method, pairs.scored()), -1.0);
    // A baseline that does not depend on the response does not change the expectation.
    let singles = ResponseGroups::singles(&problem, &policy);
    for mean in [None, Some(0.0), Some(7.0)] {
        let mut method = policy_gradient(Baseline::Moving { decay: 0.9 });
        method.load_state(MovingMean(mean));
        assert_gradient(&singles, &token_gradients(method, singles.scored()), -1.0);
    }
}

#[test]
fn expected_gradient_of_vargrad_is_minus_beta_times_that_of_the_objective() {
    let problem = reference_tree(BETA);
    let policy = mixed_policy(&problem);
    let pairs = ResponseGroups::pairs(&problem, &policy);
    assert_gradient(&pairs, &token_gradients(vargrad(), pairs.scored()), -BETA);
    let (method, batch) = (vargrad(), VarGradBatch::new(pairs.scored()).unwrap());
    let log_probs = pairs.log_probs(&policy);
    let mut expected = 0.0;
    for (g, weight) in pairs.weights().into_iter().enumerate() {
        let part = method.select(&batch, &[2 * g, 2 * g + 1]).unwrap();
        let offsets = batch.sequences.offsets();
        let numbers = log_probs[offsets[2 * g]..offsets[2 * g + 2]].to_vec();
        let outputs = Outputs::new(&part.sequences, numbers, None, None).unwrap();
        expected += weight
            * method
                .loss(&outputs, &part)
                .unwrap()
                .stats
                .get("loss")
                .unwrap();
    }
    assert!((expected - 0.304_164_22).abs() < 1e-6, "{expected}");
}

#[test]
fn gradients_are_zero_at_the_optimum() {
    let problem = reference_tree(BETA);
    let policy = problem.solve().policy;
    let pairs = ResponseGroups::pairs(&problem, &policy);
    let method = policy_gradient(Baseline::LeaveOneOut);
    for slope in token_gradients(method, pairs.scored()) {
        // For every sample, not only on average.
        assert!((slope * 450.0).abs() < 2e-6, "{slope}");
    }
    for slope in token_gradients(vargrad(), pairs.scored()) {
        assert!((slope * 225.0).abs() < 2e-6, "{slope}");
    }
    // The metric `vargrad/value` is f = β·log Z.
    let batch = VarGradBatch::new(pairs.scored()).unwrap();
    let numbers = pairs.log_probs(&policy);
    let outputs = Outputs::new(&batch.sequences, numbers, None, None).unwrap();
    let loss = vargrad().loss(&outputs, &batch).unwrap();
    assert!((loss.stats.get("vargrad/value").unwrap() - 1.658_349_53).abs() < 1e-6);
}

/// With a group of all responses, the optimum is that of β times the standard deviation of the
/// scores.
#[test]
fn the_group_baseline_scales_beta_by_the_standard_deviation() {
    let problem = reference_tree(BETA);
    let rewards = problem.rewards();
    let n = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / n;
    let squares: f64 = rewards.iter().map(|r| (r - mean).powi(2)).sum();
    let std = (squares / (n - 1.0)).sqrt() + 1e-4;
    let max_gradient = |policy: &Policy| {
        let all = ResponseGroups {
            problem: &problem,
            policy,
            groups: vec![(0..rewards.len()).collect()],
        };
        let method = policy_gradient(Baseline::Group);
        token_gradients(method, all.scored())
            .into_iter()
            .fold(0.0, |most, slope| f32::max(most, slope.abs()))
    };
    let optimum = reference_tree(BETA * std).solve().policy;
    assert!(max_gradient(&optimum) < 1e-6);
    assert!(max_gradient(&problem.solve().policy) > 1e-3);
}

/// With a per-token penalty in the loss, the expected gradient is 0 at the optimum that the oracle
/// computes, and not at π*.
#[test]
fn local_penalties_have_the_optimum_of_the_oracle() {
    let problem = reference_tree(BETA);
    let optimum = problem.solve().policy;
    for (kl, penalty) in [
        (LocalKl::LocalK2, LocalPenalty::Reverse),
        (LocalKl::LocalK3, LocalPenalty::Forward),
    ] {
        let max_gradient = |policy: &Policy| {
            let pairs = ResponseGroups::pairs(&problem, policy);
            let method = PolicyGradient::new(Baseline::LeaveOneOut, KlPlacement::Loss(kl));
            let gradients = token_gradients(method.unwrap(), pairs.scored());
            let prefixes = problem.tree().prefixes().iter();
            let rows = prefixes.flat_map(|prefix| pairs.gradient(&gradients, prefix));
            rows.fold(0.0, |most, slope: f64| f64::max(most, slope.abs()))
        };
        let residual = max_gradient(&problem.local_optimum(penalty));
        assert!(residual < 1e-6, "{kl:?}: {residual}");
        assert!(max_gradient(&optimum) > 1e-2, "{kl:?}");
    }
}

/// k1 = log π − log p₀ in the loss has expected gradient 0, so it does not penalize the KL.
#[test]
fn k1_in_the_loss_has_no_expected_gradient() {
    let problem = reference_tree(BETA);
    let policy = mixed_policy(&problem);
    let pairs = ResponseGroups::pairs(&problem, &policy);
    let in_loss = KlPlacement::Loss(LocalKl::LocalK2);
    let without_penalty = || {
        let mut scored = pairs.scored();
        scored.beta = 0.0;
        token_gradients(
            PolicyGradient::new(Baseline::LeaveOneOut, in_loss).unwrap(),
            scored,
        )
    };
    let responses = pairs.scored().rollouts.sequences.len() as f32;
    let with_k1: Vec<f32> = without_penalty()
        .iter()
        .map(|slope| slope + BETA as f32 / responses)
        .collect();
    for (prefix, _) in OBJECTIVE_GRADIENT {
        let (without, with) = (
            pairs.gradient(&without_penalty(), prefix),
            pairs.gradient(&with_k1, prefix),
        );
        for (a, b) in without.into_iter().zip(with) {
            assert!((a - b).abs() < 1e-6, "{without:?} {with:?}");
        }
    }
}
