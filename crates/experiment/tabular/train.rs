//! A method on a world, and how near it came.

use super::world::World;
use super::{Recipe, TabularMethod};
use anyhow::{Context, Result, ensure};
use rlhf_dpo::{Batch, Dpo, PairSource};
use rlhf_journal::{Existing, Journal, checkpoints};
use rlhf_lm::{Model, Table};
use rlhf_objective::{Beta, KlPenalty, Objective, Pairs};
use rlhf_oracle::Policy;
use rlhf_policy::{Draw, Networks, Sampling, SavedNetwork};
use rlhf_ppo::{Advantages, Ppo};
use rlhf_reinforce::{Baseline, KlPlacement, PolicyGradient, VarGrad, VarGradConfig};
use rlhf_tensor::{AdamW, Rng, Storage, Stream};
use rlhf_train::{
    Interrupt, Learner, Method, Observer, Online, Optim, Progress, Prompts, Run, Schedule, Source,
    State, WarmUp, offline, online,
};
use serde::Serialize;
use std::path::Path;

/// How often a run is measured on its way.
const STOPS: usize = 10;
/// The most pairs that dpo goes through; of larger problems they are drawn at random.
const PAIRS: usize = 8192;

/// Where a run was after some steps, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stop {
    /// Steps done.
    pub step: usize,
    /// Responses drawn, or read by dpo, so far.
    pub samples: usize,
    /// E\[r\], in units of the reward.
    pub reward: f64,
    /// KL(π ‖ p₀), nats.
    pub kl: f64,
    /// J, in units of the reward.
    pub elbo: f64,
    /// β·log Z − J, in units of the reward.
    pub gap: f64,
}

/// Where a run went.
pub struct Reached {
    /// From the start to the end.
    pub path: Vec<Stop>,
    /// The policy at the end.
    pub policy: Policy,
}

impl Reached {
    /// Where it ended.
    #[must_use]
    pub fn last(&self) -> Stop {
        self.path[self.path.len() - 1]
    }

    /// KL(π ‖ π*) at the end, nats.
    #[must_use]
    pub fn kl_to_optimum(&self, world: &World) -> f64 {
        self.last().gap / world.problem.beta()
    }
}

/// Trains a method by a recipe.
///
/// # Errors
/// If the method refuses the recipe or the world, or a step fails.
pub fn train(world: &World, method: TabularMethod, recipe: Recipe, seed: u64) -> Result<Reached> {
    let runner = Runner {
        world,
        recipe,
        seed,
    };
    let gradient = |baseline| PolicyGradient::new(baseline, KlPlacement::Reward);
    match method {
        TabularMethod::PpoKl => runner.online(Ppo::new(rlhf_ppo::Config {
            lambda: 1.0,
            gamma: world.gamma,
            epochs: recipe.epochs,
            advantages: Advantages::Raw,
            ..rlhf_ppo::Config::default()
        })?),
        TabularMethod::Rloo => runner.online(gradient(Baseline::LeaveOneOut)?),
        TabularMethod::Reinforce => runner.online(gradient(Baseline::Moving { decay: 0.9 })?),
        TabularMethod::Grpo => runner.online(gradient(Baseline::Group)?),
        TabularMethod::Vargrad => runner.online(VarGrad::new(VarGradConfig {
            epochs: recipe.epochs,
            minibatches: 1,
        })?),
        TabularMethod::Dpo => runner.dpo(),
    }
}

/// Trains any method or learner on a world: what those that have a name share, for others.
pub struct Runner<'a> {
    /// What is learned.
    pub world: &'a World,
    /// How long and how fast.
    pub recipe: Recipe,
    /// Of all random numbers.
    pub seed: u64,
}

impl Runner<'_> {
    fn penalty(&self) -> Result<KlPenalty> {
        let beta = Beta::Fixed(self.world.problem.beta());
        Ok(KlPenalty::new(self.world.prior()?, beta))
    }

    /// The world's reward, prior and β.
    ///
    /// # Errors
    /// If the prior cannot be made.
    pub fn objective(&self) -> Result<Objective> {
        Ok(Objective::new(
            Box::new(self.world.reward()),
            self.penalty()?,
        ))
    }

    /// `recipe.steps` iterations of sampling `recipe.responses` responses and learning from them.
    ///
    /// # Errors
    /// If a step fails.
    pub fn online<M: Method>(&self, mut method: M) -> Result<Reached> {
        let (tree, recipe) = (self.world.problem.tree(), self.recipe);
        let mut objective = self.objective()?;
        let settings = Online {
            iterations: recipe.steps,
            prompts: 1,
            sampling: Sampling {
                samples: recipe.responses,
                max_new_tokens: tree.horizon(),
                rows: recipe.responses,
                stop: tree.eos().into_iter().collect(),
                context: tree.horizon(),
                draw: Draw::Sample,
                seed: self.seed,
                step: 0,
            },
            optim: self.optim(),
            log_samples: 0,
        };
        let mut prompts = vec![World::prompt()];
        let prompts = Prompts {
            prompts: &mut prompts,
            decode: &|_| String::new(),
        };
        self.measured(recipe.responses, |policy, run| {
            online(policy, &mut objective, &mut method, prompts, &settings, run)?;
            Ok(())
        })
    }

    /// One optimizer step a batch of `source`, each of `responses` responses.
    ///
    /// # Errors
    /// If a step fails.
    pub fn offline<L: Learner, S: Source<Batch = L::Batch>>(
        &self,
        learner: &L,
        mut source: S,
        responses: usize,
    ) -> Result<Reached> {
        let optim = self.optim();
        self.measured(responses, |policy, run| {
            offline(policy, learner, &mut source, &optim, run)?;
            Ok(())
        })
    }

    /// Pairs of different responses that the prior allows, every one where they are few, else drawn
    /// at random; the label of each is its probability by Bradley and Terry's model, σ(r₁ − r₂), so
    /// that no label is noise.
    fn dpo(&self) -> Result<Reached> {
        let pairs = self.pairs()?;
        let rewards = self.world.problem.rewards();
        let label = |pair: &[usize; 2]| 1.0 / (1.0 + (rewards[pair[1]] - rewards[pair[0]]).exp());
        let labels: Vec<f64> = pairs.iter().map(label).collect();
        let sequences = self.world.sequences(&pairs.concat())?;
        let with_prior = self
            .penalty()?
            .with_prior(Pairs::new(sequences)?, usize::MAX)?;
        let all = Batch::with_labels(with_prior, &labels, &vec![1.0; labels.len()])?;
        let per_step = (self.recipe.responses / 2).min(pairs.len());
        let steps_a_pass = pairs.len().div_ceil(per_step);
        let passes = self.recipe.steps.div_ceil(steps_a_pass);
        let source = PairSource::new(all, per_step, passes, self.seed)?;
        let learner = Dpo::new(&rlhf_dpo::Config::default())?;
        self.offline(&learner, source, 2 * per_step)
    }

    fn pairs(&self) -> Result<Vec<[usize; 2]>> {
        let support = self.world.support();
        ensure!(
            support.len() > 1,
            "the prior allows one response only: there is nothing to prefer"
        );
        if support.len() * (support.len() - 1) / 2 <= PAIRS {
            let partners = |i: usize| (0..i).map(move |j| (i, j));
            let all = (0..support.len()).flat_map(partners);
            return Ok(all.map(|(i, j)| [support[i], support[j]]).collect());
        }
        let mut rng = Rng::new(self.seed, Stream::Data, 0, 0);
        let mut draw = || {
            let i = rng.below(support.len());
            // Another one, each as likely as any other.
            let j = (i + 1 + rng.below(support.len() - 1)) % support.len();
            [support[i], support[j]]
        };
        Ok((0..PAIRS).map(|_| draw()).collect())
    }

    /// Runs `work` on a fresh policy in a folder of its own, and measures what it left there: the
    /// same checkpoints that `rlhf eval` reads.
    fn measured(
        &self,
        responses: usize,
        work: impl FnOnce(&mut Networks, &mut Run<'_>) -> Result<()>,
    ) -> Result<Reached> {
        let folder = tempfile::tempdir().context("no folder for the run")?;
        let mut journal = Journal::create(folder.path(), Existing::Overwrite)?;
        let start = self.world.start()?;
        let mut policy = self.world.policy(&start);
        let mut path = vec![self.stop(0, 0, &policy)];
        work(
            &mut networks(start)?,
            &mut Run {
                journal: &mut journal,
                observer: &mut Nobody,
                interrupt: &Interrupt::new(),
                start: State::default(),
                save_every: Some(self.recipe.steps.div_ceil(STOPS)),
            },
        )?;
        for checkpoint in checkpoints(folder.path())? {
            policy = self.at(&checkpoint.path)?;
            path.push(self.stop(checkpoint.step, checkpoint.step * responses, &policy));
        }
        Ok(Reached { path, policy })
    }

    fn at(&self, folder: &Path) -> Result<Policy> {
        Ok(self.world.policy(&Table::load(folder, Storage::Frozen)?))
    }

    fn stop(&self, step: usize, samples: usize, policy: &Policy) -> Stop {
        let World {
            problem, solution, ..
        } = self.world;
        let measured = problem.evaluate(policy);
        Stop {
            step,
            samples,
            reward: measured.expected_reward,
            kl: measured.kl,
            elbo: measured.elbo,
            gap: problem.gap(policy, solution).from_responses,
        }
    }

    fn optim(&self) -> Optim {
        Optim {
            adamw: AdamW::default(),
            learning_rate: self.recipe.learning_rate,
            schedule: Schedule {
                decay: self.recipe.decay,
                warm_up: WarmUp::Steps(0),
            },
            clip: None,
            micro_batch_tokens: usize::MAX,
        }
    }
}

/// A table as the policy, with its values as the critic of methods that need one.
///
/// # Errors
/// If the roles conflict.
pub fn networks(table: Table) -> Result<Networks> {
    let policy = SavedNetwork::new(table, |table, folder| table.save(folder));
    Ok(Networks::policy(policy).with_value_head()?)
}

/// Nobody looks on.
struct Nobody;

impl Observer for Nobody {
    fn step(&mut self, _: &Progress<'_>) {}
}
