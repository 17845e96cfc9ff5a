//! Tests of the KL estimators against independently computed values: means, standard deviations, and
//! the expected gradient of each placement.

use crate::{PerToken, Result, k1, k2, k3, kl_of_rows, rao_blackwell};
use rlhf_oracle::{Policy, Problem, Tree, reference_demonstrations, reference_tree};
use rlhf_tensor::{Device, Tensor, Var};

type Estimator = fn(&Tensor, &Tensor) -> Result<Tensor>;

fn tensor(numbers: &[f64]) -> Tensor {
    Tensor::new(numbers, &Device::Cpu).unwrap()
}

fn logs(probabilities: &[f64]) -> Tensor {
    tensor(probabilities).log().unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_vec1().unwrap()
}

fn close(ours: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), expected.len());
    for (x, y) in ours.iter().zip(expected) {
        assert!((x - y).abs() < tolerance, "{ours:?} is not {expected:?}");
    }
}

/// The mean and standard deviation of numbers that have these probabilities.
fn moments(numbers: &[f64], probabilities: &[f64]) -> [f64; 2] {
    let mean = |f: &dyn Fn(f64) -> f64| -> f64 {
        let pairs = numbers.iter().zip(probabilities);
        pairs.map(|(x, p)| p * f(*x)).sum()
    };
    let first = mean(&|x| x);
    [first, mean(&|x| (x - first).powi(2)).sqrt()]
}

const PI: [f64; 3] = [0.5, 0.3, 0.2];
const PRIOR: [f64; 3] = [0.1, 0.6, 0.3];
const REVERSE: [f64; 3] = [0.546_878_07, -0.362_648_69, -0.184_229_38];
const FORWARD: [f64; 3] = [0.4, -0.3, -0.1];

#[test]
fn estimators_have_the_expected_mean_and_deviation() {
    let moments_of = |estimator: Estimator, pi: &[f64], prior: &[f64]| {
        moments(&numbers(&estimator(&logs(pi), &logs(prior)).unwrap()), pi)
    };
    for (estimator, expected) in [
        (k1 as Estimator, [0.515_681_78, 1.098_286_75]),
        (k2, [0.736_080_75, 0.561_738_11]),
        (k3, [0.515_681_78, 0.302_823_60]),
    ] {
        close(&moments_of(estimator, &PI, &PRIOR), &expected, 1e-7);
    }
    // The exact KL does not depend on the sampled token, and differs from the KL of the arguments swapped.
    let row = |p: &[f64]| logs(p).unsqueeze(0).unwrap();
    let exact = |p: &[f64], q: &[f64]| numbers(&kl_of_rows(&row(p), &row(q)).unwrap())[0];
    close(&[exact(&PI, &PRIOR)], &[0.515_681_78], 1e-8);
    close(&[exact(&PRIOR, &PI)], &[0.376_584_05], 1e-7);
    // k3 has more variance than k1 far from the prior, and much less near it.
    let deviation = |estimator: Estimator, pi: &[f64]| moments_of(estimator, pi, &[0.5, 0.5])[1];
    close(&[deviation(k1, &[0.01, 0.99])], &[0.457], 1e-3);
    close(&[deviation(k3, &[0.01, 0.99])], &[4.467], 1e-3);
    close(&[deviation(k1, &[0.52, 0.48])], &[0.0400], 1e-4);
    close(&[deviation(k3, &[0.52, 0.48])], &[0.000_042_7], 1e-7);
}

/// Where an estimator of the KL is placed.
#[derive(Clone, Copy, PartialEq)]
enum Placement {
    /// As a term of the loss, differentiated.
    Loss,
    /// In the reward, detached: it multiplies the log-prob of the sampled token.
    Reward,
}

/// The expected gradient with respect to the logits of π of an estimator placed there.
fn expected_gradient(estimator: Estimator, placement: Placement) -> Vec<f64> {
    expected_gradient_of(&|log_pi| {
        let value = estimator(log_pi, &logs(&PRIOR))?;
        if placement == Placement::Loss {
            Ok(value)
        } else {
            Ok((value.detach() * log_pi)?)
        }
    })
}

fn expected_gradient_of(of_token: &dyn Fn(&Tensor) -> Result<Tensor>) -> Vec<f64> {
    let logits = Var::from_tensor(&logs(&PI)).unwrap();
    let log_pi = log_softmax(&logits.unsqueeze(0).unwrap());
    let weighted = (of_token(&log_pi.flatten_all().unwrap()).unwrap() * tensor(&PI)).unwrap();
    let gradients = weighted.sum_all().unwrap().backward().unwrap();
    gradients.get(&logits).map_or(vec![0.0; 3], numbers)
}

/// Rows of log-probs from rows of logits.
fn log_softmax(logits: &Tensor) -> Tensor {
    let log_sum = logits.exp().unwrap().sum_keepdim(1).unwrap().log().unwrap();
    logits.broadcast_sub(&log_sum).unwrap()
}

#[test]
fn the_placement_of_the_kl_decides_what_is_optimized() {
    let biased: Vec<f64> = REVERSE.iter().zip(FORWARD).map(|(r, f)| r - f).collect();
    for (gradient, expected) in [
        (expected_gradient(k1, Placement::Reward), &REVERSE[..]),
        (expected_gradient(k1, Placement::Loss), &[0.0; 3]),
        (expected_gradient(k2, Placement::Loss), &REVERSE),
        (
            expected_gradient(k2, Placement::Reward),
            &[0.279_532_23, -0.148_756_27, -0.130_775_95],
        ),
        (expected_gradient(k3, Placement::Loss), &FORWARD),
        (expected_gradient(k3, Placement::Reward), &biased),
    ] {
        close(&gradient, expected, 1e-7);
    }
    close(&biased, &[0.146_878_07, -0.062_648_69, -0.084_229_38], 1e-7);
    // k3 times the importance ratio, differentiated through both factors.
    let corrected = expected_gradient_of(&|log_pi| {
        let ratio = (log_pi - log_pi.detach())?.exp()?;
        Ok((ratio * k3(log_pi, &logs(&PRIOR))?)?)
    });
    close(&corrected, &REVERSE, 1e-7);
    // The exact KL of the row.
    let exact = expected_gradient_of(&|log_pi| {
        let row = |x: &Tensor| x.unsqueeze(0);
        let kl = kl_of_rows(&row(log_pi)?, &row(&logs(&PRIOR))?)?;
        Ok(kl.broadcast_as(3)?)
    });
    close(&exact, &REVERSE, 1e-7);
}

/// Every response of the reference tree: for each of its tokens the prefix it follows and the token.
struct Responses {
    problem: Problem,
    taken: Vec<(u32, u32)>,
    offsets: Vec<usize>,
}

impl Responses {
    fn new() -> Self {
        let problem = reference_tree(0.5);
        let (mut taken, mut offsets) = (Vec::new(), vec![0]);
        for y in problem.tree().responses() {
            for (t, &token) in y.iter().enumerate() {
                let prefix = problem.tree().prefix(&y[..t]).unwrap();
                taken.push((prefix as u32, token));
            }
            offsets.push(taken.len());
        }
        Self {
            problem,
            taken,
            offsets,
        }
    }

    fn tree(&self) -> &Tree {
        self.problem.tree()
    }

    /// π(y) of each response.
    fn weights(&self, policy: &Policy) -> Vec<f64> {
        let (_, log_probs) = policy.log_probs(self.tree());
        log_probs.iter().map(|x| x.exp()).collect()
    }

    fn per_token(&self, values: Tensor) -> PerToken {
        PerToken::new(values, self.offsets.clone().into()).unwrap()
    }

    /// The log-probs of the tokens taken and the rows they come from, for log-distributions [prefixes, V].
    fn gather(&self, log_dist: &Tensor) -> (PerToken, Tensor) {
        let index = |component: fn(&(u32, u32)) -> u32| {
            Tensor::new(
                self.taken.iter().map(component).collect::<Vec<u32>>(),
                &Device::Cpu,
            )
            .unwrap()
        };
        let rows = log_dist.index_select(&index(|x| x.0), 0).unwrap();
        let tokens = index(|x| x.1).unsqueeze(1).unwrap();
        let log_probs = rows.gather(&tokens, 1).unwrap().squeeze(1).unwrap();
        (self.per_token(log_probs), rows)
    }

    fn matrix(&self, policy: &Policy) -> Tensor {
        let flat = tensor(policy.log_dist());
        flat.reshape(((), self.tree().vocab())).unwrap()
    }

    /// The sum over each response of an estimator of each token.
    fn sums(&self, policy: &Policy, estimator: Estimator) -> Vec<f64> {
        let (log_probs, _) = self.gather(&self.matrix(policy));
        let (prior, _) = self.gather(&self.matrix(self.problem.prior()));
        let values = estimator(log_probs.values(), prior.values()).unwrap();
        numbers(self.per_token(values).sums().unwrap().values())
    }
}

#[test]
fn sums_over_a_response_estimate_the_sequence_kl() {
    let all = Responses::new();
    let optimum = all.problem.solve().policy;
    let weights = all.weights(&optimum);
    let lengths: Vec<f64> = all
        .tree()
        .responses()
        .iter()
        .map(|y| y.len() as f64)
        .collect();
    let moments_of = |values: &[f64]| moments(values, &weights);
    let exact = |log_dist: &Tensor| {
        let prior = all.gather(&all.matrix(all.problem.prior())).1;
        let rows = kl_of_rows(&all.gather(log_dist).1, &prior).unwrap();
        numbers(all.per_token(rows).sums().unwrap().values())
    };
    let kl = 1.546_759_39;
    let k1_sums = all.sums(&optimum, k1);
    close(&moments_of(&k1_sums), &[kl, 1.516_178_19], 1e-7);
    close(
        &moments_of(&all.sums(&optimum, k3)),
        &[kl, 1.744_154_92],
        1e-7,
    );
    close(
        &moments_of(&exact(&all.matrix(&optimum))),
        &[kl, 0.307_297_89],
        1e-7,
    );
    let whole: Vec<f64> = k1_sums.iter().map(|l| (-l).exp() - 1.0 + l).collect();
    close(&moments_of(&whole), &[kl, 3.110_941_13], 1e-7);
    // A sum of k2 and a mean over tokens do not estimate the KL.
    close(
        &moments_of(&all.sums(&optimum, k2))[..1],
        &[1.441_638_20],
        1e-7,
    );
    let means: Vec<f64> = k1_sums.iter().zip(&lengths).map(|(l, n)| l / n).collect();
    close(&moments_of(&means)[..1], &[0.419_677_87], 1e-7);
}

/// Which terms of the gradient of the sequence KL are computed.
#[derive(Clone, Copy, PartialEq)]
enum Term {
    OwnToken,
    LaterTokens,
    Both,
    /// The score-function estimator with k1.
    ScoreFunction,
}

/// The expected gradient of the sequence KL with respect to the logits of each prefix.
fn gradient(all: &Responses, policy: &Policy, term: Term) -> Vec<Vec<f64>> {
    let logits = Var::from_tensor(&all.matrix(policy)).unwrap();
    let (log_probs, rows) = all.gather(&log_softmax(&logits));
    let (prior, prior_rows) = all.gather(&all.matrix(all.problem.prior()));
    let kl = all.per_token(kl_of_rows(&rows, &prior_rows).unwrap());
    let values = match term {
        Term::OwnToken => kl.sums(),
        Term::LaterTokens => {
            let detached = PerToken::new(kl.values().detach(), kl.offsets()).unwrap();
            rao_blackwell(&log_probs, &detached)
        }
        Term::Both => rao_blackwell(&log_probs, &kl),
        Term::ScoreFunction => {
            let ratio = k1(log_probs.values(), prior.values()).unwrap();
            let response_ratios = all.per_token(ratio.detach()).sums().unwrap();
            let sums = log_probs.sums().unwrap();
            crate::PerSeq::new((sums.values() * response_ratios.values()).unwrap())
        }
    };
    let weighted = (values.unwrap().values() * tensor(&all.weights(policy))).unwrap();
    let gradients = weighted.sum_all().unwrap().backward().unwrap();
    gradients.get(&logits).unwrap().to_vec2().unwrap()
}

#[test]
fn the_gradient_of_the_sequence_kl_needs_both_terms() {
    let all = Responses::new();
    let optimum = all.problem.solve().policy;
    let mixed = all.problem.prior().mix(&reference_demonstrations(), 0.5);
    for (policy, full) in [
        (&mixed, [0.033_683_79, 0.018_994_35, -0.052_678_14]),
        (&optimum, [0.332_209_66, -0.058_825_28, -0.273_384_38]),
    ] {
        let (score, both) = (
            gradient(&all, policy, Term::ScoreFunction),
            gradient(&all, policy, Term::Both),
        );
        close(&score[0], &full, 1e-7);
        for (score, both) in score.iter().zip(&both) {
            close(score, both, 1e-12);
        }
        // Either term alone is another gradient; their sum is the full gradient.
        let (own, later) = (
            gradient(&all, policy, Term::OwnToken),
            gradient(&all, policy, Term::LaterTokens),
        );
        for term in [&own, &later] {
            let differences = term[0].iter().zip(&full).map(|(a, b)| (a - b).abs());
            assert!(differences.fold(0.0, f64::max) > 1e-2, "{term:?}");
        }
        let sum: Vec<f64> = own[0].iter().zip(&later[0]).map(|(a, b)| a + b).collect();
        close(&sum, &both[0], 1e-12);
    }
    let local = gradient(&all, &optimum, Term::OwnToken);
    close(
        &local[0],
        &[0.250_337_88, -0.054_842_89, -0.195_494_99],
        1e-7,
    );
    // At π* the gradient of the reward divided by β equals the full gradient of the KL.
    let rewards = tensor(all.problem.rewards());
    let logits = Var::from_tensor(&all.matrix(&optimum)).unwrap();
    let (log_probs, _) = all.gather(&log_softmax(&logits));
    let scored = (log_probs.sums().unwrap().values() * rewards).unwrap();
    let weighted = (scored * tensor(&all.weights(&optimum))).unwrap();
    let gradients = weighted.sum_all().unwrap().backward().unwrap();
    let reward_gradient: Vec<Vec<f64>> = gradients.get(&logits).unwrap().to_vec2().unwrap();
    let over_beta: Vec<f64> = reward_gradient[0].iter().map(|x| x / 0.5).collect();
    close(&over_beta, &gradient(&all, &optimum, Term::Both)[0], 1e-12);
}

#[test]
fn tokens_of_probability_zero_add_nothing() {
    let (none, half) = (f64::NEG_INFINITY, 0.5f64.ln());
    let logs = |row: [f64; 3]| Var::new(&[row], &Device::Cpu).unwrap();
    let (policy, prior) = (logs([half, half, none]), logs([half, 0.25f64.ln(), none]));
    let kl = kl_of_rows(&policy, &prior).unwrap();
    close(&numbers(&kl), &[half - 0.5 * 0.125f64.ln()], 1e-12);
    let gradients = kl.sum_all().unwrap().backward().unwrap();
    let slopes: Vec<Vec<f64>> = gradients.get(&policy).unwrap().to_vec2().unwrap();
    assert!(slopes[0].iter().all(|x| x.is_finite()), "{slopes:?}");
}
