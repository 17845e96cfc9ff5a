//! Helpers for the tests of this crate.

use crate::{Policy, Problem, Tree};

#[track_caller]
pub(crate) fn close(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{found} is not within {tolerance} of {expected}"
    );
}

pub(crate) fn exp(log: &[f64]) -> Vec<f64> {
    log.iter().map(|x| x.exp()).collect()
}

/// The SplitMix64 random number generator (Steele et al. 2014), for random problems.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.uniform() * (high - low + 1) as f64) as usize
    }

    /// A policy whose rows are uniform on the simplex.
    pub(crate) fn policy(&mut self, tree: &Tree) -> Policy {
        let rows: Vec<Vec<f64>> = (tree.prefixes().iter())
            .map(|_| {
                (0..tree.vocab())
                    .map(|_| -(1.0 - self.uniform()).ln())
                    .collect()
            })
            .collect();
        Policy::from_weights(tree, &rows).unwrap()
    }

    /// A problem of 2–4 tokens and 1–4 steps, with or without eos, N(0,1) rewards, β log-uniform in
    /// [0.01, 100].
    pub(crate) fn problem(&mut self) -> Problem {
        let vocab = self.between(2, 4);
        let eos = (self.uniform() < 0.7).then_some(vocab as u32 - 1);
        let tree = Tree::new(vocab, eos, self.between(1, 4));
        let prior = self.policy(&tree);
        let rewards = tree.responses().iter().map(|_| self.normal()).collect();
        let beta = 10f64.powf(4.0 * self.uniform() - 2.0);
        Problem::new(tree, prior, rewards, beta).unwrap()
    }
}
