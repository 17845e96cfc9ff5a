//! A problem of the oracle as the objects of a run.

use anyhow::Result;
use rlhf_lm::{Table, TableConfig};
use rlhf_objective::{Finish, Prior, Prompt, Response, Sequences};
use rlhf_oracle::{Policy, Problem, Solution};
use rlhf_prior::{Counting, Frozen, Uniform};
use rlhf_reward::RewardTable;
use rlhf_tensor::Storage;
use std::sync::Arc;

/// Makes p₀: each run takes one of its own.
type MakePrior = Box<dyn Fn() -> Result<Box<dyn Prior>>>;

/// A problem, its exact solution, and the prior that a run on it has.
pub struct World {
    /// The problem.
    pub problem: Problem,
    /// At γ = 1, whatever γ is.
    pub solution: Solution,
    /// γ: what ppo discounts by.
    pub gamma: f64,
    prior: MakePrior,
}

impl World {
    /// With the prior of the problem: counting or uniform where its rows say so, else a frozen table
    /// of them.
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

    /// With another object for the same prior.
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

    /// Where every run starts: every token that the prior allows is as likely as every other. From
    /// the prior itself a method that samples would never see the responses it all but forbids, and
    /// at a small β some of them may be the best.
    pub fn start(&self) -> Result<Table> {
        let open = |&log_p: &f64| {
            if log_p.is_finite() {
                0.0
            } else {
                f32::NEG_INFINITY
            }
        };
        let logits: Vec<f32> = self.problem.prior().log_dist().iter().map(open).collect();
        let shape = shape(&self.problem);
        Ok(Table::with_logits(shape, &logits, Storage::Trainable)?)
    }

    /// The policy that a table is.
    pub fn policy(&self, table: &Table) -> Policy {
        let logits: Vec<f64> = table.logits().iter().map(|&x| f64::from(x)).collect();
        Policy::from_logits(self.problem.tree().vocab(), &logits)
    }

    /// What it takes to say that a response is one of the problem's: any one token will do.
    pub fn prompt() -> Arc<Prompt> {
        Arc::new(Prompt::from_ids(vec![0]))
    }

    /// The responses of these indices.
    pub fn sequences(&self, responses: &[usize]) -> rlhf_objective::Result<Sequences> {
        let tree = self.problem.tree();
        let answer = |&y: &usize| {
            let ids = tree.responses()[y].clone();
            let finish = match tree.eos() == ids.last().copied() {
                true => Finish::Eos,
                false => Finish::Length,
            };
            Arc::new(Response::new(0, ids, finish))
        };
        let answers = responses.iter().map(answer).collect();
        Sequences::from_shared(vec![Self::prompt()], answers)
    }

    /// The responses that the prior allows, by index.
    pub fn support(&self) -> Vec<usize> {
        let (_, log_prior) = self.problem.prior().log_probs(self.problem.tree());
        let allowed = log_prior.iter().enumerate();
        allowed
            .filter(|(_, log_p)| log_p.is_finite())
            .map(|(y, _)| y)
            .collect()
    }
}

/// The shape of a table over a problem's responses; its rows come in the order of the tree's.
#[must_use]
pub fn shape(problem: &Problem) -> TableConfig {
    let tree = problem.tree();
    TableConfig::prefixes(tree.vocab(), tree.eos(), tree.horizon())
}

/// Makes a frozen table of a policy's rows, as a prior of a [`World`].
pub fn frozen(shape: TableConfig, rows: Policy) -> impl Fn() -> Result<Frozen> {
    move || {
        let table = Table::with_logits(shape, &narrow(&rows), Storage::Frozen)?;
        Ok(Frozen::new(Box::new(table))?)
    }
}

fn narrow(rows: &Policy) -> Vec<f32> {
    rows.log_dist().iter().map(|&x| x as f32).collect()
}
