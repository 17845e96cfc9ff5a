//! Every method with every prior reaches π*.

use crate::tree_cells::{PRIORS, TreeMethod, TreeProblem, run_cell};
use rlhf_oracle::Policy;

/// β·log Z of the reference tree at β = 0.5 with each of the priors, computed independently
/// (scripts/constants/tree.py).
const VALUES: [f64; 5] = [
    3.326_847_15,
    1.742_625_34,
    1.658_349_53,
    1.742_134_89,
    1.702_678_63,
];

/// The bound on KL(π ‖ π*) of all runs here, nats.
const MAX_KL: f64 = 2e-3;

#[test]
fn every_method_with_every_prior_reaches_the_optimum() {
    let problem = TreeProblem::reference();
    for (prior, value) in PRIORS.into_iter().zip(VALUES) {
        assert!((problem.world(prior).solution.value() - value).abs() < 1e-7);
        for method in TreeMethod::ALL {
            let cell = run_cell(&problem, prior, method, 1).unwrap();
            assert!(cell.kl_to_optimum < cell.bound, "{cell:?}");
            // Less than the KL between the optima of any two priors, tested below.
            assert!(cell.kl_to_optimum < MAX_KL, "{cell:?}");
            let gap = cell.value - cell.elbo;
            assert!((gap - cell.beta * cell.kl_to_optimum).abs() < 1e-10);
        }
    }
}

#[test]
fn every_method_reaches_the_optimum_of_a_random_tree() {
    let problem = TreeProblem::random(3);
    for method in TreeMethod::ALL {
        let cell = run_cell(&problem, "reference", method, 2).unwrap();
        assert!(cell.kl_to_optimum < cell.bound, "{cell:?}");
    }
}

/// The KL between the optima of two priors is much greater than the bound, so the test above
/// distinguishes the priors.
#[test]
fn optima_of_different_priors_are_far_apart() {
    let problem = TreeProblem::reference();
    let optima: Vec<Policy> = PRIORS.map(|p| problem.world(p).solution.policy).to_vec();
    for (i, prior) in PRIORS.into_iter().enumerate() {
        let world = problem.world(prior);
        for (j, policy) in optima.iter().enumerate() {
            let gap = world.problem.gap(policy, &world.solution).from_responses;
            assert!(
                i == j || gap / 0.5 > 5.0 * MAX_KL,
                "{prior} and {}: {gap}",
                PRIORS[j]
            );
        }
    }
}
