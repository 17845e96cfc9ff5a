//! Trains one method with one prior on one tree, and measures its KL to the exact optimum.

use anyhow::Result;
use rlhf_experiment::tabular::{
    Reached, Recipe, Runner, TabularMethod, World, frozen, networks, shape, train,
};
use rlhf_objective::{PerToken, Prior, Result as ObjectiveResult};
use rlhf_oracle::{Policy, Problem, Tree, reference_demonstrations, reference_tree};
use rlhf_policy::{Sampled, score};
use rlhf_prior::Mixture;
use rlhf_reinforce::{VarGrad, VarGradBatch, VarGradConfig};
use rlhf_tensor::{Rng, Stream};
use rlhf_train::{LrSchedule, Source};
use serde::Serialize;
use std::fmt;

/// The names of the priors in reports.
pub(crate) const PRIORS: [&str; 5] = [
    "counting",
    "uniform",
    "reference",
    "demonstrations",
    "geometric mixture",
];

/// A method and its data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TreeMethod {
    /// A method that trains on its own samples.
    Sampled(TabularMethod),
    /// VarGrad on all responses with equal weights, so that the loss is an exact expectation.
    VargradExact,
    /// DPO on all pairs, labelled with their preference probabilities.
    DpoSoft,
}

impl fmt::Display for TreeMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sampled(method) => write!(f, "{method}, sampled"),
            Self::VargradExact => f.write_str("vargrad, exact expectations"),
            Self::DpoSoft => f.write_str("dpo, soft labels"),
        }
    }
}

impl Serialize for TreeMethod {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl TreeMethod {
    /// All methods.
    pub(crate) const ALL: [Self; 5] = [
        Self::Sampled(TabularMethod::PpoKl),
        Self::Sampled(TabularMethod::Rloo),
        Self::Sampled(TabularMethod::Vargrad),
        Self::VargradExact,
        Self::DpoSoft,
    ];

    /// The greatest KL(π ‖ π*) allowed after training, nats.
    pub(crate) fn bound(self) -> f64 {
        match self {
            Self::Sampled(_) => 0.02,
            Self::VargradExact => 2e-3,
            Self::DpoSoft => 1e-3,
        }
    }

    fn train(self, world: &World, seed: u64) -> Result<Reached> {
        let recipe = Recipe::of;
        match self {
            Self::Sampled(method) => train(world, method, recipe(method), seed),
            Self::DpoSoft => train(world, TabularMethod::Dpo, recipe(TabularMethod::Dpo), seed),
            Self::VargradExact => vargrad_exact(world, seed),
        }
    }
}

/// A problem on a tree that is solved with each of several priors.
pub(crate) struct TreeProblem {
    pub(crate) name: String,
    /// The problem with the reference prior.
    pub(crate) problem: Problem,
    pub(crate) demonstrations: Policy,
}

impl TreeProblem {
    /// The reference tree at β = 0.5.
    pub(crate) fn reference() -> Self {
        Self {
            name: "reference tree".into(),
            problem: reference_tree(0.5),
            demonstrations: reference_demonstrations(),
        }
    }

    /// A random tree of 2–4 tokens and 2–4 steps, with or without eos; rows from a Dirichlet
    /// distribution of concentration 0.7, N(0, 1) rewards, and β log-uniform in [0.16, 4].
    pub(crate) fn random(index: u64) -> Self {
        let mut rng = Rng::new(index, Stream::Data, 0, 0);
        let (vocab, horizon) = (2 + rng.below(3), 2 + rng.below(3));
        let eos = (rng.below(2) == 0).then_some(vocab as u32 - 1);
        let tree = Tree::new(vocab, eos, horizon);
        let mut rows = || -> Policy {
            let row = |_: &Vec<u32>| (0..vocab).map(|_| gamma(0.7, &mut rng)).collect();
            let rows: Vec<Vec<f64>> = tree.prefixes().iter().map(row).collect();
            Policy::from_weights(&tree, &rows).expect("positive weights")
        };
        let (reference, demonstrations) = (rows(), rows());
        let rewards = tree.responses().iter().map(|_| rng.normal()).collect();
        let beta = 0.16 * 25f64.powf(rng.uniform());
        Self {
            name: format!("random {index}"),
            problem: Problem::new(tree, reference, rewards, beta).expect("a valid problem"),
            demonstrations,
        }
    }

    /// The problem with one of the [`PRIORS`], as a world with a `Prior` object.
    pub(crate) fn world(&self, prior: &str) -> World {
        let (tree, reference) = (self.problem.tree(), self.problem.prior());
        let with = |prior: Policy| {
            self.problem
                .with_prior(prior)
                .expect("a prior over the same tree")
        };
        match prior {
            "counting" => World::new(with(Policy::counting(tree)), 1.0),
            "uniform" => World::new(with(Policy::uniform(tree)), 1.0),
            "reference" => World::new(self.problem.clone(), 1.0),
            "demonstrations" => World::new(with(self.demonstrations.clone()), 1.0),
            _ => {
                let pairs = reference
                    .log_dist()
                    .iter()
                    .zip(self.demonstrations.log_dist());
                let means: Vec<f64> = pairs.map(|(a, b)| 0.5 * (a + b)).collect();
                let rows = Policy::from_logits(tree.vocab(), &means);
                let shape = shape(&self.problem);
                let first = frozen(shape, reference.clone());
                let second = frozen(shape, self.demonstrations.clone());
                let mixture = move || -> Result<Box<dyn Prior>> {
                    let (first, second) = (Box::new(first()?), Box::new(second()?));
                    Ok(Box::new(Mixture::geometric_per_token(first, second, 0.5)?))
                };
                World::with_prior(with(rows), 1.0, Box::new(mixture))
            }
        }
    }
}

/// A gamma-distributed sample of unit scale and shape below 1 (Jöhnk 1964).
fn gamma(shape: f64, rng: &mut Rng) -> f64 {
    loop {
        let x = rng.uniform().powf(1.0 / shape);
        let y = rng.uniform().powf(1.0 / (1.0 - shape));
        if x + y > 0.0 && x + y <= 1.0 {
            // Never 0, so that every token has positive probability.
            return (x / (x + y) * -(1.0 - rng.uniform()).ln()).max(1e-9);
        }
    }
}

/// The result of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Cell {
    pub(crate) tree: String,
    pub(crate) prior: String,
    pub(crate) learns: TreeMethod,
    pub(crate) seed: u64,
    pub(crate) beta: f64,
    pub(crate) responses: usize,
    pub(crate) value: f64,
    pub(crate) elbo: f64,
    pub(crate) kl_to_optimum: f64,
    pub(crate) bound: f64,
}

/// Trains one method with one prior on one problem.
pub(crate) fn run_cell(
    problem: &TreeProblem,
    prior: &str,
    method: TreeMethod,
    seed: u64,
) -> Result<Cell> {
    let world = problem.world(prior);
    let reached = method.train(&world, seed)?;
    Ok(Cell {
        tree: problem.name.clone(),
        prior: prior.into(),
        learns: method,
        seed,
        beta: world.problem.beta(),
        responses: world.problem.tree().responses().len(),
        value: world.solution.value(),
        elbo: reached.last().elbo,
        kl_to_optimum: reached.kl_to_optimum(&world),
        bound: method.bound(),
    })
}

/// A source that yields the same batch at each step.
struct RepeatedBatch<B> {
    batch: B,
    steps: usize,
}

impl<B: Clone> Source for RepeatedBatch<B> {
    type Batch = B;

    fn steps(&self) -> usize {
        self.steps
    }

    fn batch(&mut self, _: usize) -> ObjectiveResult<B> {
        Ok(self.batch.clone())
    }
}

/// VarGrad on one group of all responses of positive prior probability.
fn vargrad_exact(world: &World, seed: u64) -> Result<Reached> {
    let runner = Runner {
        world,
        recipe: Recipe {
            steps: 2000,
            responses: 0,
            learning_rate: 0.1,
            decay: LrSchedule::Cosine,
            epochs: 1,
        },
        seed,
    };
    let sequences = world.sequences(&world.support())?;
    let zeros = vec![0.0; sequences.tokens()];
    let sampled = Sampled {
        log_probs: PerToken::from_vec(zeros, sequences.offsets())?,
        sequences,
    };
    let responses = sampled.sequences.len();
    let mut start = networks(world.start()?)?;
    let mut objective = runner.objective()?;
    let prior = objective.penalty().prior();
    let rollouts = score(&mut start, prior, sampled, usize::MAX, usize::MAX)?;
    let batch = VarGradBatch::new(objective.rewards(rollouts)?)?;
    let steps = runner.recipe.steps;
    let method = VarGrad::new(VarGradConfig::default())?;
    runner.offline(&method, RepeatedBatch { batch, steps }, responses)
}
