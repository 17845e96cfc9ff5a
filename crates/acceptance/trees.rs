//! The suite `trees`: every method with every prior on small trees reaches the exact optimum.

use crate::report::log;
use crate::suite::{Outcome, Required, Suite, SuiteContext, Verdict};
use crate::tree_cells::{Cell, PRIORS, TreeMethod, TreeProblem, run_cell};
use anyhow::Result;
use rlhf_journal::Estimate;
use serde_json::json;

pub(crate) const SUITE: Suite = Suite {
    name: "trees",
    about: "the KL to the exact optimum of each method with each prior, on the reference tree and ten \
    random ones",
    run,
};

/// The number of random trees.
const TREES: u64 = 10;

fn run(setting: &SuiteContext<'_>) -> Result<Outcome> {
    let mut cells: Vec<Cell> = Vec::new();
    let random = (1..=TREES).map(TreeProblem::random);
    for problem in std::iter::once(TreeProblem::reference()).chain(random) {
        for prior in PRIORS {
            for method in TreeMethod::ALL {
                for seed in 1..=u64::from(setting.seeds) {
                    cells.push(run_cell(&problem, prior, method, seed)?);
                }
            }
        }
        log(format_args!("{}: {} runs done", problem.name, cells.len()));
    }
    let rows = cells.iter().map(|cell| json!(cell)).collect();
    let verdicts = TreeMethod::ALL.map(|method| verdict(method, &cells)).into();
    Ok(Outcome { rows, verdicts })
}

/// The greatest KL of all runs is compared with the bound; the interval is the range over runs.
fn verdict(method: TreeMethod, cells: &[Cell]) -> Verdict {
    let runs = cells.iter().filter(|cell| cell.learns == method);
    let distances: Vec<f64> = runs.map(|cell| cell.kl_to_optimum).collect();
    let greatest = distances.iter().copied().fold(0.0, f64::max);
    let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
    Verdict {
        name: format!(
            "{method}: KL to the optimum, nats, the greatest of {} runs",
            distances.len()
        ),
        required: Required::AtMost(method.bound()),
        reached: Estimate::within(greatest, least, greatest),
    }
}
