//! `rlhf train`: plans a run, starts it or resumes it.

use crate::args::TrainArgs;
use crate::commands::eval;
use crate::interrupt;
use crate::output::{note, print};
use anyhow::{Context, Result, anyhow};
use rlhf_experiment::{
    Changes, Config, Interrupted, Layers, Lines, Located, Missing, Prepared, Session, Usage,
    check_beta, note_plan, plan, plan_json, small_world, start_threads,
};
use rlhf_journal::{Claim, Existing, Journal, next_free};
use rlhf_train::Ended;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn run(session: &Session, args: &TrainArgs) -> Result<()> {
    interrupt::listen(&session.interrupts)?;
    if args.resume {
        return resume(session, args);
    }
    if args.accept_changes {
        // clap does not enforce `requires` on an option that conflicts with a third one.
        let alone = anyhow!("--accept-changes is used with --resume only");
        return Err(Usage(alone).into());
    }
    if args.is_bare() {
        return demo(session, args);
    }
    let config = args.layers(session).and_then(resolve).map_err(Usage)?;
    if let Some(folder) = &args.out {
        Journal::check(folder, existing(args))?;
    }
    let ready = Ready::open(session, config, &mut |remark| note(remark))?;
    let objective = &ready.located.local.objective;
    if args.dry_run {
        return dry_run(args, ready.lines, &planned(args, objective));
    }
    let claim = claim(args, objective)?;
    train(session, args, claim, ready, |_| Ok(()))?;
    Ok(())
}

/// The settings of a run, complete and valid.
fn resolve(layers: Layers) -> Result<Config> {
    let config = layers.resolve()?;
    config.require()?;
    Ok(config)
}

/// A run that is ready to start, with its plan.
struct Ready {
    located: Located,
    prepared: Prepared,
    lines: Lines,
}

impl Ready {
    fn open(session: &Session, config: Config, remarks: &mut dyn FnMut(String)) -> Result<Self> {
        let located = session.locator.locate(config, Missing::Refuse)?;
        check_beta(&located.local).map_err(Usage)?;
        // Tokenizing the rows uses all threads.
        start_threads(&located.local)?;
        let prepared = session.prepare_with(located.local.clone(), remarks)?;
        let lines = plan(&prepared)?;
        Ok(Self {
            located,
            prepared,
            lines,
        })
    }
}

/// Trains in a claimed folder, which is emptied and then filled by `write_files`; returns the settings of the
/// run.
fn train(
    session: &Session,
    args: &TrainArgs,
    claim: Claim,
    ready: Ready,
    write_files: impl FnOnce(&Path) -> Result<()>,
) -> Result<Config> {
    let folder = claim.folder().to_path_buf();
    let mut journal = claim.create()?;
    write_files(&folder)?;
    note(format_args!("run folder {}", folder.display()));
    note_plan(&ready.lines);
    interrupt::resumable();
    let recorded = (ready.located.recorded, ready.located.repositories);
    let (config, ended) = session.start(ready.prepared, &mut journal, recorded)?;
    finish(args, &folder, ended)?;
    Ok(config)
}

/// Runs on the built-in demo, whose files are written to the run folder.
fn demo(session: &Session, args: &TrainArgs) -> Result<()> {
    let objective = args
        .layers(session)
        .and_then(|layers| layers.objective())
        .map_err(Usage)?;
    let settings = |folder: &Path| -> Result<Config> {
        let mut layers = small_world::layers(session.registry.catalog(), folder, &objective)?;
        args.add_to(session, &mut layers)?;
        resolve(layers)
    };
    let name = objective.preset.name;
    let folder = planned(args, name);
    if args.dry_run {
        return plan_demo(session, args, &folder, &settings);
    }
    let config = settings(&folder).map_err(Usage)?;
    let claim = claim(args, name)?;
    // Another process may have claimed the planned folder meanwhile.
    let config = if claim.folder() == folder {
        config
    } else {
        settings(claim.folder()).map_err(Usage)?
    };
    let world = small_world::path(claim.folder());
    let existed = world.exists();
    let ready = small_world::write(claim.folder())
        .and_then(|_| Ready::open(session, config, &mut |remark| note(remark)));
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => {
            if !existed {
                let _ = fs::remove_dir_all(&world);
            }
            claim.abandon();
            return Err(error);
        }
    };
    let folder = claim.folder().to_path_buf();
    // The demo was opened in this folder before it was emptied for the run.
    let config = train(session, args, claim, ready, |folder| {
        small_world::write(folder).map(drop)
    })?;
    if config.reward.is_some() {
        eval::picture(session, &folder)
            .context("training is done and the model is complete, but measuring it failed")?;
    }
    Ok(())
}

/// Plans a run on the demo. Its files are read from a temporary folder, because a dry run writes nothing
/// to the run folder; the plan names the run folder.
fn plan_demo(
    session: &Session,
    args: &TrainArgs,
    folder: &Path,
    settings: &dyn Fn(&Path) -> Result<Config>,
) -> Result<()> {
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    small_world::write(temporary.path())?;
    let config = settings(temporary.path()).map_err(Usage)?;
    if let Some(out) = &args.out {
        Journal::check(out, existing(args))?;
    }
    let read_from = temporary.path().display().to_string();
    let written_to = std::path::absolute(folder)?.display().to_string();
    let rename = |text: String| text.replace(&read_from, &written_to);
    let ready = Ready::open(session, config, &mut |remark| note(rename(remark)))?;
    let lines = ready.lines.into_iter();
    let mut lines: Lines = lines.map(|(name, text)| (name, rename(text))).collect();
    let world = small_world::path(folder);
    let words = format!("the run writes the demo's files to {}", world.display());
    lines.push(("world", words));
    dry_run(args, lines, folder)
}

fn existing(args: &TrainArgs) -> Existing {
    if args.overwrite {
        Existing::Overwrite
    } else {
        Existing::Refuse
    }
}

fn resume(session: &Session, args: &TrainArgs) -> Result<()> {
    let folder = args
        .out
        .clone()
        .context("--resume needs --out, the run folder to continue");
    let folder = folder.map_err(Usage)?;
    // Claimed before reading: another process may be writing a later checkpoint.
    let claim = session.claim_existing(&folder)?;
    interrupt::resumable();
    let changes = if args.accept_changes {
        Changes::Accept
    } else {
        Changes::Refuse
    };
    let (_, ended) = session.resume(claim, changes)?;
    finish(args, &folder, ended)
}

/// The parent of run folders that the user does not name.
fn runs() -> &'static Path {
    Path::new("runs")
}

/// The folder that a run would be written to now. A run that starts in the meantime may take it.
fn planned(args: &TrainArgs, objective: &str) -> PathBuf {
    let next = || next_free(runs(), objective);
    args.out.clone().unwrap_or_else(next)
}

/// Claims the folder of a run, so that no other process writes to it.
fn claim(args: &TrainArgs, objective: &str) -> Result<Claim> {
    Ok(match &args.out {
        Some(folder) => Claim::new(folder, existing(args))?,
        None => Claim::next(runs(), objective)?,
    })
}

fn dry_run(args: &TrainArgs, mut lines: Lines, folder: &Path) -> Result<()> {
    lines.push(("run folder", folder.display().to_string()));
    if args.json {
        return print(plan_json(&lines));
    }
    note_plan(&lines);
    note("dry run: nothing was trained or written");
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
        print(json!({"run": folder, "model": model, "steps": steps, "metrics": last.values}))
    } else {
        print(model.display())
    }
}
