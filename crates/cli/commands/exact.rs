//! `rlhf eval --exact`: how far runs are from the optimum, where all responses can be listed.

use crate::output::print;
use anyhow::Result;
use rlhf_eval::ExactEvaluation;
use rlhf_experiment::{Judge, Row, exact};
use std::fmt::Write;
use std::path::PathBuf;

/// Measures runs and prints where they stand.
pub(crate) fn run(judge: &mut Judge<'_>, runs: &[PathBuf], json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for run in runs {
        rows.extend(exact(judge, run)?);
    }
    if json {
        for row in &rows {
            print(serde_json::to_string(row)?)?;
        }
        return Ok(());
    }
    print(table(&rows).trim_end())
}

/// One line a policy; `closed` is the share of the gap between prior and optimum.
fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.run.chars().count()).max();
    let width = width.unwrap_or(0).max(3);
    let mut text = format!(
        "{:width$}  {:<10} {:>9} {:>9} {:>11} {:>9} {:>9} {:>8}\n",
        "run", "policy", "reward", "KL, nats", "best reward", "J", "gap", "closed"
    );
    for row in rows {
        let what = row
            .step
            .map_or_else(|| row.of.into(), |step| format!("step {step}"));
        let ExactEvaluation {
            reward,
            kl,
            best_reward,
            gap,
        } = row.evaluation;
        let _ = write!(
            text,
            "{:width$}  {what:<10} {reward:>9.5} {kl:>9.5} {best_reward:>11.5}",
            row.run
        );
        let _ = match gap {
            Some(gap) => writeln!(
                text,
                " {:>9.5} {:>9.5} {:>7.2}%",
                gap.elbo,
                gap.gap,
                100.0 * gap.closed
            ),
            None => writeln!(text, " {:>9} {:>9} {:>8}", "-", "-", "-"),
        };
    }
    text
}
