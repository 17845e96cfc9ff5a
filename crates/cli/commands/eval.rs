//! `rlhf eval`: runs on the reward–KL plane.

use crate::args::EvalArgs;
use crate::commands::exact;
use crate::output::{note, print};
use anyhow::{Context, Result};
use rlhf_experiment::{Instead, Judge, Session};
use rlhf_journal::{FrontierPoint, write_atomic};
use std::fs;
use std::path::Path;

pub(crate) fn run(session: &Session, args: &EvalArgs) -> Result<()> {
    let instead = Instead {
        reward: args.reward.clone(),
        prompts: args.prompts.clone(),
    };
    let mut judge = Judge::new(session, &args.runs, &instead)?;
    if args.exact {
        return exact::run(&mut judge, &args.runs, args.json);
    }
    judge.say(&args.runs, &instead);
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
pub(crate) fn picture(session: &Session, run: &Path) -> Result<()> {
    let runs = [run.to_path_buf()];
    let points = Judge::new(session, &runs, &Instead::default())?.points(&runs)?;
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
