//! The optima of per-token KL penalties.

use crate::backup::weighted;
use crate::{Child, Policy, Problem, soft_backup};

/// A KL penalty in the loss, per token, whose gradient ignores its effect on later tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalPenalty {
    /// KL(π ‖ p₀) over the vocabulary, or ½·(log π − log p₀)² of the sampled token.
    Reverse,
    /// KL(p₀ ‖ π), whose gradient is the expected gradient of k3 of the sampled token (Shao et al.
    /// 2024, eq. 4).
    Forward,
}

impl Problem {
    /// The policy at which the policy gradient of the reward and this penalty is 0. With Q the
    /// expected reward under that policy, without KL, it is π ∝ p₀·exp(Q/β) or π = β·p₀/(μ − Q) at
    /// each prefix. This is not π*, because a per-token penalty ignores that a token changes the KL
    /// of later tokens (Tang & Munos 2025).
    ///
    /// # Panics
    /// If the prior is not a distribution and the penalty is [`Forward`](LocalPenalty::Forward).
    #[must_use]
    pub fn local_optimum(&self, penalty: LocalPenalty) -> Policy {
        let (tree, vocab) = (self.tree(), self.tree().vocab());
        let mut values = vec![0.0; tree.prefixes().len()];
        let mut log_dist = vec![0.0; values.len() * vocab];
        for node in (0..values.len()).rev() {
            let value = |child: &Child| match *child {
                Child::Prefix(next) => values[next],
                Child::Response(response) => self.rewards()[response],
            };
            let q: Vec<f64> = tree.children(node).iter().map(value).collect();
            let row = match penalty {
                LocalPenalty::Reverse => {
                    soft_backup(&q, self.prior().row(node), self.beta()).log_policy
                }
                LocalPenalty::Forward => forward(&q, self.prior().row(node), self.beta()),
            };
            values[node] = row.iter().zip(&q).map(|(&p, q)| weighted(p, *q)).sum();
            log_dist[node * vocab..][..vocab].copy_from_slice(&row);
        }
        Policy::from_log_dist(vocab, log_dist)
    }
}

/// log(β·p/(μ − Q)), with μ found by bisection so that it is normalized.
fn forward(q: &[f64], log_prior: &[f64], beta: f64) -> Vec<f64> {
    let log_policy = |mu: f64| -> Vec<f64> {
        let pairs = q.iter().zip(log_prior);
        pairs
            .map(|(q, log_p)| log_p + (beta / (mu - q)).ln())
            .collect()
    };
    let total = |mu| log_policy(mu).iter().map(|x| x.exp()).sum::<f64>();
    let support = q.iter().zip(log_prior).filter(|x| *x.1 > f64::NEG_INFINITY);
    let best = support.map(|x| *x.0).fold(f64::NEG_INFINITY, f64::max);
    // As μ decreases to max Q the total grows beyond 1; at max Q + β it is at most 1.
    let (mut low, mut high) = (best, best + beta);
    assert!(total(high) <= 1.0 + 1e-9, "the prior must be normalized");
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if total(middle) > 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    log_policy(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{close, exp};
    use crate::{Tree, reference_tree};

    #[test]
    fn local_optima_match_reference_values() {
        let problem = reference_tree(0.5);
        for (penalty, elbo, gap) in [
            (LocalPenalty::Reverse, 1.64376881, 0.01458072),
            (LocalPenalty::Forward, 1.61382055, 0.04452898),
        ] {
            let policy = problem.local_optimum(penalty);
            close(problem.evaluate(&policy).elbo, elbo, 1e-8);
            close(problem.gap(&policy, &problem.solve()).from_elbo, gap, 1e-8);
        }
    }

    /// With responses of one token there are no later tokens, so the reverse penalty gives π*.
    #[test]
    fn with_one_token_the_reverse_penalty_gives_pi_star() {
        let tree = Tree::new(4, None, 1);
        let prior = Policy::from_weights(&tree, &[vec![4.0, 3.0, 2.0, 1.0]]).unwrap();
        let problem = Problem::new(tree, prior, vec![0.0, 1.0, 0.5, 2.0], 0.5).unwrap();
        for (policy, expected) in [
            (
                problem.local_optimum(LocalPenalty::Forward),
                [0.09655085, 0.13999755, 0.06363560, 0.69981600],
            ),
            (
                problem.local_optimum(LocalPenalty::Reverse),
                [0.04640270, 0.25715411, 0.06306781, 0.63337538],
            ),
        ] {
            for (p, expected) in exp(policy.row(0)).into_iter().zip(expected) {
                close(p, expected, 1e-8);
            }
        }
    }
}
