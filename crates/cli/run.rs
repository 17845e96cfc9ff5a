//! The objects of a run, put together and handed to a loop.

use crate::config::{Config, MethodName};
use crate::dataset::{all_opinions, all_pairs, say_later, some_held_out};
use crate::held_out;
use crate::progress::Bar;
use crate::reward_model;
use crate::wiring::{self, Vocabulary};
use anyhow::{Context, Result};
use rlhf_journal::Journal;
use rlhf_objective::{Items, KlPenalty, Network, Objective, Pairs};
use rlhf_policy::{ActorCritic, Draw, Sampling};
use rlhf_ppo::Ppo;
use rlhf_reinforce::{Baseline, GradientConfig, MovingConfig, PolicyGradient, VarGrad};
use rlhf_reward::{BradleyTerry, BradleyTerryConfig, PairBatch, PairSource};
use rlhf_tensor::AdamW;
use rlhf_train::{
    Ended, Learner, Method, Online, Optim, Prompts, Run, Schedule, Source, State, WarmUp, evaluate,
    offline, online, restore,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where a run starts.
pub(crate) struct Start {
    folder: PathBuf,
    checkpoint: bool,
    /// What it has from the hub, for `run.json`.
    repositories: Vec<Value>,
}

impl Start {
    /// At the model of the settings.
    pub(crate) fn fresh(config: &Config) -> Result<Self> {
        let folder = wiring::model_path(config)?.into();
        Ok(Self {
            folder,
            checkpoint: false,
            repositories: Vec::new(),
        })
    }

    /// With what `run.json` says of repositories of the hub.
    pub(crate) fn with(self, repositories: Vec<Value>) -> Self {
        Self {
            repositories,
            ..self
        }
    }

    /// At a checkpoint of the run.
    pub(crate) fn at(checkpoint: &Path) -> Self {
        Self {
            folder: checkpoint.into(),
            checkpoint: true,
            repositories: Vec::new(),
        }
    }
}

/// Sets how many threads there are, once a process.
pub(crate) fn start_threads(config: &Config) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(config.train.threads);
    pool.build_global()
        .context("cannot start the threads of [train] threads")
}

/// Runs to the end or to an interrupt.
pub(crate) fn execute(config: &Config, journal: &mut Journal, start: &Start) -> Result<Ended> {
    let vocabulary = Vocabulary::load(wiring::model_path(config)?)?;
    let mut policy = wiring::policy(&start.folder, config)?;
    let state = match start.checkpoint {
        true => restore(&start.folder, &mut policy)?,
        false => State::default(),
    };
    let mut context = Surroundings {
        config,
        journal,
        state,
        vocabulary,
        repositories: &start.repositories,
    };
    let policy = &mut policy;
    let gradient = PolicyGradient::new;
    match config.objective.method() {
        MethodName::Ppo => context.online(policy, Ppo::new(config.method()?)?),
        MethodName::Rloo => {
            let GradientConfig { kl } = config.method()?;
            context.online(policy, gradient(Baseline::LeaveOneOut, kl)?)
        }
        MethodName::Grpo => {
            let GradientConfig { kl } = config.method()?;
            context.online(policy, gradient(Baseline::Group, kl)?)
        }
        MethodName::Reinforce => {
            let MovingConfig { decay, kl } = config.method()?;
            context.online(policy, gradient(Baseline::Moving { decay }, kl)?)
        }
        MethodName::Vargrad => context.online(policy, VarGrad::new(config.method()?)?),
        MethodName::Dpo => context.dpo(policy),
        MethodName::Kto => context.kto(policy),
        MethodName::Sft => context.sft(policy),
        MethodName::Reward => context.reward(policy),
    }
}

/// What the methods share.
struct Surroundings<'a> {
    config: &'a Config,
    journal: &'a mut Journal,
    state: State,
    vocabulary: Vocabulary,
    repositories: &'a [Value],
}

impl Surroundings<'_> {
    fn online<M: Method>(&mut self, policy: &mut ActorCritic, mut method: M) -> Result<Ended> {
        let config = self.config;
        let mut prompts = wiring::prompts(config, &self.vocabulary)?.train;
        let later = prompts.later();
        let penalty = self.penalty(policy)?;
        let reward = wiring::reward(config, &self.vocabulary.tokenizer)?;
        let mut objective = Objective::new(reward, penalty);
        let iterations = config.train.iterations.context("no train.iterations")?;
        let settings = Online {
            iterations,
            prompts: config.sampling.rollouts / config.sampling.samples_per_prompt,
            sampling: sampling(config, &self.vocabulary),
            optim: optim(config),
            log_samples: config.train.samples,
        };
        let Self {
            journal,
            state,
            vocabulary,
            ..
        } = self;
        let decode = |ids: &[u32]| vocabulary.tokenizer.decode(ids);
        let prompts = Prompts {
            prompts: &mut prompts,
            decode: &decode,
        };
        let ended = with_run(config, journal, *state, iterations, |run| {
            Ok(online(
                policy,
                &mut objective,
                &mut method,
                prompts,
                &settings,
                run,
            )?)
        });
        say_later(config, &later);
        ended
    }

    fn dpo(&mut self, policy: &mut ActorCritic) -> Result<Ended> {
        let config = self.config;
        let pairs = wiring::pairs(config, &self.vocabulary)?;
        let mut penalty = self.penalty(policy)?;
        let tokens = config.train.tokens_per_batch;
        let held_out = match pairs.held_out.count() == 0 {
            true => None,
            false => Some(penalty.with_prior(all_pairs(config, pairs.held_out)?, tokens)?),
        };
        let pairs = penalty.with_prior(all_pairs(config, pairs.train)?, tokens)?;
        // The prior has spoken; its memory is free for the policy.
        drop(penalty);
        let method: rlhf_dpo::Config = config.method()?;
        let (batch, epochs) = (config.train.batch_pairs, config.train.epochs);
        let (batch, epochs) = batch
            .zip(epochs)
            .context("no train.batch_pairs or train.epochs")?;
        let pairs = rlhf_dpo::Batch::new(pairs)?;
        let source = rlhf_dpo::PairSource::new(pairs, batch, epochs, config.train.seed)?;
        let held_out = held_out.map(rlhf_dpo::Batch::new).transpose()?;
        self.offline(policy, &rlhf_dpo::Dpo::new(&method)?, source, held_out)
    }

    fn kto(&mut self, policy: &mut ActorCritic) -> Result<Ended> {
        let config = self.config;
        let parts = wiring::opinions(config, &self.vocabulary)?;
        let mut penalty = self.penalty(policy)?;
        let context = wiring::context(config, &self.vocabulary);
        let tokens = config.train.tokens_per_batch;
        let mut with_prior = |(answers, liked)| {
            rlhf_dpo::Opinions::new(answers, liked, &mut penalty, context, tokens)
        };
        // One answer alone has no other to say where its reference point is.
        let held_out = match parts.held_out.responses() {
            0 | 1 => None,
            _ => Some(with_prior(all_opinions(config, parts.held_out)?)?),
        };
        let train = with_prior(all_opinions(config, parts.train)?)?;
        drop(penalty);
        let method: rlhf_dpo::KtoConfig = config.method()?;
        let epochs = config.train.epochs.context("no train.epochs")?;
        let (size, seed) = (method.answers_per_step, config.train.seed);
        let source = rlhf_dpo::OpinionSource::new(train, size, epochs, seed)?;
        self.offline(policy, &rlhf_dpo::Kto::new(&method)?, source, held_out)
    }

    fn sft(&mut self, policy: &mut ActorCritic) -> Result<Ended> {
        let config = self.config;
        let mut all = wiring::demonstrations(config, &self.vocabulary)?;
        let method: rlhf_sft::Config = config.method()?;
        let epochs = config.train.epochs.context("no train.epochs")?;
        let seed = config.train.seed;
        let later = all.train.later();
        let (train, size) = (Box::new(all.train), method.per_step);
        let source = rlhf_sft::DemonstrationSource::new(train, size, epochs, seed)?;
        self.record(policy, Value::Null)?;
        let held_out = some_held_out(config, &mut all.held_out)?;
        let held_out = (!held_out.is_empty()).then(|| rlhf_sft::Batch::new(held_out));
        let ended = self.offline(policy, &rlhf_sft::Sft, source, held_out.transpose()?);
        say_later(config, &later);
        ended
    }

    fn reward(&mut self, model: &mut ActorCritic) -> Result<Ended> {
        let config = self.config;
        let mut pairs = wiring::pairs(config, &self.vocabulary)?;
        let method: BradleyTerryConfig = config.method()?;
        let learner = BradleyTerry::new(&method)?;
        let (batch, epochs) = (config.train.batch_pairs, config.train.epochs);
        let (batch, epochs) = batch
            .zip(epochs)
            .context("no train.batch_pairs or train.epochs")?;
        let first: Vec<usize> = (0..pairs.train.count().min(config.eval.prompts)).collect();
        let prompts = pairs.train.read(&first)?.prompts().to_vec();
        let (seed, later) = (config.train.seed, pairs.train.later());
        let source = PairSource::new(Box::new(pairs.train), &method, batch, epochs, seed)?;
        self.record(model, Value::Null)?;
        let held_out = Pairs::new(some_held_out(config, &mut pairs.held_out)?)?;
        let held_out = (!held_out.is_empty()).then(|| PairBatch::new(held_out, &method));
        let held_out = held_out.transpose()?;
        let ended = self.offline(model, &learner, source, held_out.clone());
        say_later(config, &later);
        let ended = ended?;
        if let (Ended::Done, Some(batch)) = (ended, held_out) {
            let margins = batch.margins(model, config.train.tokens_per_batch)?;
            self.journal.calibration(&held_out::calibration(&margins))?;
        }
        if ended == Ended::Done {
            let folder = self.journal.folder().join("final");
            reward_model::normalize(config, &self.vocabulary, &prompts, &folder)?;
        }
        Ok(ended)
    }

    fn offline<L: Learner, S: Source<Batch = L::Batch>>(
        &mut self,
        policy: &mut ActorCritic,
        learner: &L,
        mut source: S,
        held_out: Option<L::Batch>,
    ) -> Result<Ended> {
        let (config, steps) = (self.config, source.steps());
        let ended = with_run(config, self.journal, self.state, steps, |run| {
            Ok(offline(policy, learner, &mut source, &optim(config), run)?)
        })?;
        if let (Ended::Done, Some(batch)) = (ended, held_out) {
            let items = learner.sequences(&batch).len() / learner.group();
            let stats = evaluate(policy, learner, &batch, config.train.tokens_per_batch)?;
            self.journal.held_out(&held_out::numbers(&stats, items))?;
        }
        Ok(ended)
    }

    /// The prior and β, once `run.json` says what they are.
    fn penalty(&self, policy: &ActorCritic) -> Result<KlPenalty> {
        let plan = wiring::prior(self.config)?;
        let folders = plan.folders.clone();
        let (prior, checksums) = plan.load()?;
        let models: Vec<_> = folders
            .iter()
            .zip(checksums)
            .map(|(path, sha256)| json!({"path": path, "sha256": sha256}))
            .collect();
        self.record(
            policy,
            json!({"kind": self.config.prior.kind, "models": models}),
        )?;
        Ok(KlPenalty::new(prior, self.config.beta.beta()))
    }

    /// Writes `run.json`, at the start of a run.
    fn record(&self, policy: &ActorCritic, prior: Value) -> Result<()> {
        if self.state.step > 0 {
            return Ok(());
        }
        let model: Vec<_> = policy
            .parameters()
            .iter()
            .map(|table| table.checksum())
            .collect();
        Ok(self.journal.run(&json!({
            "rlhf": env!("CARGO_PKG_VERSION"),
            "objective": self.config.objective,
            "seed": self.config.train.seed,
            "dtype": self.config.model.dtype,
            "frozen_dtype": self.config.model.frozen_dtype,
            "model": {"path": wiring::model_path(self.config)?, "sha256": model},
            "prior": prior,
            "repositories": self.repositories,
        }))?)
    }
}

/// How the run's responses are drawn.
pub(crate) fn sampling(config: &Config, vocabulary: &Vocabulary) -> Sampling {
    Sampling {
        samples: config.sampling.samples_per_prompt,
        max_new_tokens: config.sampling.max_new_tokens,
        rows: config.sampling.rows,
        stop: vocabulary.eos.into_iter().collect(),
        context: wiring::context(config, vocabulary),
        draw: Draw::Sample,
        seed: config.train.seed,
        step: 0,
    }
}

fn optim(config: &Config) -> Optim {
    let optim = &config.optim;
    Optim {
        adamw: AdamW {
            beta1: optim.beta1,
            beta2: optim.beta2,
            epsilon: optim.epsilon,
            weight_decay: optim.weight_decay,
        },
        learning_rate: optim.learning_rate,
        schedule: Schedule {
            decay: optim.schedule,
            warm_up: WarmUp::Fraction(optim.warmup),
        },
        clip: Some(optim.clip),
        tokens_per_batch: config.train.tokens_per_batch,
    }
}

/// Hands a loop its surroundings: progress, checkpoints, and a flag that Ctrl-C raises.
fn with_run(
    config: &Config,
    journal: &mut Journal,
    start: State,
    steps: usize,
    work: impl FnOnce(&mut Run<'_>) -> Result<Ended>,
) -> Result<Ended> {
    let interrupt = Arc::new(AtomicBool::new(false));
    let mut handlers = Vec::new();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second signal ends the program at once.
        let now = signal_hook::flag::register_conditional_shutdown(signal, 130, interrupt.clone());
        handlers.extend([
            now?,
            signal_hook::flag::register(signal, interrupt.clone())?,
        ]);
    }
    let mut bar = Bar::new(config.objective, steps, start.step);
    let ended = work(&mut Run {
        journal,
        watch: &mut bar,
        interrupt: &interrupt,
        start,
        save_every: Some(steps.div_ceil(config.train.checkpoints).max(1)),
    });
    for handler in handlers {
        signal_hook::low_level::unregister(handler);
    }
    bar.finish();
    ended
}
