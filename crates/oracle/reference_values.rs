//! The reference tree: a small problem with known solutions, used to test methods.

use crate::{Policy, Problem, Tree};

/// The reference tree: tokens 0, 1 and eos 2, at most three tokens. With h the base-3 number of a
/// prefix (1 for the empty prefix), the prior gives token a the weight 1 + (7h + 3a) mod 5. The reward
/// is the sum over tokens of (1, −0.5, 0.75).
///
/// # Panics
/// If β is not positive.
#[must_use]
pub fn reference_tree(beta: f64) -> Problem {
    let tree = Tree::new(3, Some(2), 3);
    let prior = policy(&tree, |h, a| 1 + (7 * h + 3 * a) % 5);
    let score = |y: &Vec<u32>| y.iter().map(|&a| [1.0, -0.5, 0.75][a as usize]).sum();
    let rewards = tree.responses().iter().map(score).collect();
    Problem::new(tree, prior, rewards, beta).expect("beta is positive")
}

/// Another prior on the reference tree, in place of one fitted to demonstrations: token a has the
/// weight 1 + (5h + 2a + 1) mod 4.
#[must_use]
pub fn reference_demonstrations() -> Policy {
    policy(&Tree::new(3, Some(2), 3), |h, a| {
        1 + (5 * h + 2 * a + 1) % 4
    })
}

fn policy(tree: &Tree, weight: impl Fn(u32, u32) -> u32) -> Policy {
    let row = |prefix: &Vec<u32>| -> Vec<f64> {
        let h = prefix.iter().fold(1, |h, a| 3 * h + a);
        (0..3).map(|a| f64::from(weight(h, a))).collect()
    };
    let rows: Vec<Vec<f64>> = tree.prefixes().iter().map(row).collect();
    Policy::from_weights(tree, &rows).expect("positive weights")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{close, exp};

    #[test]
    fn prior_rows_match_their_weights() {
        let problem = reference_tree(0.5);
        for (prefix, weights) in [
            (&[][..], [3.0, 1.0, 4.0]),
            (&[0], [2.0, 5.0, 3.0]),
            (&[1], [4.0, 2.0, 5.0]),
            (&[0, 0], [4.0, 2.0, 5.0]),
            (&[0, 1], [1.0, 4.0, 2.0]),
            (&[1, 0], [5.0, 3.0, 1.0]),
            (&[1, 1], [2.0, 5.0, 3.0]),
        ] {
            let node = problem.tree().prefix(prefix).unwrap();
            let row = exp(problem.prior().row(node));
            for (p, w) in row.iter().zip(weights) {
                close(*p, w / weights.iter().sum::<f64>(), 1e-15);
            }
        }
    }

    #[test]
    fn solutions_at_several_beta_match_reference_values() {
        // β, log Z, V(root), π*(·|root), E*[r], KL*, H*, β·KL(p₀‖π*).
        let rows = [
            (
                0.25,
                8.80219529,
                2.20054882,
                [0.99681799, 0.00167155, 0.00151046],
                2.88826855,
                2.75087890,
                0.75186481,
                1.28586177,
            ),
            (
                0.5,
                3.31669907,
                1.65834953,
                [0.89380690, 0.02491236, 0.08128074],
                2.43172923,
                1.54675939,
                1.54914477,
                0.74366248,
            ),
            (
                1.0,
                1.25091467,
                1.25091467,
                [0.63080381, 0.06620812, 0.30298807],
                1.64504987,
                0.39413520,
                1.96770927,
                0.33622762,
            ),
            (
                2.0,
                0.53391147,
                1.06782293,
                [0.48061622, 0.09284784, 0.42653594],
                1.23556160,
                0.08386933,
                1.92390298,
                0.15313588,
            ),
        ];
        for (beta, log_z, value, root, reward, kl, entropy, prior_gap) in rows {
            let problem = reference_tree(beta);
            let solution = problem.solve();
            close(solution.log_z(), log_z, 1e-8);
            close(solution.value(), value, 1e-8);
            for (p, expected) in exp(solution.policy.row(0)).iter().zip(root) {
                close(*p, expected, 1e-8);
            }
            let optimum = problem.evaluate(&solution.policy);
            close(optimum.expected_reward, reward, 1e-8);
            close(optimum.kl, kl, 1e-8);
            close(optimum.entropy, entropy, 1e-8);
            close(optimum.elbo, value, 1e-8);
            let gap = problem.gap(problem.prior(), &solution);
            for value in [gap.from_elbo, gap.from_responses, gap.from_prefixes] {
                close(value, prior_gap, 1e-8);
            }
        }
    }

    #[test]
    fn the_prior_and_limits_of_beta_match_reference_values() {
        let problem = reference_tree(0.5);
        let prior = problem.evaluate(problem.prior());
        close(prior.expected_reward, 0.91468705, 1e-8);
        close(prior.entropy, 1.81285516, 1e-8);
        close(prior.length, 1.83068182, 1e-8);
        assert_eq!(prior.kl, 0.0);
        let responses = problem.responses();
        let moment = |value: &dyn Fn(f64) -> f64| -> f64 {
            let pairs = responses.rewards().iter().zip(responses.log_prior());
            pairs.map(|(&r, log_p)| log_p.exp() * value(r)).sum()
        };
        let variance = moment(&|r| (r - prior.expected_reward).powi(2));
        close(variance, 0.56130598, 1e-8);
        let best = problem.tree().response(&[0, 0, 0]).unwrap();
        assert!(responses.rewards().iter().all(|&r| r <= 3.0));
        assert_eq!(responses.rewards()[best], 3.0);
        close(responses.log_prior()[best].exp(), 0.02727273, 1e-8);
        // For a large β the value is the mean reward plus half its variance over β.
        let hot = reference_tree(1e6).solve().value();
        close(hot, prior.expected_reward + variance / 2e6, 1e-9);
        let cold = reference_tree(1e-3);
        let solution = cold.solve();
        close(solution.value(), 2.99639813, 1e-8);
        close(cold.evaluate(&solution.policy).kl, 3.60186808, 1e-8);
        close(reference_tree(1e6).solve().value(), 0.91468733, 1e-8);
    }

    #[test]
    fn values_at_prefixes_match_reference_values() {
        let problem = reference_tree(0.5);
        let solution = problem.solve();
        for (prefix, value) in [
            (&[0][..], 2.09263140),
            (&[1], 0.85187473),
            (&[0, 0], 2.78336416),
            (&[0, 1], 0.96731651),
            (&[1, 0], 1.27649971),
            (&[1, 1], -0.44965200),
        ] {
            let node = problem.tree().prefix(prefix).unwrap();
            close(solution.values[node], value, 1e-8);
        }
        let node = problem.tree().prefix(&[0]).unwrap();
        let row = exp(solution.policy.row(node));
        for (p, expected) in row.iter().zip([0.79614623, 0.05266643, 0.15118733]) {
            close(*p, expected, 1e-8);
        }
    }
}
