//! The reference tree under other objectives and samplers, against values computed independently
//! (scripts/constants/tree.py).

use crate::testing::{close, exp};
use crate::{Child, Policy, Responses, reference_tree};

#[test]
fn other_objectives_have_other_optima() {
    let problem = reference_tree(0.5);
    // A discount below 1.
    let discounted = problem.solve_discounted(0.9).policy;
    close(
        problem.gap(&discounted, &problem.solve()).from_elbo,
        0.02985702,
        1e-8,
    );
    // Without a regularizer the policy takes the best response: J = 3 − β·3.60.
    let greedy = problem.with_beta(1e-6).unwrap().solve().policy;
    close(problem.evaluate(&greedy).elbo, 3.0 - 0.5 * 3.60186808, 1e-8);
    // Controlled decoding: one step of soft policy iteration from the prior.
    let (decoded, solution) = (problem.improve(problem.prior()), problem.solve());
    close(problem.evaluate(&decoded).elbo, 1.56318891, 1e-8);
    close(problem.gap(&decoded, &solution).from_elbo, 0.09516062, 1e-8);
    let own = problem.evaluate(&decoded);
    let best = problem.responses().optimum_at_kl(own.kl).outcome.reward;
    close(best - own.expected_reward, 0.04628971, 1e-7);
}

/// A loss divided by the response length, with a per-token KL and the mean reward as baseline,
/// favours longer responses.
#[test]
fn a_mean_over_tokens_favours_longer_responses() {
    let problem = reference_tree(0.5);
    let tree = problem.tree();
    let mut policy = problem.prior().clone();
    for _ in 0..400 {
        let baseline = problem.evaluate(&policy).expected_reward;
        let nodes = tree.prefixes().len();
        // E[(r − b)/L] and E[1/L] of the responses that extend each prefix.
        let (mut mean_gains, mut mean_inverse_lengths) = (vec![0.0; nodes], vec![0.0; nodes]);
        let mut logits = vec![0.0; nodes * 3];
        for node in (0..nodes).rev() {
            let value = |child: &Child| match *child {
                Child::Prefix(next) => (mean_gains[next], mean_inverse_lengths[next]),
                Child::Response(y) => {
                    let length = tree.responses()[y].len() as f64;
                    ((problem.rewards()[y] - baseline) / length, 1.0 / length)
                }
            };
            let children: Vec<(f64, f64)> = tree.children(node).iter().map(value).collect();
            let row = exp(policy.row(node));
            let mean = |value: fn(&(f64, f64)) -> f64| -> f64 {
                children.iter().zip(&row).map(|(x, p)| value(x) * p).sum()
            };
            (mean_gains[node], mean_inverse_lengths[node]) = (mean(|x| x.0), mean(|x| x.1));
            for (a, (gain, _)) in children.iter().enumerate() {
                let target =
                    problem.prior().row(node)[a] + gain / (0.5 * mean_inverse_lengths[node]);
                logits[node * 3 + a] = 0.7 * policy.row(node)[a] + 0.3 * target;
            }
        }
        policy = Policy::from_logits(3, &logits);
    }
    let converged = problem.evaluate(&policy);
    close(converged.elbo, 1.592, 5e-4);
    close(converged.length, 2.94, 1e-3);
    close(problem.evaluate(&problem.solve().policy).length, 2.70, 2e-3);
}

/// A constant per response leaves the policy unchanged; a constant per token rewards length where
/// responses end with eos.
#[test]
fn a_constant_per_response_is_neutral_and_one_per_token_is_not() {
    let problem = reference_tree(0.5);
    let with_bonus = |bonus: &dyn Fn(&[u32]) -> f64| {
        let pairs = problem.rewards().iter().zip(problem.tree().responses());
        let rewards = pairs.map(|(r, y)| r + bonus(y)).collect();
        problem.with_rewards(rewards).unwrap().solve()
    };
    let (original, shifted) = (problem.solve(), with_bonus(&|_| 0.7));
    close(shifted.value(), original.value() + 0.7, 1e-12);
    for (a, b) in original
        .policy
        .log_dist()
        .iter()
        .zip(shifted.policy.log_dist())
    {
        close(a.exp(), b.exp(), 1e-12);
    }
    let per_token = with_bonus(&|y| 0.7 * y.len() as f64).policy;
    let length = |policy: &Policy| problem.evaluate(policy).length;
    assert!(length(&per_token) > length(&original.policy) + 0.1);
}

/// Direct preference optimization with labels P(y₁ ≻ y₂) = σ(r₁ − r₂) and pairs of distinct responses
/// sampled from the prior: at π* the implicit reward is r − β·log Z and the loss is the entropy of the
/// labels.
#[test]
fn the_dpo_loss_at_pi_star_is_the_entropy_of_the_labels() {
    let log_sigmoid = |x: f64| -(-x).exp().ln_1p();
    let loss = |weights: &[f64], implicit: &[f64], rewards: &[f64]| {
        let (mut total, mut mass) = (0.0, 0.0);
        for i in 0..rewards.len() {
            for j in (0..rewards.len()).filter(|&j| j != i) {
                let label = log_sigmoid(rewards[i] - rewards[j]).exp();
                let margin = implicit[i] - implicit[j];
                let each = -label * log_sigmoid(margin) - (1.0 - label) * log_sigmoid(-margin);
                total += weights[i] * weights[j] * each;
                mass += weights[i] * weights[j];
            }
        }
        total / mass
    };
    let responses = reference_tree(0.5).responses();
    let optimum = responses.optimum(0.5);
    let pairs = optimum.log_policy.iter().zip(responses.log_prior());
    let implicit: Vec<f64> = pairs.map(|(a, b)| 0.5 * (a - b)).collect();
    for (implicit, r) in implicit.iter().zip(responses.rewards()) {
        close(*implicit, r - 0.5 * optimum.log_z, 1e-14);
    }
    let prior = exp(responses.log_prior());
    close(
        loss(&prior, &implicit, responses.rewards()),
        0.55877557,
        1e-8,
    );
    let zeros = vec![0.0; implicit.len()];
    close(loss(&prior, &zeros, responses.rewards()), 2f64.ln(), 1e-12);
    let rewards = [0.0, 1.0, 0.5, 2.0];
    close(loss(&[0.25; 4], &rewards, &rewards), 0.55508105, 1e-8);
}

/// Actions on a line: the prior N(0, 1) and the reward −½(a − 1)² give N(½, ½).
#[test]
fn a_gaussian_action_matches_the_closed_form() {
    let step = 1e-3;
    let actions: Vec<f64> = (-10_000..=10_000).map(|i| f64::from(i) * step).collect();
    let density = |a: &f64| -0.5 * a * a - 0.5 * std::f64::consts::TAU.ln() + step.ln();
    let log_prior = actions.iter().map(density).collect();
    let rewards = actions.iter().map(|a| -0.5 * (a - 1.0).powi(2)).collect();
    let optimum = Responses::new(log_prior, rewards).unwrap().optimum(1.0);
    close(optimum.log_z, -0.59657359, 1e-8);
    let mean = |value: &dyn Fn(f64) -> f64| -> f64 {
        let pairs = actions.iter().zip(&optimum.log_policy);
        pairs.map(|(&a, log_p)| log_p.exp() * value(a)).sum()
    };
    close(mean(&|a| a), 0.5, 1e-9);
    close(mean(&|a| (a - 0.5).powi(2)), 0.5, 1e-9);
}

/// Restricting each step to the k likeliest tokens of the prior may exclude the optimal ones.
#[test]
fn restricting_to_the_likeliest_prior_tokens_has_a_large_gap() {
    let problem = reference_tree(0.5);
    let solution = problem.solve();
    let rows: Vec<Vec<f64>> = (0..problem.tree().prefixes().len())
        .map(|node| {
            let prior = problem.prior().row(node);
            let least = prior.iter().copied().fold(f64::INFINITY, f64::min);
            let kept = solution.policy.row(node).iter().zip(prior);
            kept.map(|(p, prior)| if *prior == least { 0.0 } else { p.exp() })
                .collect()
        })
        .collect();
    let policy = Policy::from_weights(problem.tree(), &rows).unwrap();
    close(problem.gap(&policy, &solution).from_elbo, 0.80490115, 1e-8);
    close(problem.evaluate(&policy).kl, 1.30608057, 1e-8);
}
