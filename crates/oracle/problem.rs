//! A KL-regularized problem on a token tree, and its exact solution.

use crate::backup::weighted;
use crate::error::check_positive;
use crate::tree::join_ids;
use crate::{Child, Error, Policy, Responses, Result, Tree, soft_backup};

/// The problem of maximizing E_π\[r\] − β·KL(π ‖ p₀) over policies on a tree, with a reward for each
/// complete response.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub(crate) tree: Tree,
    pub(crate) prior: Policy,
    pub(crate) rewards: Vec<f64>,
    pub(crate) beta: f64,
}

/// V, Q and π* of a [`Problem`].
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// V of each incomplete prefix, in units of the reward. At the root, β·log Z.
    pub values: Vec<f64>,
    /// Q of each token at each incomplete prefix, [prefixes × A].
    pub q: Vec<f64>,
    /// π*.
    pub policy: Policy,
    beta: f64,
}

impl Solution {
    /// log Z = log E_p₀[exp(r/β)], nats.
    #[must_use]
    pub fn log_z(&self) -> f64 {
        self.values[0] / self.beta
    }

    /// V at the root, the maximum of J, in units of the reward.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.values[0]
    }
}

impl Policy {
    /// The policy π(y) ∝ weight(y), from one log-weight per response, and the log of the total
    /// weight. The probability of a token is the share of the weight of responses that extend it.
    ///
    /// # Panics
    /// If the number of log-weights is not that of the responses, or all are −∞.
    #[must_use]
    pub fn from_responses(tree: &Tree, log_weights: &[f64]) -> (Self, f64) {
        let problem = Problem {
            prior: Self::counting(tree),
            tree: tree.clone(),
            rewards: log_weights.to_vec(),
            beta: 1.0,
        };
        let solution = problem.solve();
        let log_z = solution.log_z();
        (solution.policy, log_z)
    }
}

impl Problem {
    /// A problem with one reward per response, in the tree's order.
    ///
    /// # Errors
    /// If β is not positive, the prior is over another tree, or a reward is missing or not finite.
    pub fn new(tree: Tree, prior: Policy, rewards: Vec<f64>, beta: f64) -> Result<Self> {
        check_positive("beta", beta)?;
        if prior.vocab() != tree.vocab()
            || prior.log_dist().len() != tree.prefixes().len() * tree.vocab()
        {
            return Err(Error::at("prior", "is over another tree"));
        }
        if rewards.len() != tree.responses().len() {
            let (got, expected) = (rewards.len(), tree.responses().len());
            return Err(Error::at(
                "reward",
                format!("{got} rewards for {expected} responses"),
            ));
        }
        if let Some(bad) = rewards.iter().position(|reward| !reward.is_finite()) {
            let place = format!("reward of \"{}\"", join_ids(&tree.responses()[bad]));
            return Err(Error::at(
                place,
                format!("is {}; it must be finite", rewards[bad]),
            ));
        }
        Ok(Self {
            tree,
            prior,
            rewards,
            beta,
        })
    }

    /// The same problem with another prior over the same tree.
    ///
    /// # Errors
    /// If the prior is over another tree.
    pub fn with_prior(&self, prior: Policy) -> Result<Self> {
        Self::new(self.tree.clone(), prior, self.rewards.clone(), self.beta)
    }

    /// The same problem at another β.
    ///
    /// # Errors
    /// If β is not positive.
    pub fn with_beta(&self, beta: f64) -> Result<Self> {
        Self::new(
            self.tree.clone(),
            self.prior.clone(),
            self.rewards.clone(),
            beta,
        )
    }

    /// The same problem with other rewards.
    ///
    /// # Errors
    /// If there is not one finite reward per response.
    pub fn with_rewards(&self, rewards: Vec<f64>) -> Result<Self> {
        Self::new(self.tree.clone(), self.prior.clone(), rewards, self.beta)
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// p₀.
    #[must_use]
    pub fn prior(&self) -> &Policy {
        &self.prior
    }

    /// r(y) of each response.
    #[must_use]
    pub fn rewards(&self) -> &[f64] {
        &self.rewards
    }

    /// β.
    #[must_use]
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// The optimum, by backward recursion: Q(s,a) = r if s·a is complete, else V(s·a), and V by
    /// [`soft_backup`] (Levine 2018, §2.2).
    #[must_use]
    pub fn solve(&self) -> Solution {
        self.solve_discounted(1.0)
    }

    /// The same recursion with Q(s,a) = γ·V(s·a): the solution that a method with discount γ
    /// converges to. Its `values` are discounted; its policy is not π* unless γ = 1.
    #[must_use]
    pub fn solve_discounted(&self, gamma: f64) -> Solution {
        let vocab = self.tree.vocab();
        let nodes = self.tree.prefixes().len();
        let mut values = vec![0.0; nodes];
        let mut q = vec![0.0; nodes * vocab];
        let mut log_dist = vec![0.0; nodes * vocab];
        for node in (0..nodes).rev() {
            let row = node * vocab..(node + 1) * vocab;
            self.q_row(node, &values, gamma, &mut q[row.clone()]);
            let backup = soft_backup(&q[row.clone()], self.prior.row(node), self.beta);
            values[node] = backup.value;
            log_dist[row].copy_from_slice(&backup.log_policy);
        }
        Solution {
            values,
            q,
            policy: Policy::from_log_dist(vocab, log_dist),
            beta: self.beta,
        }
    }

    /// Q(s,·) at `node` given V at its children.
    pub(crate) fn q_row(&self, node: usize, values: &[f64], gamma: f64, q: &mut [f64]) {
        for (q, child) in q.iter_mut().zip(self.tree.children(node)) {
            *q = match *child {
                Child::Response(response) => self.rewards[response],
                Child::Prefix(next) => gamma * values[next],
            };
        }
    }

    /// V^π(s) = Σ_a π(a|s)·(Q^π(s,a) − β·(log π − log p₀)) of each incomplete prefix, and Q^π.
    #[must_use]
    pub fn policy_values(&self, policy: &Policy) -> (Vec<f64>, Vec<f64>) {
        let vocab = self.tree.vocab();
        let nodes = self.tree.prefixes().len();
        let mut values = vec![0.0; nodes];
        let mut q = vec![0.0; nodes * vocab];
        for node in (0..nodes).rev() {
            let row = node * vocab..(node + 1) * vocab;
            self.q_row(node, &values, 1.0, &mut q[row.clone()]);
            values[node] = q[row]
                .iter()
                .zip(policy.row(node).iter().zip(self.prior.row(node)))
                .map(|(q, (&log_pi, log_p))| weighted(log_pi, q - self.beta * (log_pi - log_p)))
                .sum();
        }
        (values, q)
    }

    /// The problem with whole responses as actions.
    #[must_use]
    pub fn responses(&self) -> Responses {
        let (_, log_prior) = self.prior.log_probs(&self.tree);
        Responses::new(log_prior, self.rewards.clone()).expect("a problem has been checked")
    }
}
