//! The objects of a run, put together and handed to a loop.

use crate::config::Config;
use crate::dataset::{Parts, Taught, say_later};
use crate::held_out;
use crate::interrupts::Interrupts;
use crate::notes::warn;
use crate::prior::{load, prior};
use crate::prior_pass::PriorPass;
use crate::progress::{Display, busy};
use crate::record::Record;
use crate::reward::reward;
use crate::reward_model;
use crate::sampling::{optim, sampling};
use crate::vocabulary::Vocabulary;
use anyhow::{Context, Result};
use rlhf_data::StreamingDataset;
use rlhf_journal::Journal;
use rlhf_objective::{Dataset, KlPenalty, Objective, Pairs, Prompt};
use rlhf_policy::{Networks, Role};
use rlhf_reward::{BradleyTerryConfig, PairBatch};
use rlhf_train::{
    DataPasses, Ended, Learner, Method, OfflineSpec, Online, Prompts, Run, Source, State, evaluate,
    offline, online,
};
use serde_json::{Value, json};
use std::sync::Arc;

mod data;

pub use data::{OfflineData, OpenData};

/// What a run is made of, but for its networks.
pub struct RunContext<'a> {
    pub(crate) config: Config,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) record: &'a Record,
    pub(crate) around: Around<'a>,
}

impl RunContext<'_> {
    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs a method that learns from the policy's own samples.
    pub(crate) fn online<M: Method>(
        mut self,
        mut parts: Parts<StreamingDataset>,
        policy: &mut Networks,
        mut method: M,
    ) -> Result<Ended> {
        let penalty = self.penalty()?;
        let (config, vocabulary) = (&self.config, &self.vocabulary);
        let later = parts.train.step_notes();
        let reward = reward(config, &vocabulary.tokenizer)?;
        let mut objective = Objective::new(reward, penalty);
        let iterations = config.train.iterations.context("no train.iterations")?;
        let settings = Online {
            iterations,
            prompts: config.prompts(),
            sampling: sampling(config, vocabulary)?,
            optim: optim(config),
            log_samples: config.train.samples,
        };
        let decode = |ids: &[u32]| vocabulary.tokenizer.decode(ids);
        let prompts = Prompts {
            prompts: &mut parts.train,
            decode: &decode,
        };
        let ended = self.around.run(config, iterations, |run| {
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

    /// Runs a method that learns from a data set.
    pub(crate) fn offline<S: OfflineSpec>(
        mut self,
        mut parts: Parts<StreamingDataset>,
        networks: &mut Networks,
        settings: &S::Settings,
    ) -> Result<Ended>
    where
        OfflineData<S::Data, S::HeldOut>: OpenData,
    {
        let learner = S::learner(settings)?;
        let scorer = S::Learner::ROLES.contains(&Role::Scorer);
        let examples = match scorer {
            true => first_prompts(&self.config, &mut parts.train)?,
            false => Vec::new(),
        };
        let labels = parts.labels;
        let OfflineData {
            train,
            held_out,
            later,
            pairs,
        } = OfflineData::<S::Data, S::HeldOut>::open(parts, &self)?;
        let config = &self.config;
        let passes = DataPasses {
            epochs: config.train.epochs.context("no train.epochs")?,
            batch_size: config.train.batch_size.context("no train.batch_size")?,
            seed: config.train.seed,
        };
        let source = S::source(settings, train, &passes)?;
        let steps = source.steps();
        let held_out = held_out.map(|data| S::held_out(settings, data));
        let ended = self.learn(networks, &learner, source, held_out.transpose()?);
        say_later(&self.config, &later);
        let ended = ended?;
        if scorer && ended == Ended::Done {
            self.finish_reward_model(networks, pairs, &examples, (steps, labels))?;
        }
        Ok(ended)
    }

    /// What there is to know of a reward model that is fitted: its calibration, its scale, and whether it
    /// tells anything apart.
    fn finish_reward_model(
        &mut self,
        model: &mut Networks,
        held_out: Option<Pairs>,
        prompts: &[Arc<Prompt>],
        (steps, labels): (usize, Taught),
    ) -> Result<()> {
        let mut accuracy = None;
        if let Some(pairs) = held_out {
            let batch = PairBatch::new(pairs, &BradleyTerryConfig::default())?;
            let _busy = busy("measuring the margins of what was held out");
            let margins = batch.margins(model, self.config.train.micro_batch_tokens)?;
            let found = held_out::calibration(&margins, batch.labels());
            self.around.journal.calibration(&found)?;
            let right = found.accuracy();
            accuracy = Some(held_out::accuracy(right, batch.sequences().prompts()));
        }
        let folder = self.around.journal.folder().join("final");
        let gain =
            reward_model::normalize(&self.config, &self.vocabulary, prompts, (&folder, labels))?;
        for doubt in reward_model::doubts(accuracy.as_ref(), gain, labels) {
            warn(&doubt);
            self.around.journal.warning(steps, &doubt)?;
        }
        Ok(())
    }

    fn learn<L: Learner, S: Source<Batch = L::Batch>>(
        &mut self,
        networks: &mut Networks,
        learner: &L,
        mut source: S,
        held_out: Option<L::Batch>,
    ) -> Result<Ended> {
        let config = &self.config;
        let ended = self.around.run(config, source.steps(), |run| {
            Ok(offline(
                networks,
                learner,
                &mut source,
                &optim(config),
                run,
            )?)
        })?;
        if let (Ended::Done, Some(batch)) = (ended, held_out) {
            let _busy = busy("measuring what was held out");
            let sequences = learner.sequences(&batch);
            let (items, prompts) = (sequences.len() / learner.group(), sequences.prompts());
            let stats = evaluate(networks, learner, &batch, config.train.micro_batch_tokens)?;
            self.around
                .journal
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
        PriorPass::new(
            penalty,
            &models,
            self.config(),
            (self.around.journal.folder(), self.around.interrupts),
        )
    }

    /// The penalty, and each network of the prior with its checksums.
    fn penalty_and_models(&self) -> Result<(KlPenalty, Value)> {
        let config = self.config();
        let plan = prior(config)?;
        let folders = plan.folders.clone();
        let (prior, checksums) = load(plan, config)?;
        let models: Value = folders
            .iter()
            .zip(checksums)
            .map(|(path, sha256)| json!({"path": path, "sha256": sha256}))
            .collect();
        let kind = config.prior.facts().name;
        self.record
            .set("prior", json!({"kind": kind, "models": models}))?;
        Ok((KlPenalty::new(prior, config.beta.beta()), models))
    }
}

/// What is around a loop: progress, checkpoints, and how it is interrupted.
pub(crate) struct Around<'a> {
    pub(crate) journal: &'a mut Journal,
    pub(crate) state: State,
    pub(crate) interrupts: &'a Interrupts,
    pub(crate) display: &'a dyn Display,
}

impl Around<'_> {
    /// Hands a loop of so many steps what is around it.
    fn run(
        &mut self,
        config: &Config,
        steps: usize,
        work: impl FnOnce(&mut Run<'_>) -> Result<Ended>,
    ) -> Result<Ended> {
        let running = self.interrupts.begin();
        let start = self.state.clone();
        let mut observer = self.display.begin(&config.objective, steps, start.step);
        let ended = work(&mut Run {
            journal: self.journal,
            observer: &mut *observer,
            interrupt: running.interrupt(),
            start,
            save_every: Some(steps.div_ceil(config.train.checkpoints).max(1)),
        });
        drop(observer);
        match (running.end(), ended) {
            // Nobody waits for what comes after the steps who asked for the end in the last of them.
            (true, Ok(Ended::Done)) => Ok(Ended::Interrupted),
            (_, ended) => ended,
        }
    }
}

/// The first prompts of the data, as many as are measured on.
fn first_prompts(config: &Config, corpus: &mut StreamingDataset) -> Result<Vec<Arc<Prompt>>> {
    let first: Vec<usize> = (0..corpus.count().min(config.eval.prompts)).collect();
    Ok(corpus.read(&first)?.prompts().to_vec())
}
