//! `rlhf train`: one run.

use crate::args::TrainArgs;
use crate::commands::eval;
use crate::interrupt;
use crate::output::{note, print};
use anyhow::{Context, Result, anyhow};
use rlhf_experiment::{
    Changes, Config, Interrupted, Layers, Lines, Missing, Session, Usage, check_beta, json, plan,
    say, small_world, start_threads,
};
use rlhf_journal::{Claim, Existing, Journal, next_free};
use rlhf_train::Ended;
use serde_json::json as object;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) fn run(session: &Session, args: &TrainArgs) -> Result<()> {
    interrupt::listen(&session.interrupts)?;
    if args.resume {
        return resume(session, args);
    }
    if args.accept_changes {
        // clap forgets that one option needs another where that one conflicts with a third.
        let alone = anyhow!("--accept-changes goes with --resume: it is about a run that goes on");
        return Err(Usage(alone).into());
    }
    let world = args.is_bare().then(Staged::new).transpose()?;
    let config = match &world {
        Some(world) => world.layers(session, args),
        None => args.layers(session),
    };
    let config = config
        .and_then(|layers| layers.resolve())
        .and_then(|config| config.require().map(|()| config))
        .map_err(Usage)?;
    let settled = session.locator.settle(config, Missing::Refuse)?;
    check_beta(&settled.local).map_err(Usage)?;
    let existing = match args.overwrite {
        true => Existing::Overwrite,
        false => Existing::Refuse,
    };
    if let Some(folder) = &args.out {
        Journal::check(folder, existing)?;
    }
    // Before anything runs on them: rows are tokenized on all.
    start_threads(&settled.local)?;
    let prepared = session.prepare(settled.local.clone())?;
    let mut lines = plan(&prepared)?;
    let objective = &settled.local.objective;
    if args.dry_run {
        // A plan takes no folder: a run that starts meanwhile may have the one it names.
        let folder = planned(args, objective);
        if world.is_some() {
            let there = folder.join("world");
            let words = format!("a run writes it to {} and reads it there", there.display());
            lines.push(("world", words));
        }
        return dry_run(args, lines, &folder);
    }
    let claim = claim(args, objective, existing)?;
    let folder = claim.folder().to_path_buf();
    let mut journal = claim.create()?;
    note(format_args!("run folder {}", folder.display()));
    let (settled, prepared) = match &world {
        None => (settled, prepared),
        Some(world) => {
            small_world::write(&folder)?;
            let settled = settled.try_map(|config| world.config_in(&folder, config))?;
            let prepared = session.prepare(settled.local.clone())?;
            lines = plan(&prepared)?;
            (settled, prepared)
        }
    };
    say(&lines);
    interrupt::resumable();
    let kept = (settled.kept, settled.repositories);
    let (config, ended) = session.start(prepared, &mut journal, kept)?;
    finish(args, &folder, ended)?;
    if world.is_some() && config.reward.is_some() {
        eval::picture(session, &folder)
            .context("all steps are done and the model is whole, but there is no picture of it")?;
    }
    Ok(())
}

fn resume(session: &Session, args: &TrainArgs) -> Result<()> {
    let folder = args
        .out
        .clone()
        .context("--resume needs --out, the run folder to continue");
    let folder = folder.map_err(Usage)?;
    // Before anything of it is read: another process may be about to write a later checkpoint.
    let claim = session.claim_again(&folder)?;
    interrupt::resumable();
    let changes = match args.accept_changes {
        true => Changes::Accept,
        false => Changes::Refuse,
    };
    let (_, ended) = session.resume(claim, changes)?;
    finish(args, &folder, ended)
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
    say(&lines);
    note("dry run: nothing was trained and nothing written");
    Ok(())
}

fn finish(args: &TrainArgs, folder: &Path, ended: Ended) -> Result<()> {
    if ended == Ended::Interrupted {
        return Err(Interrupted.into());
    }
    let model = folder.join("final");
    let rows = rlhf_journal::metrics(folder)?;
    let last = rows.last().context("the run has no steps")?;
    if args.json {
        let steps = rows.len();
        print(object!({"run": folder, "model": model, "steps": steps, "metrics": last.values}))
    } else {
        note(format_args!("run folder {}", folder.display()));
        print(model.display())
    }
}

/// The small world where a run on it is planned: a folder that goes away, for a plan writes nothing.
struct Staged(TempDir);

impl Staged {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        small_world::write(folder.path())?;
        Ok(Self(folder))
    }

    /// The settings of a run on it.
    fn layers(&self, session: &Session, args: &TrainArgs) -> Result<Layers> {
        let objective = args.layers(session)?.objective()?;
        let catalog = session.registry.catalog();
        let mut layers = small_world::layers(catalog, self.0.path(), &objective)?;
        args.add_to(session, &mut layers)?;
        Ok(layers)
    }

    /// The same settings where the world is in the run folder.
    fn config_in(&self, run: &Path, config: Config) -> Result<Config> {
        config.stored_in(self.0.path())?.read_from(run)
    }
}
