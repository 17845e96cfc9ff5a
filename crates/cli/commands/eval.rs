//! `rlhf eval`: measures the reward and KL of runs.

use crate::args::EvalArgs;
use crate::commands::exact;
use crate::output::{note, print};
use anyhow::{Context, Result};
use rlhf_experiment::{EvalOverrides, Evaluator, Session};
use rlhf_journal::{FrontierPoint, write_atomic};
use std::fs;
use std::path::Path;

pub(crate) fn run(session: &Session, args: &EvalArgs) -> Result<()> {
    let overrides = EvalOverrides {
        reward: args.reward.clone(),
        prompts: args.prompts.clone(),
    };
    let mut evaluator = Evaluator::new(session, &args.runs, &overrides)?;
    if args.exact {
        return exact::run(&mut evaluator, &args.runs, args.json);
    }
    evaluator.note_setup(&args.runs, &overrides);
    let folder = args.out.as_deref().unwrap_or(&args.runs[0]);
    // Created first, so that an unwritable folder is reported before the measurement.
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot write to {}: choose another --out", folder.display()))?;
    let points = evaluator.points(&args.runs)?;
    write(folder, &points)?;
    if args.json {
        for point in &points {
            print(serde_json::to_string(point)?)?;
        }
        return Ok(());
    }
    print(rlhf_report::table(&points).trim_end())
}

/// Measures one run and writes its plot to its folder.
pub(crate) fn picture(session: &Session, run: &Path) -> Result<()> {
    let runs = [run.to_path_buf()];
    let points = Evaluator::new(session, &runs, &EvalOverrides::default())?.points(&runs)?;
    write(run, &points)?;
    note(rlhf_report::table(&points).trim_end());
    Ok(())
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
    note(picture.display());
    Ok(())
}
