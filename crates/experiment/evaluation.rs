//! Measures the reward and KL of a run's checkpoints.

use crate::config::Config;
use crate::dataset::{self, eval_prompts, open_data_with, rows};
use crate::error::Usage;
use crate::layers::Layers;
use crate::lengths;
use crate::networks::{model_path, network};
use crate::notes::note;
use crate::prior::{load, prior};
use crate::progress::busy;
use crate::record::note_changed_inputs;
use crate::resolve::{self, Located, Missing};
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

/// Bootstrap resamples per confidence interval.
const RESAMPLES: usize = 2000;

/// The label of the curves that are estimated from samples of the prior.
const PRIOR: &str = "the prior";

/// Replacements for the reward and the held-out prompts of the first run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EvalOverrides {
    /// A reward, as `--reward` names it.
    pub reward: Option<String>,
    /// A file or folder of prompts.
    pub prompts: Option<PathBuf>,
}

/// Measures runs with the same reward, prompts and sampling: those of the first run, unless overridden.
pub struct Evaluator<'s> {
    session: &'s Session,
    config: Config,
    /// The settings of each run, read once because reading them emits notes.
    runs: Vec<(PathBuf, Located)>,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) reward: Box<dyn Reward>,
    pub(crate) prompts: Vec<Arc<Prompt>>,
    bootstrap: Bootstrap,
}

impl Session {
    /// Trains with these settings in `folder`, then measures the reward and KL of each checkpoint.
    ///
    /// # Errors
    /// If the settings are invalid, training fails, or a checkpoint cannot be measured.
    pub fn fit_and_measure(&self, settings: &Layers, folder: &Path) -> Result<Vec<FrontierPoint>> {
        self.fit(&settings.resolve()?, folder)?;
        let runs = [folder.to_path_buf()];
        Evaluator::new(self, &runs, &EvalOverrides::default())?.points(&runs)
    }
}

impl<'s> Evaluator<'s> {
    /// An evaluator of `runs`, with the reward and held-out prompts of the first.
    ///
    /// # Errors
    /// If there is no run, the first has no reward or prompts, or a file that it names is gone.
    pub fn new(session: &'s Session, runs: &[PathBuf], overrides: &EvalOverrides) -> Result<Self> {
        let first = runs.first().context("no run to measure")?;
        let mut all: Vec<(PathBuf, Located)> = Vec::with_capacity(runs.len());
        for run in runs {
            if all.iter().all(|(known, _)| known != run) {
                all.push((run.clone(), session.stored_config(run)?));
            }
        }
        let (stored, local) = {
            let located = &all[0].1;
            (
                located.recorded.clone().stored_in(first)?,
                located.local.clone(),
            )
        };
        check_is_policy(first, &local)?;
        let mut config = local.clone();
        if let Some(reward) = &overrides.reward {
            config.reward =
                Some(resolve::reward(&session.registry.catalog().rewards, reward).map_err(Usage)?);
            config = session.locator.locate(config, Missing::Leave)?.local;
        }
        ensure!(
            config.reward.is_some(),
            "{}: a run of {} has no reward: give --reward, or name a run with a reward first",
            first.display(),
            config.objective
        );
        check_paths(&config, first, |key| {
            !key.starts_with("data.") || overrides.prompts.is_none()
        })?;
        // The model and prior of each run are compared in `comparable`.
        note_changed_inputs(first, &stored, &local, |setting| {
            (setting.starts_with("reward") && overrides.reward.is_none())
                || (setting.starts_with("data.") && overrides.prompts.is_none())
        })?;
        let mut vocabulary = Vocabulary::load(model_path(&config)?)?;
        if let Some((run, context)) = smallest_context(&all[1..])?
            && context < lengths::context(&config, &vocabulary)?
        {
            note(format_args!(
                "all runs are measured with prompts and responses of at most {context} tokens together, \
                 the context of {}",
                run.display()
            ));
            vocabulary.context = context;
        }
        check_reward(&config, &vocabulary)?;
        let reward = reward(&config, &vocabulary.tokenizer)?;
        let prompts = match &overrides.prompts {
            Some(path) => {
                let rows = rows(&session.locator.data(path)?)?;
                let mut reader = dataset::reader(&config, &vocabulary)?;
                let mut prompts = reader.prompts(&rows)?;
                let notes = reader.notes.sentences();
                ensure!(
                    !prompts.is_empty(),
                    "{}: no prompts left: {}",
                    path.display(),
                    nothing_left(&reader.notes, 0)
                );
                for sentence in notes {
                    note(format_args!("{}: {sentence}", path.display()));
                }
                eval_prompts(&config, &mut prompts)?
            }
            None => held_out_prompts(session, &config, &vocabulary)?,
        };
        ensure!(
            !prompts.is_empty(),
            "{}: the run held out no prompts: give --prompts a file with five or more",
            first.display()
        );
        let bootstrap = Bootstrap {
            resamples: RESAMPLES,
            seed: config.eval.seed,
        };
        Ok(Self {
            session,
            config,
            runs: all,
            vocabulary,
            reward,
            prompts,
            bootstrap,
        })
    }

    /// Notes the reward and the prompts, if there are several runs or few distinct prompts.
    pub fn note_setup(&self, runs: &[PathBuf], overrides: &EvalOverrides) {
        let distinct = DistinctPrompts::new(&self.prompts);
        if distinct.count() < LEAST_PROMPTS || distinct.count() < self.prompts.len() {
            note(format_args!("measured on {distinct}"));
        }
        if let [first, _, ..] = runs {
            let of = |given: bool| if given { "given" } else { "of the first run" };
            note(format_args!(
                "all runs are measured by the reward {} on {distinct} {}, with the sampling settings of {}",
                of(overrides.reward.is_some()),
                of(overrides.prompts.is_some()),
                first.display()
            ));
        }
    }

    /// The settings of a run, checked to be comparable with the first run.
    ///
    /// # Errors
    /// If its vocabulary or temperature differs from the first run's, it trained a reward model, or its
    /// settings cannot be read.
    pub fn comparable(&self, run: &Path) -> Result<Config> {
        let known = self.runs.iter().find(|(known, _)| known == run);
        let located = match known {
            Some((_, located)) => located.clone(),
            None => self.session.stored_config(run)?,
        };
        let (recorded, config) = (located.recorded, located.local);
        check_is_policy(run, &config)?;
        check_paths(&config, run, is_policy_or_prior)?;
        note_changed_inputs(run, &recorded.stored_in(run)?, &config, is_policy_or_prior)?;
        let own = Vocabulary::load(model_path(&config)?)?;
        ensure!(
            own.size == self.vocabulary.size,
            "{}: its vocabulary differs from the first run's: measure it alone",
            run.display()
        );
        let (own, ours) = (
            config.sampling.temperature,
            self.config.sampling.temperature,
        );
        ensure!(
            own == ours,
            "{}: it samples at temperature {own} and the first run at {ours}, so their KLs are not \
             comparable: measure it alone",
            run.display()
        );
        let (own, ours) = (prior_words(&config)?, prior_words(&self.config)?);
        if own != ours {
            note(format_args!(
                "{}: its KL is to its own prior ({own}), that of the first run to another ({ours})",
                run.display()
            ));
        }
        Ok(config)
    }

    /// Every checkpoint of every run, and the optimal frontier and best-of-n of the first run's prior.
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
            points.extend(self.run_points(run, config)?);
        }
        points.extend(self.prior_points()?);
        self.reward.finish()?;
        Ok(points)
    }

    /// The model that one run started from, and each of its checkpoints.
    ///
    /// # Errors
    /// If something cannot be loaded, or the reward fails.
    pub fn run_points(&mut self, run: &Path, config: &Config) -> Result<Vec<FrontierPoint>> {
        let (mut prior, _) = load(prior(config)?, config)?;
        let name = name_of(run);
        let sampling = self.sampling(self.config.eval.samples_per_prompt)?;
        let mut points = Vec::new();
        for Checkpoint { step, path } in start_and_checkpoints(run, config)? {
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

    fn prior_points(&mut self) -> Result<Vec<FrontierPoint>> {
        let samples = self.config.eval.prior_samples;
        if samples == 0 {
            return Ok(Vec::new());
        }
        let (mut prior, _) = load(prior(&self.config)?, &self.config)?;
        if let Err(why) = prior.decoder() {
            note(format_args!("the optimal frontier is not estimated: {why}"));
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
        let _busy = busy("sampling from the prior and scoring the samples");
        Ok(prior_rewards(&mut *prior, &mut *self.reward, &trial)?)
    }

    /// The optimal frontier, estimated from these rewards of samples of the prior: reward and KL of π* over
    /// all β, in order of KL.
    #[must_use]
    pub fn optimum(&self, draws: &PriorRewards) -> Vec<FrontierPoint> {
        optimal_points(PRIOR, draws, &self.bootstrap)
    }

    /// Sampling with the same seed for every checkpoint, which reduces the noise of differences.
    fn sampling(&self, samples: usize) -> Result<Sampling> {
        Ok(Sampling {
            samples,
            seed: self.config.eval.seed,
            ..sampling(&self.config, &self.vocabulary)?
        })
    }
}

/// The policies of a run: the model it started from as step 0, and every checkpoint.
pub(crate) fn start_and_checkpoints(run: &Path, config: &Config) -> Result<Vec<Checkpoint>> {
    let start = Checkpoint {
        step: 0,
        path: model_path(config)?.into(),
    };
    Ok(std::iter::once(start).chain(checkpoints(run)?).collect())
}

/// The name of a run: that of its folder.
pub(crate) fn name_of(run: &Path) -> String {
    let name = run.file_name().unwrap_or(run.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The held-out prompts of a run, at most `eval.prompts`.
fn held_out_prompts(
    session: &Session,
    config: &Config,
    vocabulary: &Vocabulary,
) -> Result<Vec<Arc<Prompt>>> {
    let methods = &session.registry.catalog().methods;
    // Remarks about the data were noted when the run was trained.
    let splits = open_data_with(config, vocabulary, methods, &mut |_| {})?;
    let mut held_out = splits.held_out;
    eval_prompts(config, &mut held_out)
}

/// The run with the smallest context, and that context in tokens.
fn smallest_context(runs: &[(PathBuf, Located)]) -> Result<Option<(&Path, usize)>> {
    let mut least: Option<(&Path, usize)> = None;
    for (run, located) in runs {
        let mut config = located.local.clone();
        check_paths(&config, run, is_policy_or_prior)?;
        // Its own reward is not used.
        config.reward = None;
        let vocabulary = Vocabulary::load(model_path(&config)?)?;
        let context = lengths::context(&config, &vocabulary)?;
        if least.is_none_or(|(_, least)| context < least) {
            least = Some((run, context));
        }
    }
    Ok(least)
}

/// Whether a setting names the policy or its prior, which are each run's own.
fn is_policy_or_prior(key: &str) -> bool {
    key == "model.path" || key.starts_with("prior.")
}

/// Refuses runs that trained a reward model.
fn check_is_policy(run: &Path, config: &Config) -> Result<()> {
    ensure!(
        !config.method.facts().is_reward_model(),
        "{} is a reward model, not a policy: use it to measure others, as in --reward {}",
        run.display(),
        run.join("final").display()
    );
    Ok(())
}

/// The prior of a run in words.
fn prior_words(config: &Config) -> Result<String> {
    Ok(prior(config)?.description)
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
