//! `rlhf train`: one run.

use crate::args::TrainArgs;
use crate::commands::demo::Staged;
use crate::commands::{before_after, demo, eval};
use crate::config::{Config, ObjectiveName};
use crate::layers::Layers;
use crate::output::{Interrupted, Usage, log, print};
use crate::plan::{Lines, json, plan, show};
use crate::prior_fit;
use crate::resolve::{Missing, Settled, settle};
use crate::run::{Start, execute, start_threads};
use anyhow::{Context, Result, ensure};
use rlhf_journal::{Existing, Journal, checkpoints, last_checkpoint, next_free};
use rlhf_train::Ended;
use serde_json::json as object;
use std::path::{Path, PathBuf};

/// The head of a run's `config.toml`.
const STORED: &str =
    "# What this run used. A path that does not start with / is inside this folder.\n\n";

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    if args.resume {
        return resume(args);
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
    let folder = folder(args, settled.local.objective);
    let existing = match args.overwrite {
        true => Existing::Overwrite,
        false => Existing::Refuse,
    };
    Journal::check(&folder, existing)?;
    // Before anything runs on them: rows are tokenized on all.
    start_threads(&settled.local)?;
    let mut lines = plan(&settled.local)?;
    if let Some(world) = &world {
        world.say_in(&folder, &mut lines)?;
        settled = settled.try_map(|config| world.config_in(&folder, config))?;
    }
    if args.dry_run {
        return dry_run(args, lines, &folder);
    }
    let Settled {
        kept,
        local,
        repositories,
    } = settled;
    let mut journal = Journal::create(&folder, existing)?;
    log(format_args!("run folder {}", folder.display()));
    if world.is_some() {
        demo::write(&folder)?;
    }
    show(&lines);
    let stored = toml::to_string(&kept.stored_in(&folder)?)?;
    journal.config(&format!("{STORED}{stored}"))?;
    let start = Start::fresh(&local)?.with(repositories);
    let (config, ended) = go(local, &mut journal, &start)?;
    finish(args, &config, &folder, ended)?;
    if world.is_some() && config.reward.is_some() {
        eval::picture(&folder)?;
    }
    Ok(())
}

/// Runs what has a folder: first what the prior is fitted to, if it is.
fn go(mut config: Config, journal: &mut Journal, start: &Start) -> Result<(Config, Ended)> {
    config.prior.locate(&std::path::absolute(journal.folder())?);
    prior_fit::fit(&config)?;
    let ended = execute(&config, journal, start)?;
    Ok((config, ended))
}

/// A run without questions, in a folder that is nobody else's: one that was interrupted goes on.
pub(crate) fn fit(config: &Config, folder: &Path) -> Result<()> {
    let (mut journal, start) = match last_checkpoint(folder) {
        Ok(last) => (Journal::resume(folder, last.step)?, Start::at(&last.path)),
        Err(_) => {
            let journal = Journal::create(folder, Existing::Overwrite)?;
            journal.config(&toml::to_string(config)?)?;
            (journal, Start::fresh(config)?)
        }
    };
    match go(config.clone(), &mut journal, &start)? {
        (_, Ended::Done) => Ok(()),
        (_, Ended::Interrupted) => Err(Interrupted.into()),
    }
}

/// The settings that the run in `folder` was started with, everything in them on this machine.
pub(crate) fn settings_of(folder: &Path) -> Result<Config> {
    Ok(settled_of(folder)?.local)
}

fn settled_of(folder: &Path) -> Result<Settled> {
    let path = folder.join("config.toml");
    if !path.exists() {
        return Err(rlhf_journal::Error::NoRun(folder.into(), "config.toml").into());
    }
    let config = Layers::new(Some(&path))?.resolve()?.read_from(folder)?;
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
    let settled = settled_of(&folder)?;
    let config = settled.local;
    check_paths(&config, &folder, |_| true)?;
    // A run that was stopped before its first checkpoint starts again from the beginning.
    let (step, start) = match checkpoints(&folder)?.pop() {
        Some(last) => (last.step, Start::at(&last.path)),
        None => (0, Start::fresh(&config)?.with(settled.repositories)),
    };
    log(format_args!(
        "run folder {}, from step {step}",
        folder.display()
    ));
    start_threads(&config)?;
    show(&plan(&config)?);
    let mut journal = Journal::resume(&folder, step)?;
    let (config, ended) = go(config, &mut journal, &start)?;
    finish(args, &config, &folder, ended)
}

fn folder(args: &TrainArgs, objective: ObjectiveName) -> PathBuf {
    let next = || next_free(Path::new("runs"), &objective.to_string());
    args.out.clone().unwrap_or_else(next)
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
    before_after::show(config, folder)?;
    let rows = rlhf_journal::metrics(folder)?;
    let last = rows.last().context("the run has no steps")?;
    let model = folder.join("final");
    if args.json {
        let steps = rows.len();
        print(object!({"run": folder, "model": model, "steps": steps, "metrics": last.values}))
    } else {
        log(format_args!("run folder {}", folder.display()));
        print(model.display())
    }
}
