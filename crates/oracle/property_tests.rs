//! Properties of all problems, tested on random ones.

use crate::testing::{SplitMix, close, exp};
use crate::{Child, Evaluation, Policy, Problem, reference_tree};

const PROBLEMS: usize = 200;

#[test]
fn the_optimum_is_normalized_and_no_policy_exceeds_it() {
    let mut random = SplitMix(1);
    for _ in 0..PROBLEMS {
        let problem = random.problem();
        let solution = problem.solve();
        for node in 0..problem.tree().prefixes().len() {
            close(exp(solution.policy.row(node)).iter().sum(), 1.0, 1e-12);
        }
        let size = 1.0 + solution.value().abs();
        close(
            problem.evaluate(&solution.policy).elbo,
            solution.value(),
            1e-10 * size,
        );
        for _ in 0..5 {
            let policy = random.policy(problem.tree());
            let gap = problem.gap(&policy, &solution);
            assert!(gap.from_responses >= 0.0);
            let size = size.max(gap.from_responses);
            close(gap.from_elbo, gap.from_responses, 1e-10 * size);
            close(gap.from_prefixes, gap.from_responses, 1e-10 * size);
        }
    }
}

/// π*(a|s) by Bayes' rule: Σ p₀(y)·e^(r/β) over responses that extend s·a, divided by that over those
/// that extend s.
#[test]
fn the_posterior_given_optimality_is_the_optimal_policy() {
    let mut random = SplitMix(2);
    for _ in 0..PROBLEMS {
        let problem = random.problem();
        let solution = problem.solve();
        let (_, log_prior) = problem.prior().log_probs(problem.tree());
        let best = problem.rewards().iter().copied().fold(f64::MIN, f64::max);
        let mass = |prefix: &[u32]| -> f64 {
            let responses = problem.tree().responses().iter().enumerate();
            responses
                .filter(|(_, response)| response.starts_with(prefix))
                .map(|(y, _)| (log_prior[y] + (problem.rewards()[y] - best) / problem.beta()).exp())
                .sum()
        };
        for (node, prefix) in problem.tree().prefixes().iter().enumerate() {
            let total = mass(prefix);
            if total < 1e-290 {
                continue; // For a small β the sums far from the best response underflow.
            }
            for (token, p) in exp(solution.policy.row(node)).iter().enumerate() {
                let mut next = prefix.clone();
                next.push(token as u32);
                close(*p, mass(&next) / total, 1e-11);
            }
        }
    }
}

#[test]
fn reward_and_kl_fall_as_the_temperature_rises() {
    let mut random = SplitMix(3);
    for _ in 0..PROBLEMS {
        let problem = random.problem();
        let at = |beta: f64| -> Evaluation {
            let problem = problem.with_beta(beta).unwrap();
            problem.evaluate(&problem.solve().policy)
        };
        let points: Vec<Evaluation> = [0.1, 0.3, 1.0, 3.0].into_iter().map(at).collect();
        for pair in points.windows(2) {
            assert!(pair[0].kl > pair[1].kl);
            assert!(pair[0].expected_reward >= pair[1].expected_reward);
        }
    }
}

#[test]
fn values_transform_with_shifted_scaled_and_summed_rewards() {
    let mut random = SplitMix(4);
    for _ in 0..PROBLEMS {
        let problem = random.problem();
        let solution = problem.solve();
        let value = solution.value();
        let change = |f: &dyn Fn(f64) -> f64| -> Problem {
            let rewards = problem.rewards().iter().map(|&r| f(r)).collect();
            problem.with_rewards(rewards).unwrap()
        };
        let shifted = change(&|r| r + 0.7).solve();
        close(shifted.value(), value + 0.7, 1e-11 * (1.0 + value.abs()));
        let scaled = change(&|r| 3.0 * r)
            .with_beta(3.0 * problem.beta())
            .unwrap()
            .solve();
        close(scaled.value(), 3.0 * value, 1e-11 * (1.0 + value.abs()));
        for (a, b) in solution
            .policy
            .log_dist()
            .iter()
            .zip(scaled.policy.log_dist())
        {
            close(*a, *b, 1e-9 * (1.0 + a.abs()));
        }
        // With the prior tilted by r₁ and reward r₂, V is that of r₁ + r₂ minus that of r₁.
        let more: Vec<f64> = problem.rewards().iter().map(|_| random.normal()).collect();
        let both = problem
            .rewards()
            .iter()
            .zip(&more)
            .map(|(a, b)| a + b)
            .collect();
        let sum = problem.with_rewards(both).unwrap().solve().value();
        let tilted = problem.with_prior(solution.policy.clone()).unwrap();
        let second = tilted.with_rewards(more).unwrap().solve().value();
        close(second, sum - value, 1e-9 * (1.0 + sum.abs()));
    }
}

/// Σ_t' β·ℓ*_t' = r(y) − V(s_t) for every response and prefix: returns that include the KL have no
/// variance at the optimum, so every advantage is 0.
#[test]
fn returns_with_kl_are_constant_at_the_optimum() {
    let mut random = SplitMix(6);
    let mut problems: Vec<Problem> = (0..50).map(|_| random.problem()).collect();
    problems.push(reference_tree(0.5));
    for problem in &problems {
        let solution = problem.solve();
        let tree = problem.tree();
        for (y, response) in tree.responses().iter().enumerate() {
            let mut to_go = problem.rewards()[y];
            for t in (0..response.len()).rev() {
                let node = tree.prefix(&response[..t]).unwrap();
                let token = response[t] as usize;
                let ratio = solution.policy.row(node)[token] - problem.prior().row(node)[token];
                to_go -= problem.beta() * ratio;
                let size = 1.0 + to_go.abs() + problem.beta();
                close(to_go, solution.values[node], 1e-11 * size);
            }
        }
    }
}

#[test]
fn extreme_temperatures_stay_finite() {
    let mut random = SplitMix(7);
    for _ in 0..PROBLEMS {
        let problem = random.problem();
        for beta in [1e-6, 1e6] {
            let problem = problem.with_beta(beta).unwrap();
            let solution = problem.solve();
            let found = problem.evaluate(&solution.policy);
            let best = problem.rewards().iter().copied().fold(f64::MIN, f64::max);
            let mean = problem.evaluate(problem.prior()).expected_reward;
            let limit = if beta < 1.0 { best } else { mean };
            close(found.expected_reward, limit, 1e-3);
            close(found.elbo, solution.value(), 1e-6);
        }
    }
}

#[test]
fn zero_rewards_keep_the_prior_and_zero_support_is_kept() {
    let mut random = SplitMix(9);
    for _ in 0..PROBLEMS {
        let problem = random.problem();
        let zeros = vec![0.0; problem.rewards().len()];
        let unrewarded = problem.with_rewards(zeros).unwrap();
        let policy = unrewarded.solve().policy;
        close(unrewarded.evaluate(&policy).kl, 0.0, 1e-12);
        close(
            unrewarded.solve().value(),
            0.0,
            1e-9 * problem.beta().max(1.0),
        );
        // Token 0 has prior probability 0, so it keeps it.
        let row = |_: &Vec<u32>| {
            (0..problem.tree().vocab())
                .map(|a| (a > 0).into())
                .collect()
        };
        let rows: Vec<Vec<f64>> = problem.tree().prefixes().iter().map(row).collect();
        let restricted = Policy::from_weights(problem.tree(), &rows).unwrap();
        let solution = problem.with_prior(restricted).unwrap().solve();
        for node in 0..rows.len() {
            assert_eq!(solution.policy.row(node)[0], f64::NEG_INFINITY);
            close(exp(solution.policy.row(node)).iter().sum(), 1.0, 1e-12);
        }
        assert!(solution.value().is_finite());
    }
}

/// The exact policy gradient against finite differences:
/// ∂J/∂z(s,a) = d(s)·π(a|s)·(Q − β·(log π − log p₀) − V).
#[test]
fn policy_gradient_matches_finite_differences() {
    let problem = reference_tree(0.5);
    let tree = problem.tree();
    let policy = problem.prior().mix(&crate::reference_demonstrations(), 0.5);
    let measured = problem.evaluate(&policy);
    close(measured.elbo, 0.92135426, 1e-8);
    close(measured.expected_reward, 0.94103057, 1e-8);
    close(measured.kl, 0.03935263, 1e-8);
    let solution = problem.solve();
    close(problem.gap(&policy, &solution).from_elbo, 0.73699528, 1e-8);
    let (values, q) = problem.policy_values(&policy);
    let (visits, _) = policy.log_probs(tree);
    let gradient = |node: usize, a: usize| {
        let log_pi = policy.row(node)[a];
        let ratio = log_pi - problem.prior().row(node)[a];
        let advantage = q[node * 3 + a] - problem.beta() * ratio - values[node];
        (visits[node] + log_pi).exp() * advantage
    };
    for (prefix, expected) in [
        (&[][..], [0.17815800, -0.11580430, -0.06235370]),
        (&[0], [0.10008470, -0.14447144, 0.04438674]),
    ] {
        let node = tree.prefix(prefix).unwrap();
        for (a, expected) in expected.into_iter().enumerate() {
            let perturbed = |by: f64| {
                let mut logits = policy.log_dist().to_vec();
                logits[node * 3 + a] += by;
                problem.evaluate(&Policy::from_logits(3, &logits)).elbo
            };
            close(
                (perturbed(1e-5) - perturbed(-1e-5)) / 2e-5,
                gradient(node, a),
                1e-9,
            );
            close(gradient(node, a), expected, 1e-8);
        }
    }
}

/// A problem with 262,144 responses.
fn eight_tokens_and_six_steps() -> Problem {
    let tree = crate::Tree::new(8, None, 6);
    assert_eq!(tree.responses().len(), 262_144);
    assert_eq!(tree.prefixes().len(), 37_449);
    let score = |y: &Vec<u32>| y.iter().map(|&a| f64::from(a) / 8.0).sum();
    let rewards: Vec<f64> = tree.responses().iter().map(score).collect();
    let prior = Policy::uniform(&tree);
    Problem::new(tree, prior, rewards, 0.5).unwrap()
}

#[test]
fn a_large_tree_matches_the_closed_form() {
    let problem = eight_tokens_and_six_steps();
    let solution = problem.solve();
    // The tokens are independent, so V is six times that of one token.
    let one: f64 = (0..8).map(|a| (f64::from(a) / 4.0).exp() / 8.0).sum();
    close(solution.value(), 6.0 * 0.5 * one.ln(), 1e-12);
    close(
        problem.evaluate(&solution.policy).elbo,
        solution.value(),
        1e-10,
    );
}

#[test]
fn children_of_the_root_are_prefixes_and_the_eos_response() {
    let problem = reference_tree(1.0);
    assert_eq!(problem.tree().children(0)[2], Child::Response(0));
    assert_eq!(problem.tree().children(0)[0], Child::Prefix(1));
}
