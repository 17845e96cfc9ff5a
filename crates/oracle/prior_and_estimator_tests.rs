//! The reference tree under other priors and estimators, against values computed independently
//! (scripts/constants/tree.py).

use crate::backup::log_sum_exp;
use crate::testing::{close, exp};
use crate::{Policy, Problem, Tree, reference_demonstrations, reference_tree};

fn kl(problem: &Problem, policy: &Policy, prior: &Policy) -> f64 {
    problem
        .with_prior(prior.clone())
        .unwrap()
        .evaluate(policy)
        .kl
}

/// The normalized geometric mean of the response probabilities, with weights 1 − w and w, and the log
/// of its normalizer.
fn geometric(tree: &Tree, a: &Policy, b: &Policy, w: f64) -> (Policy, f64) {
    let (_, a) = a.log_probs(tree);
    let (_, b) = b.log_probs(tree);
    let mean: Vec<f64> = a
        .iter()
        .zip(&b)
        .map(|(a, b)| (1.0 - w) * a + w * b)
        .collect();
    Policy::from_responses(tree, &mean)
}

fn arithmetic(tree: &Tree, a: &Policy, b: &Policy, w: f64) -> Policy {
    let (_, a) = a.log_probs(tree);
    let (_, b) = b.log_probs(tree);
    let mean = |(a, b): (&f64, &f64)| ((1.0 - w) * a.exp() + w * b.exp()).ln();
    Policy::from_responses(tree, &a.iter().zip(&b).map(mean).collect::<Vec<_>>()).0
}

/// The geometric mean of each row, normalized per row.
fn geometric_rows(tree: &Tree, a: &Policy, b: &Policy) -> Policy {
    let mean = |(a, b): (&f64, &f64)| 0.5 * (a + b);
    let logits: Vec<f64> = a.log_dist().iter().zip(b.log_dist()).map(mean).collect();
    Policy::from_logits(tree.vocab(), &logits)
}

#[test]
fn optima_under_other_priors_match_reference_values() {
    let problem = reference_tree(0.5);
    let (tree, pretrained) = (problem.tree(), problem.prior());
    let demonstrations = reference_demonstrations();
    let rows = [
        (
            pretrained.clone(),
            [
                0.91468705, 1.65834953, 2.43172923, 1.54675939, 1.54675939, 1.43560215,
            ],
        ),
        (
            demonstrations.clone(),
            [
                0.99440051, 1.74213489, 2.48583189, 1.48739400, 1.71708039, 1.48739400,
            ],
        ),
        (
            geometric(tree, pretrained, &demonstrations, 0.5).0,
            [
                0.96088776, 1.71215305, 2.47232438, 1.52034267, 1.64189242, 1.47573677,
            ],
        ),
        (
            geometric_rows(tree, pretrained, &demonstrations),
            [
                0.94913361, 1.70267863, 2.46456890, 1.52378053, 1.62875292, 1.45853136,
            ],
        ),
        (
            arithmetic(tree, pretrained, &demonstrations, 0.5),
            [
                0.95454378, 1.70199516, 2.46104177, 1.51809323, 1.62489918, 1.44952345,
            ],
        ),
    ];
    for (
        prior,
        [
            prior_reward,
            value,
            reward,
            kl_to_prior,
            to_pretrained,
            to_demonstrations,
        ],
    ) in rows
    {
        let problem = problem.with_prior(prior.clone()).unwrap();
        close(problem.evaluate(&prior).expected_reward, prior_reward, 1e-8);
        let solution = problem.solve();
        close(solution.value(), value, 1e-8);
        let optimum = problem.evaluate(&solution.policy);
        close(optimum.expected_reward, reward, 1e-8);
        close(optimum.kl, kl_to_prior, 1e-8);
        close(
            kl(&problem, &solution.policy, pretrained),
            to_pretrained,
            1e-8,
        );
        close(
            kl(&problem, &solution.policy, &demonstrations),
            to_demonstrations,
            1e-8,
        );
    }
}

#[test]
fn two_kl_penalties_equal_one_to_the_geometric_mean_of_responses() {
    let problem = reference_tree(0.5);
    let (tree, a, b) = (problem.tree(), problem.prior(), &reference_demonstrations());
    let (mean, log_z) = geometric(tree, a, b, 0.5);
    close(log_z.exp(), 0.96225872, 1e-8);
    let policy = &problem.solve().policy;
    let two_penalties = 0.25 * kl(&problem, policy, a) + 0.25 * kl(&problem, policy, b);
    let one_penalty = |prior: &Policy| 0.5 * kl(&problem, policy, prior);
    close(two_penalties, one_penalty(&mean) - 0.5 * log_z, 1e-12);
    let mean_kl = 0.5 * kl(&problem, policy, a) + 0.5 * kl(&problem, policy, b);
    close(mean_kl, 1.49118077, 1e-8);
    // Normalizing per row gives a different prior.
    let rows = geometric_rows(tree, a, b);
    close(kl(&problem, &rows, &mean), 0.00116617, 1e-8);
    close(kl(&problem, policy, &rows), 1.47323421, 1e-8);
    // So does the arithmetic mean per row: the mean over responses weights rows by their posterior.
    let responses = arithmetic(tree, a, b, 0.5);
    close(kl(&problem, &a.mix(b, 0.5), &responses), 0.00156141, 1e-8);
}

#[test]
fn counting_and_uniform_priors_differ_where_length_is_variable() {
    let problem = reference_tree(0.5);
    let eos_statistics = |prior: Policy| {
        let problem = problem.with_prior(prior).unwrap();
        let solution = problem.solve();
        let length = problem.evaluate(&solution.policy).length;
        (solution.policy.row(0)[2].exp(), length, solution.value())
    };
    let uniform = eos_statistics(Policy::uniform(problem.tree()));
    let counting = eos_statistics(Policy::counting(problem.tree()));
    for ((first, length, value), expected) in [
        (uniform, [0.04578206, 2.79005972, 1.74262534]),
        (counting, [0.00577802, 2.94362424, 3.32684715]),
    ] {
        close(first, expected[0], 1e-8);
        close(length, expected[1], 1e-8);
        close(value, expected[2], 1e-8);
    }
    // At a fixed length the values differ by β·T·log A.
    let tree = Tree::new(2, None, 3);
    let rewards: Vec<f64> = (0..8).map(f64::from).collect();
    let value = |prior: Policy| {
        let problem = Problem::new(tree.clone(), prior, rewards.clone(), 0.5).unwrap();
        problem.solve().value()
    };
    let difference = value(Policy::counting(&tree)) - value(Policy::uniform(&tree));
    close(difference, 1.03972077, 1e-8);
    // Under the counting measure π*(y) ∝ exp(r/β).
    let counting = problem
        .with_prior(Policy::counting(problem.tree()))
        .unwrap();
    let (_, log_probs) = counting.solve().policy.log_probs(problem.tree());
    let total = log_sum_exp(problem.rewards().iter().map(|r| r / 0.5));
    for (log_prob, r) in log_probs.iter().zip(problem.rewards()) {
        close(*log_prob, r / 0.5 - total, 1e-12);
    }
}

#[test]
fn per_step_quantities_of_the_optimum_match_reference_values() {
    let problem = reference_tree(0.5);
    let solution = problem.solve();
    let tree = problem.tree();
    let (visits, responses) = solution.policy.log_probs(tree);
    let by_prefix = problem.kl_by_prefix(&solution.policy);
    for (depth, alive, kl) in [
        (0, 1.0, 0.58848324),
        (1, 0.91871926, 0.79752886),
        (2, 0.78018909, 0.16074728),
    ] {
        let nodes = || (0..visits.len()).filter(|&n| tree.prefixes()[n].len() == depth);
        close(nodes().map(|n| visits[n].exp()).sum(), alive, 1e-8);
        close(
            nodes().map(|n| visits[n].exp() * by_prefix[n]).sum(),
            kl,
            1e-8,
        );
    }
    close(problem.evaluate(&solution.policy).length, 2.69890835, 1e-8);
    let best = tree.response(&[0, 0, 0]).unwrap();
    let (_, prior) = problem.prior().log_probs(tree);
    close(prior[best], -3.60186808, 1e-8);
    close(responses[best], -0.91856714, 1e-8);
    close(0.5 * (responses[best] - prior[best]), 1.34165047, 1e-8);
}

#[test]
fn rao_blackwell_and_k1_have_equal_means_and_different_variances() {
    let problem = reference_tree(0.5);
    let policy = &problem.solve().policy;
    let tree = problem.tree();
    let (_, log_probs) = policy.log_probs(tree);
    let (_, prior) = problem.prior().log_probs(tree);
    let by_prefix = problem.kl_by_prefix(policy);
    let rao_blackwell = |y: usize| -> f64 {
        let response = &tree.responses()[y];
        let prefixes = (0..response.len()).map(|t| tree.prefix(&response[..t]).unwrap());
        prefixes.map(|node| by_prefix[node]).sum()
    };
    let k1 = |y: usize| log_probs[y] - prior[y];
    let moments = |estimator: &dyn Fn(usize) -> f64| {
        let mean = |f: &dyn Fn(f64) -> f64| -> f64 {
            (0..log_probs.len())
                .map(|y| log_probs[y].exp() * f(estimator(y)))
                .sum()
        };
        let first = mean(&|x| x);
        (first, (mean(&|x| x * x) - first * first).sqrt())
    };
    for (estimator, expected_deviation) in [
        (&rao_blackwell as &dyn Fn(usize) -> f64, 0.30729789),
        (&k1, 1.51617819),
    ] {
        let (mean, deviation) = moments(estimator);
        close(mean, 1.54675939, 1e-8);
        close(deviation, expected_deviation, 1e-8);
    }
    let per_token = |y: usize| k1(y) / tree.responses()[y].len() as f64;
    close(moments(&per_token).0, 0.41967787, 1e-8);
}

/// E[log mean of K weights e^(r/β)] is a lower bound of log Z with all K samples from the prior, and an
/// upper bound with one of them from π* (Burda et al. 2016; Grosse et al. 2015).
#[test]
fn sample_bounds_of_log_z_match_reference_values() {
    let problem = reference_tree(0.5);
    let responses = problem.responses();
    let optimum = responses.optimum(0.5);
    let prior = exp(responses.log_prior());
    let weights: Vec<f64> = responses
        .rewards()
        .iter()
        .map(|r| (r / 0.5).exp())
        .collect();
    let posterior = exp(&optimum.log_policy);
    for (k, low, high) in [
        (1, 1.82937410, 4.86345846),
        (2, 2.22146137, 4.40537882),
        (3, 2.41750030, 4.17394247),
        (4, 2.54792376, 4.02790360),
    ] {
        let mean = |first: &[f64]| {
            let n = prior.len();
            let mut total = 0.0;
            for code in 0..n.pow(k) {
                let draws = (0..k).map(|slot| code / n.pow(slot) % n);
                let (mut p, mut sum) = (1.0, 0.0);
                for (slot, y) in draws.enumerate() {
                    p *= if slot == 0 { first[y] } else { prior[y] };
                    sum += weights[y];
                }
                total += p * (sum / f64::from(k)).ln();
            }
            total
        };
        close(mean(&prior), low, 1e-8);
        close(mean(&posterior), high, 1e-8);
    }
    close((optimum.log_z - 3.0 / 0.5).exp(), 0.06833720, 1e-8);
}
