//! The objects of a run, put together and handed to a loop.

use crate::config::{Config, MethodName};
use crate::dataset::{Taught, all_opinions, all_pairs, say_later, some_held_out};
use crate::held_out;
use crate::interrupt::Running;
use crate::output::log;
use crate::prior_pass::PriorPass;
use crate::progress::{Bar, Busy};
use crate::record::Record;
use crate::reward_model;
use crate::wiring::{self, Vocabulary};
use anyhow::{Context, Result};
use rlhf_journal::Journal;
use rlhf_objective::{Items, KlPenalty, Objective, Pairs, Prompt};
use rlhf_policy::{Draw, Networks, Sampling};
use rlhf_ppo::Ppo;
use rlhf_reinforce::{Baseline, GradientConfig, MovingConfig, PolicyGradient, VarGrad};
use rlhf_reward::{BradleyTerry, BradleyTerryConfig, PairBatch, PairSource};
use rlhf_tensor::AdamW;
use rlhf_train::{
    Ended, Learner, Method, Online, Optim, Prompts, Role, Run, Schedule, Source, State, WarmUp,
    evaluate, offline, online, restore,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a run starts.
pub(crate) struct Start {
    folder: PathBuf,
    checkpoint: bool,
}

impl Start {
    /// At the model of the settings.
    pub(crate) fn fresh(config: &Config) -> Result<Self> {
        let folder = wiring::model_path(config)?.into();
        Ok(Self {
            folder,
            checkpoint: false,
        })
    }

    /// At a checkpoint of the run.
    pub(crate) fn at(checkpoint: &Path) -> Self {
        Self {
            folder: checkpoint.into(),
            checkpoint: true,
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
pub(crate) fn execute(
    config: &Config,
    journal: &mut Journal,
    record: &Record,
    start: &Start,
) -> Result<Ended> {
    let vocabulary = Vocabulary::load(wiring::model_path(config)?)?;
    let method = config.objective.method();
    let mut policy = wiring::networks(&start.folder, config, roles(method))?;
    let state = match start.checkpoint {
        true => restore(&start.folder, &mut policy)?,
        false => State::default(),
    };
    let mut context = Surroundings {
        config,
        journal,
        state,
        vocabulary,
        record,
    };
    let policy = &mut policy;
    let gradient = PolicyGradient::new;
    match method {
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

/// The roles that networks play for a method.
fn roles(method: MethodName) -> &'static [Role] {
    match method {
        MethodName::Ppo => Ppo::ROLES,
        MethodName::Rloo | MethodName::Grpo | MethodName::Reinforce => PolicyGradient::ROLES,
        MethodName::Vargrad => VarGrad::ROLES,
        MethodName::Dpo => rlhf_dpo::Dpo::ROLES,
        MethodName::Kto => rlhf_dpo::Kto::ROLES,
        MethodName::Sft => rlhf_sft::Sft::ROLES,
        MethodName::Reward => BradleyTerry::ROLES,
    }
}

/// What the methods share.
struct Surroundings<'a> {
    config: &'a Config,
    journal: &'a mut Journal,
    state: State,
    vocabulary: Vocabulary,
    record: &'a Record,
}

impl Surroundings<'_> {
    fn online<M: Method>(&mut self, policy: &mut Networks, mut method: M) -> Result<Ended> {
        let config = self.config;
        let mut prompts = wiring::prompts(config, &self.vocabulary)?.train;
        let later = prompts.later();
        let penalty = self.penalty()?;
        let reward = wiring::reward(config, &self.vocabulary.tokenizer)?;
        let mut objective = Objective::new(reward, penalty);
        let iterations = config.train.iterations.context("no train.iterations")?;
        let settings = Online {
            iterations,
            prompts: config.prompts(),
            sampling: sampling(config, &self.vocabulary)?,
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
        let ended = with_run(config, journal, state.clone(), iterations, |run| {
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

    fn dpo(&mut self, policy: &mut Networks) -> Result<Ended> {
        let config = self.config;
        let pairs = wiring::pairs(config, &self.vocabulary)?;
        let mut pass = self.prior_pass()?;
        let held_out = match pairs.held_out.count() == 0 {
            true => None,
            false => Some(pass.pairs("held-out", all_pairs(config, pairs.held_out)?)?),
        };
        let pairs = pass.pairs("train", all_pairs(config, pairs.train)?)?;
        // The prior's memory is free for the policy.
        drop(pass);
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

    fn kto(&mut self, policy: &mut Networks) -> Result<Ended> {
        let config = self.config;
        let parts = wiring::opinions(config, &self.vocabulary)?;
        let mut pass = self.prior_pass()?;
        let context = wiring::context(config, &self.vocabulary)?;
        let mut with_prior = |part: &str, (answers, liked)| {
            let beta = pass.penalty.beta().value();
            rlhf_dpo::Opinions::with_prior(answers, liked, beta, context, &mut |of, sequences| {
                match of {
                    rlhf_dpo::AnswerSet::Answers => pass.log_probs(part, sequences),
                    rlhf_dpo::AnswerSet::Mismatched => {
                        pass.log_probs(&format!("{part}-mismatched"), sequences)
                    }
                }
            })
        };
        // One answer alone has no other to say where its reference point is.
        let held_out = match parts.held_out.responses() {
            0 | 1 => None,
            _ => Some(with_prior(
                "held-out",
                all_opinions(config, parts.held_out)?,
            )?),
        };
        let train = with_prior("train", all_opinions(config, parts.train)?)?;
        drop(pass);
        let method: rlhf_dpo::KtoConfig = config.method()?;
        let epochs = config.train.epochs.context("no train.epochs")?;
        let (size, seed) = (method.answers_per_step, config.train.seed);
        let source = rlhf_dpo::OpinionSource::new(train, size, epochs, seed)?;
        self.offline(policy, &rlhf_dpo::Kto::new(&method)?, source, held_out)
    }

    fn sft(&mut self, policy: &mut Networks) -> Result<Ended> {
        let config = self.config;
        let mut all = wiring::demonstrations(config, &self.vocabulary)?;
        let method: rlhf_sft::Config = config.method()?;
        let epochs = config.train.epochs.context("no train.epochs")?;
        let seed = config.train.seed;
        let later = all.train.later();
        let (train, size) = (Box::new(all.train), method.per_step);
        let source = rlhf_sft::DemonstrationSource::new(train, size, epochs, seed)?;
        let held_out = some_held_out(config, &mut all.held_out)?;
        let held_out = (!held_out.is_empty()).then(|| rlhf_sft::Batch::new(held_out));
        let ended = self.offline(policy, &rlhf_sft::Sft, source, held_out.transpose()?);
        say_later(config, &later);
        ended
    }

    fn reward(&mut self, model: &mut Networks) -> Result<Ended> {
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
        let steps = source.steps();
        let held_out = Pairs::new(some_held_out(config, &mut pairs.held_out)?)?;
        let held_out = (!held_out.is_empty()).then(|| PairBatch::new(held_out, &method));
        let held_out = held_out.transpose()?;
        let ended = self.offline(model, &learner, source, held_out.clone());
        say_later(config, &later);
        let ended = ended?;
        if ended == Ended::Done {
            self.after_reward(model, held_out.as_ref(), &prompts, (steps, pairs.labels))?;
        }
        Ok(ended)
    }

    /// What there is to know of a reward model that is fitted: its calibration, its scale, and whether it
    /// tells anything apart.
    fn after_reward(
        &mut self,
        model: &mut Networks,
        held_out: Option<&PairBatch>,
        prompts: &[Arc<Prompt>],
        (steps, labels): (usize, Taught),
    ) -> Result<()> {
        let mut accuracy = None;
        if let Some(batch) = held_out {
            let _busy = Busy::new("measuring the margins of what was held out");
            let margins = batch.margins(model, self.config.train.tokens_per_batch)?;
            let found = held_out::calibration(&margins, batch.labels());
            self.journal.calibration(&found)?;
            let right = found.accuracy();
            accuracy = Some(held_out::accuracy(right, batch.sequences().prompts()));
        }
        let folder = self.journal.folder().join("final");
        let gain =
            reward_model::normalize(self.config, &self.vocabulary, prompts, (&folder, labels))?;
        for doubt in reward_model::doubts(accuracy.as_ref(), gain, labels) {
            log(format_args!("warning: {doubt}"));
            self.journal.warning(steps, &doubt)?;
        }
        Ok(())
    }

    fn offline<L: Learner, S: Source<Batch = L::Batch>>(
        &mut self,
        policy: &mut Networks,
        learner: &L,
        mut source: S,
        held_out: Option<L::Batch>,
    ) -> Result<Ended> {
        let (config, steps) = (self.config, source.steps());
        let ended = with_run(config, self.journal, self.state.clone(), steps, |run| {
            Ok(offline(policy, learner, &mut source, &optim(config), run)?)
        })?;
        if let (Ended::Done, Some(batch)) = (ended, held_out) {
            let _busy = Busy::new("measuring what was held out");
            let sequences = learner.sequences(&batch);
            let (items, prompts) = (sequences.len() / learner.group(), sequences.prompts());
            let stats = evaluate(policy, learner, &batch, config.train.tokens_per_batch)?;
            self.journal
                .held_out(&held_out::numbers(&stats, items, prompts))?;
        }
        Ok(ended)
    }

    /// The prior and β, once `run.json` says what they are.
    fn penalty(&self) -> Result<KlPenalty> {
        Ok(self.penalty_and_models()?.0)
    }

    /// The same for a method that asks the prior before its first step.
    fn prior_pass(&self) -> Result<PriorPass> {
        let (penalty, models) = self.penalty_and_models()?;
        PriorPass::new(penalty, &models, self.config, self.journal.folder())
    }

    /// The penalty, and each network of the prior with its checksums.
    fn penalty_and_models(&self) -> Result<(KlPenalty, Value)> {
        let plan = wiring::prior(self.config)?;
        let folders = plan.folders.clone();
        let (prior, checksums) = plan.load()?;
        let models: Value = folders
            .iter()
            .zip(checksums)
            .map(|(path, sha256)| json!({"path": path, "sha256": sha256}))
            .collect();
        self.record.set(
            "prior",
            json!({"kind": self.config.prior.kind, "models": models}),
        )?;
        Ok((KlPenalty::new(prior, self.config.beta.beta()), models))
    }
}

/// How the run's responses are drawn.
pub(crate) fn sampling(config: &Config, vocabulary: &Vocabulary) -> Result<Sampling> {
    Ok(Sampling {
        samples: config.sampling.samples_per_prompt,
        max_new_tokens: wiring::max_new_tokens(config, vocabulary)?,
        rows: config.sampling.rows,
        stop: vocabulary.ends.clone(),
        context: wiring::context(config, vocabulary)?,
        draw: Draw::Sample,
        seed: config.train.seed,
        step: 0,
    })
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

/// Hands a loop its surroundings: progress, checkpoints, and how a signal ends it.
fn with_run(
    config: &Config,
    journal: &mut Journal,
    start: State,
    steps: usize,
    work: impl FnOnce(&mut Run<'_>) -> Result<Ended>,
) -> Result<Ended> {
    let running = Running::begin();
    let mut bar = Bar::new(config.objective, steps, start.step);
    let ended = work(&mut Run {
        journal,
        observer: &mut bar,
        interrupt: running.interrupt(),
        start,
        save_every: Some(steps.div_ceil(config.train.checkpoints).max(1)),
    });
    bar.finish();
    match (running.end(), ended) {
        // Nobody waits for what comes after the steps who asked for the end in the last of them.
        (true, Ok(Ended::Done)) => Ok(Ended::Interrupted),
        (_, ended) => ended,
    }
}
