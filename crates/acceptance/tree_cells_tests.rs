//! The promise that carries the project: every method with every prior reaches π*.

use crate::tree_cells::{Ground, Learns, PRIORS, cell};
use rlhf_oracle::Policy;

/// β·log Z of the golden tree at β = 0.5 with each of the priors, computed independently.
const VALUES: [f64; 5] = [
    3.326_847_15,
    1.742_625_34,
    1.658_349_53,
    1.742_134_89,
    1.702_678_63,
];

/// KL(π ‖ π*), nats, that all runs here come within.
const NEAR: f64 = 2e-3;

#[test]
fn every_method_with_every_prior_reaches_the_optimum() {
    let ground = Ground::gold();
    for (prior, value) in PRIORS.into_iter().zip(VALUES) {
        assert!((ground.world(prior).solution.value() - value).abs() < 1e-7);
        for learns in Learns::ALL {
            let cell = cell(&ground, prior, learns, 1).unwrap();
            assert!(cell.kl_to_optimum < cell.bound, "{cell:?}");
            // Nearer than any two priors' optima are to each other: see below.
            assert!(cell.kl_to_optimum < NEAR, "{cell:?}");
            let gap = cell.value - cell.elbo;
            assert!((gap - cell.beta * cell.kl_to_optimum).abs() < 1e-10);
        }
    }
}

#[test]
fn a_random_tree_is_no_different() {
    let ground = Ground::random(3);
    for learns in Learns::ALL {
        let cell = cell(&ground, "reference", learns, 2).unwrap();
        assert!(cell.kl_to_optimum < cell.bound, "{cell:?}");
    }
}

/// A policy at one prior's optimum is far from another's, so the runs above are told apart.
#[test]
fn the_optima_of_the_priors_are_further_apart() {
    let ground = Ground::gold();
    let optima: Vec<Policy> = PRIORS.map(|p| ground.world(p).solution.policy).to_vec();
    for (i, prior) in PRIORS.into_iter().enumerate() {
        let world = ground.world(prior);
        for (j, policy) in optima.iter().enumerate() {
            let gap = world.problem.gap(policy, &world.solution).from_responses;
            assert!(
                i == j || gap / 0.5 > 5.0 * NEAR,
                "{prior} and {}: {gap}",
                PRIORS[j]
            );
        }
    }
}
