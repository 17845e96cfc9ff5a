//! What must hold for every problem, on seeded random ones.

use crate::testing::{SplitMix, close, exp};
use crate::{Child, Evaluation, Policy, Problem, reference_tree};

const PROBLEMS: usize = 200;

#[test]
fn the_optimum_is_a_distribution_and_nothing_beats_it() {
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

/// π*(a|s) by Bayes: Σ over responses behind s·a of p₀(y)·e^(r/β), over the same behind s.
#[test]
fn conditioning_on_optimality_gives_the_same_policy() {
    let mut random = SplitMix(2);
    for _ in 0..PROBLEMS {
        let problem = random.problem();
        let solution = problem.solve();
        let (_, log_prior) = problem.prior().log_probs(problem.tree());
        let best = problem.rewards().iter().copied().fold(f64::MIN, f64::max);
        let behind = |prefix: &[u32]| -> f64 {
            let responses = problem.tree().responses().iter().enumerate();
            responses
                .filter(|(_, response)| response.starts_with(prefix))
                .map(|(y, _)| (log_prior[y] + (problem.rewards()[y] - best) / problem.beta()).exp())
                .sum()
        };
        for (node, prefix) in problem.tree().prefixes().iter().enumerate() {
            let total = behind(prefix);
            if total < 1e-290 {
                continue; // Cold and far from the best: the sums themselves underflow.
            }
            for (token, p) in exp(solution.policy.row(node)).iter().enumerate() {
                let mut next = prefix.clone();
                next.push(token as u32);
                close(*p, behind(&next) / total, 1e-11);
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
fn shifts_scales_and_sums_of_rewards() {
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
        // The prior tilted by r₁, with reward r₂, is the problem of r₁ + r₂ but for V.
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

/// Σ_t' β·ℓ*_t' = r(y) − V(s_t) along every response from every prefix: rewards shaped by the KL
/// have no variance at the optimum, so every advantage is 0.
#[test]
fn shaped_returns_at_the_optimum_do_not_vary() {
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
fn no_reward_means_no_change_and_no_support_means_never() {
    let mut random = SplitMix(9);
    for _ in 0..PROBLEMS {
        let problem = random.problem();
        let none = vec![0.0; problem.rewards().len()];
        let idle = problem.with_rewards(none).unwrap();
        let policy = idle.solve().policy;
        close(idle.evaluate(&policy).kl, 0.0, 1e-12);
        close(idle.solve().value(), 0.0, 1e-9 * problem.beta().max(1.0));
        // The prior never says token 0, whatever is paid for it.
        let row = |_: &Vec<u32>| {
            (0..problem.tree().vocab())
                .map(|a| (a > 0).into())
                .collect()
        };
        let rows: Vec<Vec<f64>> = problem.tree().prefixes().iter().map(row).collect();
        let deaf = Policy::from_weights(problem.tree(), &rows).unwrap();
        let solution = problem.with_prior(deaf).unwrap().solve();
        for node in 0..rows.len() {
            assert_eq!(solution.policy.row(node)[0], f64::NEG_INFINITY);
            close(exp(solution.policy.row(node)).iter().sum(), 1.0, 1e-12);
        }
        assert!(solution.value().is_finite());
    }
}

/// A learner whose gradient is exact must agree with a numerical derivative:
/// ∂J/∂z(s,a) = d(s)·π(a|s)·(Q − β·(log π − log p₀) − V).
#[test]
fn policy_gradient_against_differences() {
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
            let moved = |by: f64| {
                let mut logits = policy.log_dist().to_vec();
                logits[node * 3 + a] += by;
                problem.evaluate(&Policy::from_logits(3, &logits)).elbo
            };
            close((moved(1e-5) - moved(-1e-5)) / 2e-5, gradient(node, a), 1e-9);
            close(gradient(node, a), expected, 1e-8);
        }
    }
}

/// As many leaves as anybody should enumerate: each is read once, and each inner prefix backed up
/// once. How long it takes is measured in an ignored test, on a machine that is otherwise idle.
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
fn many_leaves() {
    let problem = eight_tokens_and_six_steps();
    let solution = problem.solve();
    // The tokens are independent, so V is six times that of one.
    let one: f64 = (0..8).map(|a| (f64::from(a) / 4.0).exp() / 8.0).sum();
    close(solution.value(), 6.0 * 0.5 * one.ln(), 1e-12);
    close(
        problem.evaluate(&solution.policy).elbo,
        solution.value(),
        1e-10,
    );
}

#[test]
fn children_of_the_root() {
    let problem = reference_tree(1.0);
    assert_eq!(problem.tree().children(0)[2], Child::Response(0));
    assert_eq!(problem.tree().children(0)[0], Child::Prefix(1));
}
