//! Trains a method on a tabular problem and measures its gap to the optimum.

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

/// The number of checkpoints at which a run is measured.
const CHECKPOINTS: usize = 10;
/// The most pairs that DPO is trained on; for larger problems they are sampled.
const MAX_PAIRS: usize = 8192;

/// The exact reward, KL and gap of a policy after some steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TabularPoint {
    /// Steps done.
    pub step: usize,
    /// Responses sampled so far; for DPO, responses trained on.
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

/// The result of training on a tabular problem.
pub struct TabularRun {
    /// The measurements from the start to the end.
    pub path: Vec<TabularPoint>,
    /// The final policy.
    pub policy: Policy,
}

impl TabularRun {
    /// The measurement of the final policy.
    #[must_use]
    pub fn last(&self) -> TabularPoint {
        self.path[self.path.len() - 1]
    }

    /// KL(π ‖ π*) at the end, nats.
    #[must_use]
    pub fn kl_to_optimum(&self, world: &World) -> f64 {
        self.last().gap / world.problem.beta()
    }
}

/// Trains a method with the settings of a recipe.
///
/// # Errors
/// If the method's settings are invalid, or a step fails.
pub fn train(
    world: &World,
    method: TabularMethod,
    recipe: Recipe,
    seed: u64,
) -> Result<TabularRun> {
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

/// Trains any method or learner on a tabular problem.
pub struct Runner<'a> {
    /// The problem.
    pub world: &'a World,
    /// The length and learning rate.
    pub recipe: Recipe,
    /// The seed of all random numbers.
    pub seed: u64,
}

impl Runner<'_> {
    fn penalty(&self) -> Result<KlPenalty> {
        let beta = Beta::Fixed(self.world.problem.beta());
        Ok(KlPenalty::new(self.world.prior()?, beta))
    }

    /// The problem's reward, prior and β.
    ///
    /// # Errors
    /// If the prior cannot be built.
    pub fn objective(&self) -> Result<Objective> {
        Ok(Objective::new(
            Box::new(self.world.reward()),
            self.penalty()?,
        ))
    }

    /// Runs `recipe.steps` iterations, each on `recipe.responses` sampled responses.
    ///
    /// # Errors
    /// If a step fails.
    pub fn online<M: Method>(&self, mut method: M) -> Result<TabularRun> {
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

    /// Makes one optimizer step per batch of `source`; a batch has `responses` responses.
    ///
    /// # Errors
    /// If a step fails.
    pub fn offline<L: Learner, S: Source<Batch = L::Batch>>(
        &self,
        learner: &L,
        mut source: S,
        responses: usize,
    ) -> Result<TabularRun> {
        let optim = self.optim();
        self.measured(responses, |policy, run| {
            offline(policy, learner, &mut source, &optim, run)?;
            Ok(())
        })
    }

    /// Trains DPO on all pairs of responses in the prior's support, or on a sample of them if there are
    /// many. Labels are the Bradley–Terry probabilities σ(r₁ − r₂), so they carry no sampling noise.
    fn dpo(&self) -> Result<TabularRun> {
        let pairs = self.pairs()?;
        let rewards = self.world.problem.rewards();
        let label = |pair: &[usize; 2]| 1.0 / (1.0 + (rewards[pair[1]] - rewards[pair[0]]).exp());
        let labels: Vec<f64> = pairs.iter().map(label).collect();
        let sequences = self.world.sequences(&pairs.concat())?;
        let with_prior = self
            .penalty()?
            .with_prior(Pairs::new(sequences)?, usize::MAX)?;
        let all = Batch::with_labels(with_prior, &labels, &vec![1.0; labels.len()])?;
        let batch_size = (self.recipe.responses / 2).min(pairs.len());
        let steps_per_pass = pairs.len().div_ceil(batch_size);
        let passes = self.recipe.steps.div_ceil(steps_per_pass);
        let source = PairSource::new(all, batch_size, passes, self.seed)?;
        let learner = Dpo::new(&rlhf_dpo::Config::default())?;
        self.offline(&learner, source, 2 * batch_size)
    }

    fn pairs(&self) -> Result<Vec<[usize; 2]>> {
        let support = self.world.support();
        ensure!(
            support.len() > 1,
            "the prior has only one response in its support: dpo needs at least two"
        );
        if support.len() * (support.len() - 1) / 2 <= MAX_PAIRS {
            let partners = |i: usize| (0..i).map(move |j| (i, j));
            let all = (0..support.len()).flat_map(partners);
            return Ok(all.map(|(i, j)| [support[i], support[j]]).collect());
        }
        let mut rng = Rng::new(self.seed, Stream::Data, 0, 0);
        let mut draw = || {
            let i = rng.below(support.len());
            // A different response, uniformly.
            let j = (i + 1 + rng.below(support.len() - 1)) % support.len();
            [support[i], support[j]]
        };
        Ok((0..MAX_PAIRS).map(|_| draw()).collect())
    }

    /// Runs `work` on a new policy in a temporary folder, then measures the checkpoints that it wrote
    /// there.
    fn measured(
        &self,
        responses: usize,
        work: impl FnOnce(&mut Networks, &mut Run<'_>) -> Result<()>,
    ) -> Result<TabularRun> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut journal = Journal::create(folder.path(), Existing::Overwrite)?;
        let start = self.world.start()?;
        let mut policy = self.world.policy(&start);
        let mut path = vec![self.point(0, 0, &policy)];
        work(
            &mut networks(start)?,
            &mut Run {
                journal: &mut journal,
                observer: &mut NoObserver,
                interrupt: &Interrupt::new(),
                start: State::default(),
                save_every: Some(self.recipe.steps.div_ceil(CHECKPOINTS)),
            },
        )?;
        for checkpoint in checkpoints(folder.path())? {
            policy = self.load(&checkpoint.path)?;
            path.push(self.point(checkpoint.step, checkpoint.step * responses, &policy));
        }
        Ok(TabularRun { path, policy })
    }

    fn load(&self, folder: &Path) -> Result<Policy> {
        Ok(self.world.policy(&Table::load(folder, Storage::Frozen)?))
    }

    fn point(&self, step: usize, samples: usize, policy: &Policy) -> TabularPoint {
        let World {
            problem, solution, ..
        } = self.world;
        let measured = problem.evaluate(policy);
        TabularPoint {
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

/// The networks of a run whose policy is a table; its value column is the critic.
///
/// # Errors
/// If the roles conflict.
pub fn networks(table: Table) -> Result<Networks> {
    let policy = SavedNetwork::new(table, |table, folder| table.save(folder));
    Ok(Networks::policy(policy).with_value_head()?)
}

/// Ignores progress.
struct NoObserver;

impl Observer for NoObserver {
    fn step(&mut self, _: &Progress<'_>) {}
}
