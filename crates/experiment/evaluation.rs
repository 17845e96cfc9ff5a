//! Runs on the reward–KL plane.

use crate::config::Config;
use crate::dataset::{self, open_data, rows, some_prompts};
use crate::error::Usage;
use crate::layers::Layers;
use crate::lengths;
use crate::networks::{model_path, network};
use crate::notes::note;
use crate::prior::{load, prior};
use crate::progress::busy;
use crate::record::say_changes;
use crate::resolve::{self, Missing, Settled};
use crate::reward::{check_reward, reward};
use crate::sampling::sampling;
use crate::session::Session;
use crate::stored::check_paths;
use crate::vocabulary::Vocabulary;
use crate::words::nothing_left;
use anyhow::{Context, Result, ensure};
use rlhf_eval::{
    Bootstrap, DistinctPrompts, EvalSetup, LEAST_PROMPTS, PriorRewards, best_of_n_points, measure,
    optimal_points, prior_rewards,
};
use rlhf_journal::{Checkpoint, FrontierPoint, checkpoints};
use rlhf_lm::OutputHeads;
use rlhf_objective::{Prompt, Reward};
use rlhf_policy::Sampling;
use rlhf_tensor::Storage;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often prompts are drawn anew for an interval.
const RESAMPLES: usize = 2000;

/// What its curves are called.
const PRIOR: &str = "the prior";

/// What replaces the first run's own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Instead {
    /// A reward, as `--reward` names it.
    pub reward: Option<String>,
    /// A file or folder of prompts.
    pub prompts: Option<PathBuf>,
}

/// What all runs are measured by: the reward and the held-out prompts of the first.
pub struct Judge<'s> {
    session: &'s Session,
    config: Config,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) reward: Box<dyn Reward>,
    pub(crate) prompts: Vec<Arc<Prompt>>,
    bootstrap: Bootstrap,
}

impl Session {
    /// A whole run with settings in `folder`, and where its checkpoints are on the reward–KL plane.
    ///
    /// # Errors
    /// If the settings make no sense, the run is stopped by an error, or it cannot be measured.
    pub fn fit_and_measure(&self, settings: &Layers, folder: &Path) -> Result<Vec<FrontierPoint>> {
        self.fit(&settings.resolve()?, folder)?;
        let runs = [folder.to_path_buf()];
        Judge::new(self, &runs, &Instead::default())?.points(&runs)
    }
}

impl<'s> Judge<'s> {
    /// Of these runs, the first of which says what is measured.
    ///
    /// # Errors
    /// If there is no run, or it lacks a reward or prompts, or something it names is not there any more.
    pub fn new(session: &'s Session, runs: &[PathBuf], instead: &Instead) -> Result<Self> {
        let (first, others) = runs.split_first().context("no run to measure")?;
        let settled = session.settled_of(first)?;
        let (stored, own) = (settled.kept.stored_in(first)?, settled.local);
        measurable(first, &own)?;
        let mut config = own.clone();
        if let Some(reward) = &instead.reward {
            config.reward =
                Some(resolve::reward(&session.registry.catalog().rewards, reward).map_err(Usage)?);
            config = session.locator.settle(config, Missing::Leave)?.local;
        }
        ensure!(
            config.reward.is_some(),
            "{}: an {} run has no reward to measure by: give --reward, or name a run with a reward first",
            first.display(),
            config.objective
        );
        check_paths(&config, first, |key| {
            !key.starts_with("data.") || instead.prompts.is_none()
        })?;
        // What belongs to each run is compared with the run.
        say_changes(first, &stored, &own, |setting| {
            (setting.starts_with("reward") && instead.reward.is_none())
                || (setting.starts_with("data.") && instead.prompts.is_none())
        })?;
        let mut vocabulary = Vocabulary::load(model_path(&config)?)?;
        if let Some((run, context)) = least_context(session, others)?
            && context < lengths::context(&config, &vocabulary)?
        {
            note(format_args!(
                "all runs are measured with prompts and responses of {context} tokens at most, the context \
                 of {}",
                run.display()
            ));
            vocabulary.context = context;
        }
        check_reward(&config, &vocabulary)?;
        let reward = reward(&config, &vocabulary.tokenizer)?;
        let prompts = match &instead.prompts {
            Some(path) => {
                let rows = rows(&session.locator.data(path)?)?;
                let mut reader = dataset::reader(&config, &vocabulary)?;
                let mut prompts = reader.prompts(&rows)?;
                let notes = reader.notes.sentences();
                ensure!(
                    !prompts.is_empty(),
                    "{} gives no prompts: {}",
                    path.display(),
                    nothing_left(&reader.notes, 0)
                );
                for sentence in notes {
                    note(format_args!("{}: {sentence}", path.display()));
                }
                some_prompts(&config, &mut prompts)?
            }
            None => held_out_prompts(session, &config, &vocabulary)?,
        };
        ensure!(
            !prompts.is_empty(),
            "{} held out no prompts: give --prompts a file of five or more",
            first.display()
        );
        let bootstrap = Bootstrap {
            resamples: RESAMPLES,
            seed: config.eval.seed,
        };
        Ok(Self {
            session,
            config,
            vocabulary,
            reward,
            prompts,
            bootstrap,
        })
    }

    /// Says what everything is measured by, where that is not clear from one run.
    pub fn say(&self, runs: &[PathBuf], instead: &Instead) {
        let distinct = DistinctPrompts::new(&self.prompts);
        if distinct.count() < LEAST_PROMPTS || distinct.count() < self.prompts.len() {
            note(format_args!("measured on {distinct}"));
        }
        if let [first, _, ..] = runs {
            let of = |given: bool| if given { "given" } else { "of the first run" };
            note(format_args!(
                "all runs are measured by the reward {} on {distinct} {}, with the sampling of {}",
                of(instead.reward.is_some()),
                of(instead.prompts.is_some()),
                first.display()
            ));
        }
    }

    /// The settings of a run that belongs on the same axes.
    ///
    /// # Errors
    /// If it has another vocabulary or temperature than the first, or trained a reward model, or its
    /// settings cannot be read.
    pub fn comparable(&self, run: &Path) -> Result<Config> {
        let Settled {
            kept,
            local: config,
            ..
        } = self.session.settled_of(run)?;
        measurable(run, &config)?;
        check_paths(&config, run, of_own)?;
        say_changes(run, &kept.stored_in(run)?, &config, of_own)?;
        let own = Vocabulary::load(model_path(&config)?)?;
        ensure!(
            own.size == self.vocabulary.size,
            "{} has another vocabulary than the first run: measure it alone",
            run.display()
        );
        let (own, ours) = (
            config.sampling.temperature,
            self.config.sampling.temperature,
        );
        ensure!(
            own == ours,
            "{} samples at temperature {own} and the first run at {ours}: their KL is not the same \
             quantity; measure it alone",
            run.display()
        );
        let (own, ours) = (prior_of(&config)?, prior_of(&self.config)?);
        if own != ours {
            note(format_args!(
                "{}: its KL is to its own prior ({own}), the first run's to another ({ours})",
                run.display()
            ));
        }
        Ok(config)
    }

    /// Every checkpoint of every run, and what the first run's prior could give at best.
    ///
    /// # Errors
    /// If a run cannot be compared with the first, or something cannot be loaded.
    pub fn points(&mut self, runs: &[PathBuf]) -> Result<Vec<FrontierPoint>> {
        let configs: Vec<Config> = runs
            .iter()
            .map(|run| self.comparable(run))
            .collect::<Result<_>>()?;
        let mut points = Vec::new();
        for (run, config) in runs.iter().zip(&configs) {
            points.extend(self.of_run(run, config)?);
        }
        points.extend(self.of_prior()?);
        self.reward.finish()?;
        Ok(points)
    }

    /// Every checkpoint of one run, and the model it started from.
    ///
    /// # Errors
    /// If something cannot be loaded, or the reward fails.
    pub fn of_run(&mut self, run: &Path, config: &Config) -> Result<Vec<FrontierPoint>> {
        let (mut prior, _) = load(prior(config)?, config)?;
        let name = name_of(run);
        let sampling = self.sampling(self.config.eval.samples_per_prompt)?;
        let mut points = Vec::new();
        for Checkpoint { step, path } in stages(run, config)? {
            let (storage, heads) = (Storage::Frozen, OutputHeads::Language);
            let mut policy = network(&path, config, storage, heads)?;
            let decode = |ids: &[u32]| self.vocabulary.tokenizer.decode(ids);
            let trial = trial(&self.prompts, &sampling, &decode, config);
            let busy = busy(format!("measuring {name}, step {step}"));
            let measured = measure(&mut *policy, &mut *prior, &mut *self.reward, &trial)?;
            drop(busy);
            if !measured.kl_agrees() {
                note(format_args!(
                    "{name}, step {step}: two estimates of the KL disagree"
                ));
            }
            let point = measured.point(&name, step, &self.bootstrap);
            note(format_args!(
                "{name}, step {step}: reward {:.4}, KL {:.4} nats",
                point.reward.value, point.kl.value
            ));
            points.push(point);
        }
        Ok(points)
    }

    fn of_prior(&mut self) -> Result<Vec<FrontierPoint>> {
        let samples = self.config.eval.prior_samples;
        if samples == 0 {
            return Ok(Vec::new());
        }
        let (mut prior, _) = load(prior(&self.config)?, &self.config)?;
        if let Err(why) = prior.decoder() {
            note(format_args!("the best possible policy is not drawn: {why}"));
            return Ok(Vec::new());
        }
        let draws = self.prior_rewards(samples)?;
        let mut points = self.optimum(&draws);
        points.extend(best_of_n_points(PRIOR, &draws, &self.bootstrap));
        Ok(points)
    }

    /// The rewards of `samples` responses of the first run's prior to each prompt, one list a prompt.
    ///
    /// # Errors
    /// If the prior cannot be loaded or drawn from, or the reward fails.
    pub fn prior_rewards(&mut self, samples: usize) -> Result<PriorRewards> {
        let (mut prior, _) = load(prior(&self.config)?, &self.config)?;
        let sampling = self.sampling(samples)?;
        let decode = |ids: &[u32]| self.vocabulary.tokenizer.decode(ids);
        let trial = trial(&self.prompts, &sampling, &decode, &self.config);
        let _busy = busy("drawing from the prior and scoring that");
        Ok(prior_rewards(&mut *prior, &mut *self.reward, &trial)?)
    }

    /// The most reward that any policy has at its KL in nats, as far as these rewards of the prior show
    /// it: the curve of π* over all β, in order of KL.
    #[must_use]
    pub fn optimum(&self, draws: &PriorRewards) -> Vec<FrontierPoint> {
        optimal_points(PRIOR, draws, &self.bootstrap)
    }

    /// The same random numbers for every checkpoint, so that differences are not noise.
    fn sampling(&self, samples: usize) -> Result<Sampling> {
        Ok(Sampling {
            samples,
            seed: self.config.eval.seed,
            ..sampling(&self.config, &self.vocabulary)?
        })
    }
}

/// The policies of a run: where it started, and every checkpoint.
pub(crate) fn stages(run: &Path, config: &Config) -> Result<Vec<Checkpoint>> {
    let start = Checkpoint {
        step: 0,
        path: model_path(config)?.into(),
    };
    Ok(std::iter::once(start).chain(checkpoints(run)?).collect())
}

/// What a run is called: its folder.
pub(crate) fn name_of(run: &Path) -> String {
    let name = run.file_name().unwrap_or(run.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The prompts that no step of a run saw, at most as many as `[eval] prompts` says.
fn held_out_prompts(
    session: &Session,
    config: &Config,
    vocabulary: &Vocabulary,
) -> Result<Vec<Arc<Prompt>>> {
    let mut held_out = open_data(config, vocabulary, &session.registry.catalog().methods)?.held_out;
    some_prompts(config, &mut held_out)
}

/// The run whose networks read the fewest tokens, and how many.
fn least_context<'a>(session: &Session, runs: &'a [PathBuf]) -> Result<Option<(&'a Path, usize)>> {
    let mut least: Option<(&Path, usize)> = None;
    for run in runs {
        let mut config = session.settled_of(run)?.local;
        check_paths(&config, run, of_own)?;
        // It is judged by another.
        config.reward = None;
        let vocabulary = Vocabulary::load(model_path(&config)?)?;
        let context = lengths::context(&config, &vocabulary)?;
        if least.is_none_or(|(_, least)| context < least) {
            least = Some((run, context));
        }
    }
    Ok(least)
}

/// Whether a path of the settings is of the policy and its prior, not of what all runs are measured by.
fn of_own(key: &str) -> bool {
    key == "model.path" || key.starts_with("prior.")
}

/// Refuses what has no place on the reward–KL plane.
fn measurable(run: &Path, config: &Config) -> Result<()> {
    ensure!(
        !config.method.facts().is_reward_model(),
        "{} is a reward model, not a policy: use it to measure others, as in --reward {}",
        run.display(),
        run.join("final").display()
    );
    Ok(())
}

/// The prior of a run in words. A run of demonstrations has none; it is measured against the model it
/// started from.
fn prior_of(config: &Config) -> Result<String> {
    Ok(prior(config)?.words)
}

fn trial<'a>(
    prompts: &'a [Arc<Prompt>],
    sampling: &'a Sampling,
    decode: &'a dyn Fn(&[u32]) -> String,
    config: &Config,
) -> EvalSetup<'a> {
    EvalSetup {
        prompts,
        sampling,
        decode,
        tokens: config.train.micro_batch_tokens,
    }
}
