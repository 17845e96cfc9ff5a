//! PPO against exact solutions of a problem small enough to enumerate.

use crate::testing::scored_rollouts;
use crate::{Advantages, Batch, Config, Ppo, gae};
use rlhf_objective::{Outputs, Scored};
use rlhf_oracle::{Policy, Problem, reference_demonstrations, reference_tree};
use rlhf_train::Learner;

const BETA: f64 = 0.5;
const LAMBDAS: [f64; 4] = [0.0, 0.5, 0.95, 1.0];

/// `value(node, token)` for each token of each response of the tree, at the node before the token.
fn per_token(problem: &Problem, value: impl Fn(usize, u32) -> f64) -> Vec<Vec<f64>> {
    let tree = problem.tree();
    let tokens = |y: &Vec<u32>| {
        let at = |t: usize| value(tree.prefix(&y[..t]).unwrap(), y[t]);
        (0..y.len()).map(at).collect()
    };
    tree.responses().iter().map(tokens).collect()
}

fn log_probs(problem: &Problem, policy: &Policy) -> Vec<Vec<f64>> {
    per_token(problem, |node, token| policy.row(node)[token as usize])
}

/// Scored rollouts that contain every response once, with log-probs of `policy` and these values of
/// the nodes.
fn every_response(problem: &Problem, policy: &Policy, values: &[f64]) -> Scored {
    let to_f32 = |rows: Vec<Vec<f64>>| rows.concat().into_iter().map(|x| x as f32).collect();
    let per_token = [
        to_f32(log_probs(problem, policy)),
        to_f32(log_probs(problem, problem.prior())),
        to_f32(per_token(problem, |node, _| values[node])),
    ];
    let scores = problem.rewards().iter().map(|&r| r as f32).collect();
    scored_rollouts(problem.tree().responses(), scores, per_token, BETA)
}

/// The gradient of PPO's loss with respect to each log-prob, at the policy of the rollouts, without
/// whitening, divided by the weight of a token.
fn token_gradients(scored: Scored, lambda: f64) -> (Batch, Vec<f32>) {
    let config = Config {
        lambda,
        advantages: Advantages::Raw,
        ..Config::default()
    };
    let ppo = Ppo::new(config.clone()).unwrap();
    let log_probs = scored.rollouts.log_probs.to_vec().unwrap();
    let values = scored.rollouts.values.clone().unwrap().to_vec().unwrap();
    let batch = Batch::new(scored, &config).unwrap();
    let outputs = Outputs::new(&batch.sequences, log_probs, None, Some(values)).unwrap();
    let loss = ppo.loss(&outputs, &batch).unwrap();
    let gradient = outputs.gradients(&loss.value).unwrap().log_probs.unwrap();
    let tokens = batch.sequences.tokens() as f32;
    (batch, gradient.iter().map(|g| g * tokens).collect())
}

#[test]
fn advantages_are_zero_at_the_optimum() {
    let problem = reference_tree(BETA);
    let solution = problem.solve();
    let policy = log_probs(&problem, &solution.policy);
    let prior = log_probs(&problem, problem.prior());
    let values = per_token(&problem, |node, _| solution.values[node]);
    for (y, score) in problem.rewards().iter().enumerate() {
        let log_ratios = policy[y].iter().zip(&prior[y]);
        let mut rewards: Vec<f64> = log_ratios.map(|(p, q)| -BETA * (p - q)).collect();
        *rewards.last_mut().unwrap() += score;
        for lambda in LAMBDAS {
            for advantage in gae(&rewards, &values[y], 1.0, lambda) {
                assert!(advantage.abs() < 1e-12, "{advantage} at {lambda}");
            }
        }
    }
}

#[test]
fn gradients_are_zero_at_the_optimum() {
    let problem = reference_tree(BETA);
    let solution = problem.solve();
    for lambda in LAMBDAS {
        let scored = every_response(&problem, &solution.policy, &solution.values);
        let (batch, gradients) = token_gradients(scored, lambda);
        for slope in gradients {
            assert!(slope.abs() < 2e-6, "{slope} at {lambda}");
        }
        // The critic is exact, so returns equal values.
        let values = batch.old_values.to_vec().unwrap();
        for (r, v) in batch.returns.to_vec().unwrap().iter().zip(values) {
            assert!((r - v).abs() < 2e-6);
        }
    }
}

#[test]
fn expected_gradient_is_the_gradient_of_the_objective() {
    let problem = reference_tree(BETA);
    let policy = problem.prior().mix(&reference_demonstrations(), 0.5);
    let nodes = problem.tree().prefixes().len();
    // With λ = 1 the critic does not change the expectation, even where its values are wrong.
    let wrong: Vec<f64> = (0..nodes).map(|node| node as f64 / 4.0).collect();
    let exact = problem.policy_values(&policy).0;
    for (values, lambda) in [(&exact, 0.0), (&exact, 0.95), (&exact, 1.0), (&wrong, 1.0)] {
        let (batch, gradients) = token_gradients(every_response(&problem, &policy, values), lambda);
        let expected = [
            (&[][..], [0.178_158_00, -0.115_804_30, -0.062_353_70]),
            (&[0], [0.100_084_70, -0.144_471_44, 0.044_386_74]),
        ];
        for (prefix, expected) in expected {
            let gradient = gradient_at(prefix, &batch, &gradients, &policy, &problem);
            for (ours, exact) in gradient.iter().zip(expected) {
                assert!((ours - exact).abs() < 1e-6, "{ours} is not {exact}");
            }
        }
    }
}

/// The expected gradient descent direction of the logits at a prefix:
/// Σ_y π(y)·(−gradient)·∂log π(token)/∂logits.
fn gradient_at(
    prefix: &[u32],
    batch: &Batch,
    gradients: &[f32],
    policy: &Policy,
    problem: &Problem,
) -> [f64; 3] {
    let row = policy.row(problem.tree().prefix(prefix).unwrap());
    let log_probs = log_probs(problem, policy);
    let mut gradient = [0.0; 3];
    for (y, response) in problem.tree().responses().iter().enumerate() {
        if response.len() <= prefix.len() || response[..prefix.len()] != *prefix {
            continue;
        }
        let probability = log_probs[y].iter().sum::<f64>().exp();
        let token = batch.advantages.range(y).start + prefix.len();
        for (k, log_prob) in row.iter().enumerate() {
            let taken = f64::from(u8::from(response[prefix.len()] == k as u32));
            let direction = -f64::from(gradients[token]);
            gradient[k] += probability * direction * (taken - log_prob.exp());
        }
    }
    gradient
}
