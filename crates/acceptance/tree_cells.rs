//! Every method with every prior on every tree: the same optimum.

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

/// The priors, as they are called in reports.
pub(crate) const PRIORS: [&str; 5] = [
    "counting",
    "uniform",
    "reference",
    "demonstrations",
    "geometric mixture",
];

/// How a method learns, and how near it must come: KL(π ‖ π*), nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Learns {
    /// From its own samples.
    Sampled(TabularMethod),
    /// VarGrad on every response, each as likely as every other: its loss is an exact expectation.
    VargradExact,
    /// DPO on every pair, labelled with its probability.
    DpoSoft,
}

impl fmt::Display for Learns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sampled(method) => write!(f, "{method}, sampled"),
            Self::VargradExact => f.write_str("vargrad, exact expectations"),
            Self::DpoSoft => f.write_str("dpo, soft labels"),
        }
    }
}

impl Serialize for Learns {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Learns {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Sampled(TabularMethod::PpoKl),
        Self::Sampled(TabularMethod::Rloo),
        Self::Sampled(TabularMethod::Vargrad),
        Self::VargradExact,
        Self::DpoSoft,
    ];

    /// The most KL(π ‖ π*) that it may leave, nats.
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

/// What is to be solved with each of several priors.
pub(crate) struct Ground {
    pub(crate) name: String,
    /// With the reference as its prior.
    pub(crate) problem: Problem,
    pub(crate) demonstrations: Policy,
}

impl Ground {
    /// The golden tree at β = 0.5.
    pub(crate) fn gold() -> Self {
        Self {
            name: "gold".into(),
            problem: reference_tree(0.5),
            demonstrations: reference_demonstrations(),
        }
    }

    /// 2–4 tokens, 2–4 steps, with or without eos; rows from a Dirichlet distribution of
    /// concentration 0.7, N(0, 1) rewards, and β log-uniform in [0.16, 4].
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
            problem: Problem::new(tree, reference, rewards, beta).expect("a problem"),
            demonstrations,
        }
    }

    /// The problem with one of the [`PRIORS`], and the real object of that prior.
    pub(crate) fn world(&self, prior: &str) -> World {
        let (tree, reference) = (self.problem.tree(), self.problem.prior());
        let with = |prior: Policy| self.problem.with_prior(prior).expect("of the same tree");
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

/// A gamma-distributed number of unit scale and shape below 1 (Jöhnk 1964).
fn gamma(shape: f64, rng: &mut Rng) -> f64 {
    loop {
        let x = rng.uniform().powf(1.0 / shape);
        let y = rng.uniform().powf(1.0 / (1.0 - shape));
        if x + y > 0.0 && x + y <= 1.0 {
            // Never 0, so that every token may be said.
            return (x / (x + y) * -(1.0 - rng.uniform()).ln()).max(1e-9);
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Cell {
    pub(crate) tree: String,
    pub(crate) prior: String,
    pub(crate) learns: Learns,
    pub(crate) seed: u64,
    pub(crate) beta: f64,
    pub(crate) responses: usize,
    pub(crate) value: f64,
    pub(crate) elbo: f64,
    pub(crate) kl_to_optimum: f64,
    pub(crate) bound: f64,
}

/// Trains one method with one prior on one ground.
pub(crate) fn cell(ground: &Ground, prior: &str, learns: Learns, seed: u64) -> Result<Cell> {
    let world = ground.world(prior);
    let reached = learns.train(&world, seed)?;
    Ok(Cell {
        tree: ground.name.clone(),
        prior: prior.into(),
        learns,
        seed,
        beta: world.problem.beta(),
        responses: world.problem.tree().responses().len(),
        value: world.solution.value(),
        elbo: reached.last().elbo,
        kl_to_optimum: reached.kl_to_optimum(&world),
        bound: learns.bound(),
    })
}

/// The same batch at each step.
struct Always<B> {
    batch: B,
    steps: usize,
}

impl<B: Clone> Source for Always<B> {
    type Batch = B;

    fn steps(&self) -> usize {
        self.steps
    }

    fn batch(&mut self, _: usize) -> ObjectiveResult<B> {
        Ok(self.batch.clone())
    }
}

/// VarGrad on one group of every response that the prior allows.
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
    runner.offline(&method, Always { batch, steps }, responses)
}
