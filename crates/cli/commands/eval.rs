//! `rlhf eval`: runs on the reward–KL plane.

use crate::args::EvalArgs;
use crate::commands::exact;
use crate::commands::train::{check_paths, settled_of};
use crate::config::{Config, MethodName};
use crate::dataset::{self, rows};
use crate::lengths;
use crate::output::{Usage, log, print};
use crate::plan;
use crate::progress::Busy;
use crate::record::say_changes;
use crate::resolve::{self, Missing, Settled, settle};
use crate::run::sampling;
use crate::wiring::{self, Vocabulary};
use anyhow::{Context, Result, ensure};
use rlhf_eval::{
    Bootstrap, Distinct, Draws, LEAST_PROMPTS, Trial, best_of_n_points, measure, optimal_points,
    prior_rewards,
};
use rlhf_journal::{Checkpoint, FrontierPoint, checkpoints, write_atomic};
use rlhf_lm::Heads;
use rlhf_objective::{Prompt, Reward};
use rlhf_policy::Sampling;
use rlhf_tensor::Storage;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often prompts are drawn anew for an interval.
const RESAMPLES: usize = 2000;

/// What its curves are called.
const PRIOR: &str = "the prior";

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    let mut judge = Judge::new(&args.runs[0], args)?;
    if args.exact {
        return exact::run(&mut judge, &args.runs, args.json);
    }
    judge.say(args);
    let folder = args.out.as_deref().unwrap_or(&args.runs[0]);
    // Before the work, not after it.
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot write to {}: choose another --out", folder.display()))?;
    let points = judge.points(&args.runs)?;
    write(folder, &points)?;
    if args.json {
        for point in &points {
            print(serde_json::to_string(point)?)?;
        }
        return Ok(());
    }
    print(rlhf_report::table(&points).trim_end())
}

/// Measures one run as it is and leaves its picture in its folder.
pub(crate) fn picture(run: &Path) -> Result<()> {
    let runs = vec![run.to_path_buf()];
    let points = Judge::new(run, &EvalArgs::of(runs.clone()))?.points(&runs)?;
    write(run, &points)?;
    log(rlhf_report::table(&points).trim_end());
    Ok(())
}

/// What all runs are measured by: the reward and the held-out prompts of the first.
pub(crate) struct Judge {
    config: Config,
    pub(super) vocabulary: Vocabulary,
    pub(super) reward: Box<dyn Reward>,
    pub(super) prompts: Vec<Arc<Prompt>>,
    bootstrap: Bootstrap,
}

impl Judge {
    pub(crate) fn new(first: &Path, args: &EvalArgs) -> Result<Self> {
        let settled = settled_of(first)?;
        let (stored, own) = (settled.kept.stored_in(first)?, settled.local);
        measurable(first, &own)?;
        let mut config = own.clone();
        if let Some(reward) = &args.reward {
            config.reward = Some(resolve::reward(reward).map_err(Usage)?);
            config = settle(config, Missing::Leave)?.local;
        }
        ensure!(
            config.reward.is_some(),
            "{}: an {} run has no reward to measure by: give --reward, or name a run with a reward first",
            first.display(),
            config.objective
        );
        check_paths(&config, first, |key| {
            !key.starts_with("data.") || args.prompts.is_none()
        })?;
        // What belongs to each run is compared with the run.
        say_changes(first, &stored, &own, |setting| {
            (setting.starts_with("reward") && args.reward.is_none())
                || (setting.starts_with("data.") && args.prompts.is_none())
        })?;
        let mut vocabulary = Vocabulary::load(wiring::model_path(&config)?)?;
        if let Some((run, context)) = least_context(&args.runs[1..])?
            && context < lengths::context(&config, &vocabulary)?
        {
            log(format_args!(
                "all runs are measured with prompts and responses of {context} tokens at most, the context \
                 of {}",
                run.display()
            ));
            vocabulary.context = context;
        }
        wiring::check_reward(&config, &vocabulary)?;
        let reward = wiring::reward(&config, &vocabulary.tokenizer)?;
        let prompts = match &args.prompts {
            Some(path) => {
                let rows = rows(&resolve::data(path)?)?;
                let mut reader = dataset::reader(&config, &vocabulary)?;
                let mut prompts = reader.prompts(&rows)?;
                let notes = reader.notes.sentences();
                ensure!(
                    !prompts.is_empty(),
                    "{} gives no prompts: {}",
                    path.display(),
                    plan::nothing_left(&reader.notes, 0)
                );
                for note in notes {
                    log(format_args!("{}: {note}", path.display()));
                }
                wiring::some_prompts(&config, &mut prompts)?
            }
            None => wiring::held_out_prompts(&config, &vocabulary)?,
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
            config,
            vocabulary,
            reward,
            prompts,
            bootstrap,
        })
    }

    /// What everything is measured by, where that is not clear from one run.
    fn say(&self, args: &EvalArgs) {
        let first = args.runs[0].display();
        let distinct = Distinct::of(&self.prompts);
        if distinct.count() < LEAST_PROMPTS || distinct.count() < self.prompts.len() {
            log(format_args!("measured on {distinct}"));
        }
        if args.runs.len() > 1 {
            let of = |given: bool| if given { "given" } else { "of the first run" };
            log(format_args!(
                "all runs are measured by the reward {} on {distinct} {}, with the sampling of {first}",
                of(args.reward.is_some()),
                of(args.prompts.is_some()),
            ));
        }
    }

    /// Refuses a run that does not belong on the same axes.
    pub(super) fn comparable(&self, run: &Path) -> Result<Config> {
        let Settled {
            kept,
            local: config,
            ..
        } = settled_of(run)?;
        measurable(run, &config)?;
        check_paths(&config, run, of_own)?;
        say_changes(run, &kept.stored_in(run)?, &config, of_own)?;
        let own = Vocabulary::load(wiring::model_path(&config)?)?;
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
            log(format_args!(
                "{}: its KL is to its own prior ({own}), the first run's to another ({ours})",
                run.display()
            ));
        }
        Ok(config)
    }

    /// Every checkpoint of every run, and what the first run's prior could give at best.
    fn points(&mut self, runs: &[PathBuf]) -> Result<Vec<FrontierPoint>> {
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

    pub(super) fn of_run(&mut self, run: &Path, config: &Config) -> Result<Vec<FrontierPoint>> {
        let (mut prior, _) = wiring::prior(config)?.load()?;
        let name = name_of(run);
        let sampling = self.sampling(self.config.eval.samples_per_prompt)?;
        let mut points = Vec::new();
        for Checkpoint { step, path } in stages(run, config)? {
            let (storage, heads) = (Storage::Frozen, Heads::Language);
            let mut policy = wiring::network(&path, config, storage, heads)?;
            let decode = |ids: &[u32]| self.vocabulary.tokenizer.decode(ids);
            let trial = trial(&self.prompts, &sampling, &decode, config);
            let busy = Busy::new(format!("measuring {name}, step {step}"));
            let measured = measure(&mut *policy, &mut *prior, &mut *self.reward, &trial)?;
            drop(busy);
            if !measured.kl_agrees() {
                log(format_args!(
                    "{name}, step {step}: two estimates of the KL disagree"
                ));
            }
            let point = measured.point(&name, step, &self.bootstrap);
            log(format_args!(
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
        let (mut prior, _) = wiring::prior(&self.config)?.load()?;
        if let Err(why) = prior.decoder() {
            log(format_args!("the best possible policy is not drawn: {why}"));
            return Ok(Vec::new());
        }
        let draws = self.prior_rewards(samples)?;
        let mut points = self.optimum(&draws);
        points.extend(best_of_n_points(PRIOR, &draws, &self.bootstrap));
        Ok(points)
    }

    /// The rewards of so many responses of the first run's prior to each prompt.
    pub(super) fn prior_rewards(&mut self, samples: usize) -> Result<Draws> {
        let (mut prior, _) = wiring::prior(&self.config)?.load()?;
        let sampling = self.sampling(samples)?;
        let decode = |ids: &[u32]| self.vocabulary.tokenizer.decode(ids);
        let trial = trial(&self.prompts, &sampling, &decode, &self.config);
        let _busy = Busy::new("drawing from the prior and scoring that");
        Ok(prior_rewards(&mut *prior, &mut *self.reward, &trial)?)
    }

    /// The best that any policy does, as far as these rewards of the prior show it.
    pub(super) fn optimum(&self, draws: &Draws) -> Vec<FrontierPoint> {
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
pub(super) fn stages(run: &Path, config: &Config) -> Result<Vec<Checkpoint>> {
    let start = Checkpoint {
        step: 0,
        path: wiring::model_path(config)?.into(),
    };
    Ok(std::iter::once(start).chain(checkpoints(run)?).collect())
}

/// What a run is called: its folder.
pub(super) fn name_of(run: &Path) -> String {
    let name = run.file_name().unwrap_or(run.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The run whose networks read the fewest tokens, and how many.
fn least_context(runs: &[PathBuf]) -> Result<Option<(&Path, usize)>> {
    let mut least: Option<(&Path, usize)> = None;
    for run in runs {
        let mut config = settled_of(run)?.local;
        check_paths(&config, run, of_own)?;
        // It is judged by another.
        config.reward = None;
        let vocabulary = Vocabulary::load(wiring::model_path(&config)?)?;
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
        config.objective.method() != MethodName::Reward,
        "{} is a reward model, not a policy: use it to measure others, as in --reward {}",
        run.display(),
        run.join("final").display()
    );
    Ok(())
}

/// The prior of a run in words. A run of demonstrations has none; it is measured against the model it
/// started from.
fn prior_of(config: &Config) -> Result<String> {
    Ok(wiring::prior(config)?.words)
}

fn trial<'a>(
    prompts: &'a [Arc<Prompt>],
    sampling: &'a Sampling,
    decode: &'a dyn Fn(&[u32]) -> String,
    config: &Config,
) -> Trial<'a> {
    Trial {
        prompts,
        sampling,
        decode,
        tokens: config.train.tokens_per_batch,
    }
}

fn write(folder: &Path, points: &[FrontierPoint]) -> Result<()> {
    let mut lines = String::new();
    for point in points {
        lines += &serde_json::to_string(point)?;
        lines.push('\n');
    }
    write_atomic(&folder.join("frontier.jsonl"), lines.as_bytes())?;
    let picture = folder.join("kl_reward.svg");
    write_atomic(&picture, rlhf_report::kl_reward_svg(points).as_bytes())?;
    log(picture.display());
    Ok(())
}
