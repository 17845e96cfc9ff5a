//! Against exact answers, on a problem small enough to enumerate.

use crate::testing::{made, penalty, rng};
use crate::{
    Baseline, KlPlacement, MovingMean, PolicyGradient, VarGrad, VarGradBatch, VarGradConfig,
};
use rlhf_objective::{LocalKl, Outputs, Scored};
use rlhf_oracle::{LocalPenalty, Policy, Problem, reference_demonstrations, reference_tree};
use rlhf_train::{Learner, Method};

const BETA: f64 = 0.5;
/// The gradient of the objective with respect to the logits at the root and at (0).
const CLIMB: [(&[u32], [f64; 3]); 2] = [
    (&[], [0.178_158_00, -0.115_804_30, -0.062_353_70]),
    (&[0], [0.100_084_70, -0.144_471_44, 0.044_386_74]),
];

/// A policy that is neither the prior nor the optimum.
fn mid(problem: &Problem) -> Policy {
    problem.prior().mix(&reference_demonstrations(), 0.5)
}

/// Groups of responses of the tree, with what `policy` says of them.
struct Enumerated<'a> {
    problem: &'a Problem,
    policy: &'a Policy,
    groups: Vec<Vec<usize>>,
}

impl<'a> Enumerated<'a> {
    /// Every ordered pair.
    fn pairs(problem: &'a Problem, policy: &'a Policy) -> Self {
        let n = problem.tree().responses().len();
        Self {
            problem,
            policy,
            groups: (0..n * n).map(|code| vec![code / n, code % n]).collect(),
        }
    }

    /// Every response, each the only one to its prompt.
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

    /// log-probs of the tokens under a policy or a prior.
    fn log_probs(&self, of: &Policy) -> Vec<f32> {
        let tree = self.problem.tree();
        let tokens = |(_, y): (usize, &Vec<u32>)| -> Vec<f32> {
            let at = |t: usize| of.row(tree.prefix(&y[..t]).unwrap())[y[t] as usize] as f32;
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
        let numbers = [
            self.log_probs(self.policy),
            self.log_probs(self.problem.prior()),
        ];
        made(&responses, scores, numbers, BETA)
    }

    /// How likely the policy is to draw each group.
    fn weights(&self) -> Vec<f64> {
        let log_probs = self.policy.log_probs(self.problem.tree()).1;
        let of_group = |group: &Vec<usize>| group.iter().map(|&y| log_probs[y].exp()).product();
        self.groups.iter().map(of_group).collect()
    }

    /// The gradient of the expected loss with respect to the logits at a prefix, given the slopes of
    /// the loss of all groups together, each weighing one over their number.
    fn gradient(&self, slopes: &[f32], prefix: &[u32]) -> [f64; 3] {
        let row = self.policy.row(self.problem.tree().prefix(prefix).unwrap());
        let (weights, groups) = (self.weights(), self.groups.len() as f64);
        let (mut gradient, mut start) = ([0.0; 3], 0);
        for (g, y) in self.responses() {
            if y.len() > prefix.len() && y[..prefix.len()] == *prefix {
                let slope = f64::from(slopes[start + prefix.len()]) * groups * weights[g];
                for (k, log_prob) in row.iter().enumerate() {
                    let chosen = f64::from(u8::from(y[prefix.len()] == k as u32));
                    gradient[k] += slope * (chosen - log_prob.exp());
                }
            }
            start += y.len();
        }
        gradient
    }
}

/// The slopes of a method's loss with respect to each log-prob.
fn slopes<M: Method>(mut method: M, scored: Scored) -> Vec<f32> {
    let log_probs = scored.rollouts.log_probs.to_vec().unwrap();
    let batch = method
        .batches(scored, &mut penalty(), rng())
        .unwrap()
        .remove(0);
    let outputs = Outputs::new(method.sequences(&batch), log_probs, None, None).unwrap();
    let loss = method.loss(&outputs, &batch).unwrap();
    outputs.gradients(&loss.value).unwrap().log_probs.unwrap()
}

fn gradient(baseline: Baseline) -> PolicyGradient {
    PolicyGradient::new(baseline, KlPlacement::Reward).unwrap()
}

fn vargrad() -> VarGrad {
    VarGrad::new(VarGradConfig::default()).unwrap()
}

/// The gradient at both prefixes is `scale` times that of the objective.
fn climbs(enumerated: &Enumerated<'_>, slopes: &[f32], scale: f64) {
    for (prefix, golden) in CLIMB {
        let gradient = enumerated.gradient(slopes, prefix);
        for (ours, exact) in gradient.into_iter().zip(golden) {
            assert!(
                (ours - scale * exact).abs() < 1e-6,
                "{gradient:?} at {prefix:?}"
            );
        }
    }
}

#[test]
fn the_expected_step_is_the_gradient_of_the_objective() {
    let problem = reference_tree(BETA);
    let policy = mid(&problem);
    let pairs = Enumerated::pairs(&problem, &policy);
    let method = gradient(Baseline::LeaveOneOut);
    climbs(&pairs, &slopes(method, pairs.scored()), -1.0);
    // A baseline that does not depend on the response changes no expectation, whatever it is.
    let singles = Enumerated::singles(&problem, &policy);
    for before in [None, Some(0.0), Some(7.0)] {
        let mut method = gradient(Baseline::Moving { decay: 0.9 });
        method.load_state(MovingMean(before));
        climbs(&singles, &slopes(method, singles.scored()), -1.0);
    }
}

#[test]
fn vargrad_climbs_the_same_hill() {
    let problem = reference_tree(BETA);
    let policy = mid(&problem);
    let pairs = Enumerated::pairs(&problem, &policy);
    climbs(&pairs, &slopes(vargrad(), pairs.scored()), -BETA);
    let (method, all) = (vargrad(), VarGradBatch::new(pairs.scored()).unwrap());
    let log_probs = pairs.log_probs(&policy);
    let mut expected = 0.0;
    for (g, weight) in pairs.weights().into_iter().enumerate() {
        let part = method.select(&all, &[2 * g, 2 * g + 1]).unwrap();
        let offsets = all.sequences.offsets();
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
fn the_optimum_stands_still() {
    let problem = reference_tree(BETA);
    let policy = problem.solve().policy;
    let pairs = Enumerated::pairs(&problem, &policy);
    let method = gradient(Baseline::LeaveOneOut);
    for slope in slopes(method, pairs.scored()) {
        // Whatever was drawn, not only on average.
        assert!((slope * 450.0).abs() < 2e-6, "{slope}");
    }
    for slope in slopes(vargrad(), pairs.scored()) {
        assert!((slope * 225.0).abs() < 2e-6, "{slope}");
    }
    // f = β·log Z is what VarGrad reports as the value.
    let batch = VarGradBatch::new(pairs.scored()).unwrap();
    let numbers = pairs.log_probs(&policy);
    let outputs = Outputs::new(&batch.sequences, numbers, None, None).unwrap();
    let loss = vargrad().loss(&outputs, &batch).unwrap();
    assert!((loss.stats.get("vargrad/value").unwrap() - 1.658_349_53).abs() < 1e-6);
}

/// A group of every response rests at the optimum of β times the spread of its scores.
#[test]
fn the_group_baseline_has_a_temperature_for_each_prompt() {
    let problem = reference_tree(BETA);
    let rewards = problem.rewards();
    let n = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / n;
    let squares: f64 = rewards.iter().map(|r| (r - mean).powi(2)).sum();
    let spread = (squares / (n - 1.0)).sqrt() + 1e-4;
    let steepest = |policy: &Policy| {
        let all = Enumerated {
            problem: &problem,
            policy,
            groups: vec![(0..rewards.len()).collect()],
        };
        let method = gradient(Baseline::Group);
        slopes(method, all.scored())
            .into_iter()
            .fold(0.0, |most, slope| f32::max(most, slope.abs()))
    };
    let own = reference_tree(BETA * spread).solve().policy;
    assert!(steepest(&own) < 1e-6);
    assert!(steepest(&problem.solve().policy) > 1e-3);
}

/// A penalty on each token's own KL in the loss: the expected step is 0 where the oracle says, and
/// not at π*.
#[test]
fn local_penalties_rest_where_they_are_predicted_to() {
    let problem = reference_tree(BETA);
    let optimum = problem.solve().policy;
    for (kl, penalty) in [
        (LocalKl::LocalK2, LocalPenalty::Reverse),
        (LocalKl::LocalK3, LocalPenalty::Forward),
    ] {
        let steepest = |policy: &Policy| {
            let pairs = Enumerated::pairs(&problem, policy);
            let method = PolicyGradient::new(Baseline::LeaveOneOut, KlPlacement::Loss(kl));
            let slopes = slopes(method.unwrap(), pairs.scored());
            let prefixes = problem.tree().prefixes().iter();
            let rows = prefixes.flat_map(|prefix| pairs.gradient(&slopes, prefix));
            rows.fold(0.0, |most, slope: f64| f64::max(most, slope.abs()))
        };
        let rest = steepest(&problem.local_optimum(penalty));
        assert!(rest < 1e-6, "{kl:?}: {rest}");
        assert!(steepest(&optimum) > 1e-2, "{kl:?}");
    }
}

/// log π − log p₀ in the loss has no expected gradient: nothing holds the policy back from the
/// response of greatest reward.
#[test]
fn k1_in_the_loss_is_no_penalty() {
    let problem = reference_tree(BETA);
    let policy = mid(&problem);
    let pairs = Enumerated::pairs(&problem, &policy);
    let in_loss = KlPlacement::Loss(LocalKl::LocalK2);
    let reward_alone = || {
        let mut scored = pairs.scored();
        scored.beta = 0.0;
        slopes(
            PolicyGradient::new(Baseline::LeaveOneOut, in_loss).unwrap(),
            scored,
        )
    };
    let responses = pairs.scored().rollouts.sequences.len() as f32;
    let with_k1: Vec<f32> = reward_alone()
        .iter()
        .map(|slope| slope + BETA as f32 / responses)
        .collect();
    for (prefix, _) in CLIMB {
        let (without, with) = (
            pairs.gradient(&reward_alone(), prefix),
            pairs.gradient(&with_k1, prefix),
        );
        for (a, b) in without.into_iter().zip(with) {
            assert!((a - b).abs() < 1e-6, "{without:?} {with:?}");
        }
    }
}
