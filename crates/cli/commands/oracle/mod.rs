//! `rlhf oracle`: solves an enumerable problem exactly, and measures the gap of a method.

mod decision;
mod token;

use crate::args::OracleArgs;
use crate::output::print;
use anyhow::{Context, Result, anyhow, ensure};
use rlhf_experiment::Usage;
use rlhf_experiment::tabular::Recipe;
use rlhf_oracle::{Mdp, Problem};
use serde_json::Value;
use std::path::Path;

/// A token problem with its discount, or a decision process.
enum AnyProblem {
    Token { problem: Problem, gamma: f64 },
    Decision(Mdp),
}

pub(crate) fn run(args: &OracleArgs) -> Result<()> {
    let problem = read(&args.problem).map_err(Usage)?;
    let recipe = |method| Recipe::of(method).with(&args.set);
    let method = args.method.map(|method| Ok((method, recipe(method)?)));
    let method = method.transpose().map_err(Usage)?;
    match problem {
        AnyProblem::Token { problem, gamma } => {
            let report = token::Report::new(problem, gamma, method, args.seed)?;
            show(args, &report.json(), || report.text())
        }
        AnyProblem::Decision(mdp) => {
            let no_method =
                "is not used with a decision process, only with a token problem: remove it";
            ensure!(method.is_none(), Usage(anyhow!("--method {no_method}")));
            let report = decision::Report::new(&mdp)?;
            show(args, &report.json(), || report.text())
        }
    }
}

fn show(args: &OracleArgs, json: &Value, text: impl FnOnce() -> String) -> Result<()> {
    if args.json {
        print(json)
    } else {
        print(text().trim_end())
    }
}

/// Reads a problem; its keys tell its kind.
fn read(path: &Path) -> Result<AnyProblem> {
    let file = || path.display().to_string();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the problem {}", path.display()))?;
    let value: Value = serde_json::from_str(&text).with_context(file)?;
    let has = |key: &str| value.get(key).is_some();
    if has("states") || has("actions") {
        return Ok(AnyProblem::Decision(
            Mdp::from_json(&text).with_context(file)?,
        ));
    }
    ensure!(
        has("vocab") || has("reward"),
        "{}: neither a token problem, with the key \"vocab\", nor a decision process, with the key \
         \"states\"; see rlhf oracle --help",
        path.display()
    );
    let (problem, gamma) = Problem::from_json(&text).with_context(file)?;
    Ok(AnyProblem::Token { problem, gamma })
}

/// Aligns cells in columns, the first column to the left and the others to the right.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = " ".repeat(width(column) - cell.chars().count());
            line += &match column {
                0 => format!("{cell}{gap}"),
                _ => format!("  {gap}{cell}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
