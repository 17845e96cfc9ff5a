//! A problem of the oracle, with its reward, prior and initial policy as the objects of a run.

use anyhow::Result;
use rlhf_lm::{Table, TableConfig};
use rlhf_objective::{Finish, Prior, Prompt, Response, Sequences};
use rlhf_oracle::{Policy, Problem, Solution};
use rlhf_prior::{Counting, Frozen, Uniform};
use rlhf_reward::RewardTable;
use rlhf_tensor::Storage;
use std::sync::Arc;

/// Builds the prior; each run builds its own.
type MakePrior = Box<dyn Fn() -> Result<Box<dyn Prior>>>;

/// A problem, its exact solution and its prior.
pub struct World {
    /// The problem.
    pub problem: Problem,
    /// The solution for γ = 1.
    pub solution: Solution,
    /// γ, the discount of PPO.
    pub gamma: f64,
    prior: MakePrior,
}

impl World {
    /// Wraps a problem. Its prior becomes a counting or uniform prior if it equals one, else a frozen table.
    pub fn new(problem: Problem, gamma: f64) -> Self {
        let (tree, rows) = (problem.tree(), problem.prior());
        let vocab = tree.vocab();
        let prior: MakePrior = if *rows == Policy::counting(tree) {
            Box::new(move || Ok(Box::new(Counting::new(vocab))))
        } else if *rows == Policy::uniform(tree) {
            Box::new(move || Ok(Box::new(Uniform::new(vocab))))
        } else {
            let table = frozen(shape(&problem), rows.clone());
            Box::new(move || table().map(|prior| -> Box<dyn Prior> { Box::new(prior) }))
        };
        Self::with_prior(problem, gamma, prior)
    }

    /// Wraps a problem, with another implementation of the same prior.
    pub fn with_prior(problem: Problem, gamma: f64, prior: MakePrior) -> Self {
        Self {
            solution: problem.solve(),
            problem,
            gamma,
            prior,
        }
    }

    /// p₀.
    pub fn prior(&self) -> Result<Box<dyn Prior>> {
        (self.prior)()
    }

    /// r.
    pub fn reward(&self) -> RewardTable {
        let responses = self.problem.tree().responses().iter().cloned();
        let rewards = self.problem.rewards().iter().map(|&r| r as f32);
        RewardTable::new(responses.zip(rewards))
    }

    /// The initial policy of every run: uniform over the tokens in the prior's support. Starting at the
    /// prior, a sampling method would rarely see its least likely responses, which may be optimal at a
    /// small β.
    pub fn start(&self) -> Result<Table> {
        let logit = |&log_p: &f64| {
            if log_p.is_finite() {
                0.0
            } else {
                f32::NEG_INFINITY
            }
        };
        let logits: Vec<f32> = self.problem.prior().log_dist().iter().map(logit).collect();
        let shape = shape(&self.problem);
        Ok(Table::with_logits(shape, &logits, Storage::Trainable)?)
    }

    /// The policy of a table of logits.
    pub fn policy(&self, table: &Table) -> Policy {
        let logits: Vec<f64> = table.logits().iter().map(|&x| f64::from(x)).collect();
        Policy::from_logits(self.problem.tree().vocab(), &logits)
    }

    /// The prompt of all responses. The problem has none, so it is an arbitrary token.
    pub fn prompt() -> Arc<Prompt> {
        Arc::new(Prompt::from_ids(vec![0]))
    }

    /// The responses with these indices, as sequences.
    pub fn sequences(&self, responses: &[usize]) -> rlhf_objective::Result<Sequences> {
        let tree = self.problem.tree();
        let response = |&y: &usize| {
            let ids = tree.responses()[y].clone();
            let finish = if tree.eos() == ids.last().copied() {
                Finish::Eos
            } else {
                Finish::Length
            };
            Arc::new(Response::new(0, ids, finish))
        };
        let responses = responses.iter().map(response).collect();
        Sequences::from_shared(vec![Self::prompt()], responses)
    }

    /// The indices of the responses in the prior's support.
    pub fn support(&self) -> Vec<usize> {
        let (_, log_prior) = self.problem.prior().log_probs(self.problem.tree());
        let all = log_prior.iter().enumerate();
        all.filter(|(_, log_p)| log_p.is_finite())
            .map(|(y, _)| y)
            .collect()
    }
}

/// The shape of a table over a problem's prefixes; its rows are in the order of the tree.
#[must_use]
pub fn shape(problem: &Problem) -> TableConfig {
    let tree = problem.tree();
    TableConfig::prefixes(tree.vocab(), tree.eos(), tree.horizon())
}

/// Builds a frozen table of a policy's rows, as a prior of a [`World`].
pub fn frozen(shape: TableConfig, rows: Policy) -> impl Fn() -> Result<Frozen> {
    move || {
        let table = Table::with_logits(shape, &to_f32(&rows), Storage::Frozen)?;
        Ok(Frozen::new(Box::new(table))?)
    }
}

fn to_f32(rows: &Policy) -> Vec<f32> {
    rows.log_dist().iter().map(|&x| x as f32).collect()
}
