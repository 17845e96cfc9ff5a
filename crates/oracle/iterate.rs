//! Single steps of soft value iteration and soft policy iteration.

use crate::{Policy, Problem, soft_backup};

impl Problem {
    /// One sweep of soft value iteration: V(s) by [`soft_backup`] of `q` [prefixes × A], and then
    /// Q(s,a) = r or V(s·a). From any `q` it converges in T sweeps.
    ///
    /// # Panics
    /// If `q` has another size.
    #[must_use]
    pub fn value_sweep(&self, q: &[f64]) -> Vec<f64> {
        let vocab = self.tree.vocab();
        assert_eq!(
            q.len(),
            self.tree.prefixes().len() * vocab,
            "q must be [prefixes × A]"
        );
        let values: Vec<f64> = q
            .chunks(vocab)
            .enumerate()
            .map(|(node, row)| soft_backup(row, self.prior.row(node), self.beta).value)
            .collect();
        let mut next = vec![0.0; q.len()];
        for (node, row) in next.chunks_mut(vocab).enumerate() {
            self.q_row(node, &values, 1.0, row);
        }
        next
    }

    /// One step of soft policy iteration: p₀·exp(Q^π/β), normalized at each prefix. J does not
    /// decrease, and at most T steps reach π*. One step from π = p₀ is controlled decoding (Mudgal
    /// et al. 2024).
    #[must_use]
    pub fn improve(&self, policy: &Policy) -> Policy {
        let vocab = self.tree.vocab();
        let (_, q) = self.policy_values(policy);
        let rows = q.chunks(vocab).enumerate();
        let logits: Vec<f64> = rows
            .flat_map(|(node, row)| soft_backup(row, self.prior.row(node), self.beta).log_policy)
            .collect();
        Policy::from_logits(vocab, &logits)
    }
}

#[cfg(test)]
mod tests {
    use crate::reference_tree;
    use crate::testing::{SplitMix, close};

    #[test]
    fn value_iteration_converges_in_horizon_sweeps() {
        let problem = reference_tree(0.5);
        let solution = problem.solve();
        let mut q = vec![0.0; solution.q.len()];
        for expected in [2.78336416, 0.91057331, 0.0] {
            q = problem.value_sweep(&q);
            let errors = q.iter().zip(&solution.q).map(|(a, b)| (a - b).abs());
            close(errors.fold(0.0, f64::max), expected, 1e-8);
        }
    }

    #[test]
    fn policy_iteration_matches_reference_values() {
        let problem = reference_tree(0.5);
        let mut policy = problem.prior().clone();
        for expected in [0.91468705, 1.56318891, 1.65834443, 1.65834953] {
            close(problem.policy_values(&policy).0[0], expected, 1e-8);
            close(problem.evaluate(&policy).elbo, expected, 1e-8);
            policy = problem.improve(&policy);
        }
    }

    #[test]
    fn policy_iteration_never_decreases_j_and_reaches_the_optimum() {
        let mut random = SplitMix(11);
        for _ in 0..50 {
            let problem = random.problem();
            let mut policy = random.policy(problem.tree());
            let mut last = problem.evaluate(&policy).elbo;
            for _ in 0..problem.tree().horizon() {
                policy = problem.improve(&policy);
                let elbo = problem.evaluate(&policy).elbo;
                assert!(elbo >= last - 1e-9 * (1.0 + last.abs()), "{elbo} < {last}");
                last = elbo;
            }
            let value = problem.solve().value();
            close(last, value, 1e-9 * (1.0 + value.abs()));
        }
    }
}
