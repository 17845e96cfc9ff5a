//! `rlhf train`: one run.

use crate::args::TrainArgs;
use crate::changes::Changes;
use crate::commands::demo::Staged;
use crate::commands::{before_after, demo, eval};
use crate::config::Config;
use crate::interrupt;
use crate::layers::Layers;
use crate::output::{Interrupted, Usage, log, print};
use crate::plan::{Lines, json, plan, show};
use crate::prior_fit;
use crate::record::{Record, check};
use crate::resolve::{Missing, Settled, settle};
use crate::run::{Start, execute, start_threads};
use crate::wiring::{self, Vocabulary};
use anyhow::{Context, Result, anyhow, ensure};
use rlhf_journal::{Claim, Existing, Journal, checkpoints, last_checkpoint, next_free};
use rlhf_train::Ended;
use serde_json::json as object;
use std::path::{Path, PathBuf};

/// The head of a run's `config.toml`.
const STORED: &str =
    "# What this run used. A path that does not start with / is inside this folder.\n\n";

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    interrupt::listen()?;
    if args.resume {
        return resume(args);
    }
    if args.accept_changes {
        // clap forgets that one option needs another where that one conflicts with a third.
        let alone = anyhow!("--accept-changes goes with --resume: it is about a run that goes on");
        return Err(Usage(alone).into());
    }
    let world = args.is_bare().then(Staged::new).transpose()?;
    let config = match &world {
        Some(world) => world.layers(args),
        None => args.layers(),
    };
    let config = config
        .and_then(|layers| layers.resolve())
        .and_then(|config| config.require().map(|()| config))
        .map_err(Usage)?;
    let mut settled = settle(config, Missing::Refuse)?;
    wiring::check_beta(&settled.local).map_err(Usage)?;
    let existing = match args.overwrite {
        true => Existing::Overwrite,
        false => Existing::Refuse,
    };
    if let Some(folder) = &args.out {
        Journal::check(folder, existing)?;
    }
    // Before anything runs on them: rows are tokenized on all.
    start_threads(&settled.local)?;
    let mut lines = plan(&settled.local)?;
    let objective = settled.local.objective.to_string();
    // A plan takes no folder: a run that starts meanwhile may have the one it names.
    let claim = match args.dry_run {
        true => None,
        false => Some(claim(args, &objective, existing)?),
    };
    let folder = claim
        .as_ref()
        .map_or_else(|| planned(args, &objective), |c| c.folder().into());
    if let Some(world) = &world {
        world.say_in(&folder, &mut lines)?;
        settled = settled.try_map(|config| world.config_in(&folder, config))?;
    }
    let Some(claim) = claim else {
        return dry_run(args, lines, &folder);
    };
    let Settled {
        kept,
        local,
        repositories,
    } = settled;
    let mut journal = claim.create()?;
    log(format_args!("run folder {}", folder.display()));
    if world.is_some() {
        demo::write(&folder)?;
    }
    show(&lines);
    let mut stored = kept.stored_in(&folder)?;
    // What a default came to is a setting of the run.
    stored.sampling.max_new_tokens = Some(response_limit(&local)?);
    journal.config(&format!("{STORED}{}", toml::to_string(&stored)?))?;
    let record = Record::start(&folder, &stored, &local, repositories)?;
    interrupt::resumable();
    let start = Start::fresh(&local)?;
    let (config, ended) = go(local, &mut journal, record, &start)?;
    finish(args, &config, &folder, ended)?;
    if world.is_some() && config.reward.is_some() {
        eval::picture(&folder)
            .context("all steps are done and the model is whole, but there is no picture of it")?;
    }
    Ok(())
}

/// The greatest length of a response, whether it was given or is a default.
fn response_limit(config: &Config) -> Result<usize> {
    let vocabulary = Vocabulary::load(wiring::model_path(config)?)?;
    wiring::max_new_tokens(config, &vocabulary)
}

/// Runs what has a folder: first what the prior is fitted to, if it is.
fn go(
    mut config: Config,
    journal: &mut Journal,
    mut record: Record,
    start: &Start,
) -> Result<(Config, Ended)> {
    config.prior.locate(&std::path::absolute(journal.folder())?);
    prior_fit::fit(&config)?;
    record.add_fitted(&config, journal.folder())?;
    let ended = execute(&config, journal, &record, start)?;
    Ok((config, ended))
}

/// A run without questions, in a folder that is nobody else's: one that was interrupted goes on.
pub(crate) fn fit(config: &Config, folder: &Path) -> Result<()> {
    let (mut journal, record, start) = match last_checkpoint(folder) {
        Ok(last) => {
            // What its run is made of was compared when that was resumed.
            let checked = check(folder, config, config, last.step, Changes::Accept)?;
            let journal = Journal::resume(folder, last.step)?;
            let record = match checked {
                Some(checked) => checked.go_on(folder, last.step)?,
                None => Record::start(folder, config, config, Vec::new())?,
            };
            (journal, record, Start::at(&last.path))
        }
        Err(_) => {
            let journal = Journal::create(folder, Existing::Overwrite)?;
            journal.config(&toml::to_string(config)?)?;
            let record = Record::start(folder, config, config, Vec::new())?;
            (journal, record, Start::fresh(config)?)
        }
    };
    match go(config.clone(), &mut journal, record, &start)? {
        (_, Ended::Done) => Ok(()),
        (_, Ended::Interrupted) => Err(Interrupted.into()),
    }
}

/// Where the run in `folder` keeps its settings.
fn stored_in(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("config.toml");
    if !path.exists() {
        return Err(rlhf_journal::Error::NoRun(folder.into(), "config.toml").into());
    }
    Ok(path)
}

/// The settings that the run in `folder` was started with.
pub(crate) fn settled_of(folder: &Path) -> Result<Settled> {
    let path = stored_in(folder)?;
    let mut layers = Layers::new(Some(&path))?;
    if !layers.says("data", "held_out_at_least") {
        // Its rows were cut by a version that held out one prompt at least.
        layers.set("data.held_out_at_least=1")?;
    }
    let config = layers.resolve()?.read_from(folder)?;
    let mut settled = settle(config, Missing::Leave)?;
    settled.local.prior.locate(&std::path::absolute(folder)?);
    Ok(settled)
}

/// Refuses settings of the run in `folder` that name what is not there any more. `needed` says which
/// keys matter.
pub(crate) fn check_paths(
    config: &Config,
    folder: &Path,
    needed: impl Fn(&str) -> bool,
) -> Result<()> {
    for (key, path) in config.clone().paths() {
        ensure!(
            !needed(&key) || path.exists(),
            "{} is not there any more: say where it is now under {key} in {}",
            path.display(),
            folder.join("config.toml").display()
        );
    }
    Ok(())
}

fn resume(args: &TrainArgs) -> Result<()> {
    let folder = args
        .out
        .clone()
        .context("--resume needs --out, the run folder to continue");
    let folder = folder.map_err(Usage)?;
    stored_in(&folder)?;
    // Before anything of it is read: another process may be about to write a later checkpoint.
    let claim = Claim::again(&folder)?;
    interrupt::resumable();
    let Settled {
        kept,
        local: config,
        repositories,
    } = settled_of(&folder)?;
    check_paths(&config, &folder, |_| true)?;
    // A run that was stopped before its first checkpoint starts again from the beginning.
    let (step, start) = match checkpoints(&folder)?.pop() {
        Some(last) => (last.step, Start::at(&last.path)),
        None => (0, Start::fresh(&config)?),
    };
    let changes = match args.accept_changes {
        true => Changes::Accept,
        false => Changes::Refuse,
    };
    let stored = kept.stored_in(&folder)?;
    let checked = check(&folder, &stored, &config, step, changes)?;
    log(format_args!(
        "run folder {}, from step {step}",
        folder.display()
    ));
    start_threads(&config)?;
    show(&plan(&config)?);
    let mut journal = claim.resume(step)?;
    let record = match checked {
        Some(checked) => checked.go_on(&folder, step)?,
        None => Record::start(&folder, &stored, &config, repositories)?,
    };
    let (config, ended) = go(config, &mut journal, record, &start)?;
    finish(args, &config, &folder, ended)
}

/// Where runs are that are given no folder.
fn runs() -> &'static Path {
    Path::new("runs")
}

/// The folder that a run would be written to now.
fn planned(args: &TrainArgs, objective: &str) -> PathBuf {
    let next = || next_free(runs(), objective);
    args.out.clone().unwrap_or_else(next)
}

/// The folder that a run is written to, which no other run can have from here on.
fn claim(args: &TrainArgs, objective: &str, existing: Existing) -> Result<Claim> {
    Ok(match &args.out {
        Some(folder) => Claim::new(folder, existing)?,
        None => Claim::next(runs(), objective)?,
    })
}

fn dry_run(args: &TrainArgs, mut lines: Lines, folder: &Path) -> Result<()> {
    lines.push(("run folder", folder.display().to_string()));
    if args.json {
        return print(json(&lines));
    }
    show(&lines);
    log("dry run: nothing was trained and nothing written");
    Ok(())
}

fn finish(args: &TrainArgs, config: &Config, folder: &Path, ended: Ended) -> Result<()> {
    if ended == Ended::Interrupted {
        return Err(Interrupted.into());
    }
    let model = folder.join("final");
    before_after::show(config, folder).with_context(|| {
        let model = model.display();
        format!("all steps are done and {model} is whole, but it cannot be shown beside the start")
    })?;
    let rows = rlhf_journal::metrics(folder)?;
    let last = rows.last().context("the run has no steps")?;
    if args.json {
        let steps = rows.len();
        print(object!({"run": folder, "model": model, "steps": steps, "metrics": last.values}))
    } else {
        log(format_args!("run folder {}", folder.display()));
        print(model.display())
    }
}
