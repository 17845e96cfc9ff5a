//! Every method with every prior on small trees: is it the same optimum?

use crate::report::log;
use crate::suite::{Outcome, Required, Setting, Suite, Verdict};
use crate::tree_cells::{Cell, Ground, Learns, PRIORS, cell};
use anyhow::Result;
use rlhf_journal::Estimate;
use serde_json::json;

pub(crate) const SUITE: Suite = Suite {
    name: "trees",
    about: "how near methods come to the exact optimum of the golden tree and ten random ones, with \
            every prior",
    run,
};

/// How many random trees.
const TREES: u64 = 10;

fn run(setting: &Setting<'_>) -> Result<Outcome> {
    let mut cells: Vec<Cell> = Vec::new();
    let random = (1..=TREES).map(Ground::random);
    for ground in std::iter::once(Ground::gold()).chain(random) {
        for prior in PRIORS {
            for learns in Learns::ALL {
                for seed in 1..=u64::from(setting.seeds) {
                    cells.push(cell(&ground, prior, learns, seed)?);
                }
            }
        }
        log(format_args!("{}: {} runs so far", ground.name, cells.len()));
    }
    let rows = cells.iter().map(|cell| json!(cell)).collect();
    let verdicts = Learns::ALL.map(|learns| verdict(learns, &cells)).into();
    Ok(Outcome { rows, verdicts })
}

/// The run that stayed furthest away must be near enough; the interval is of all runs.
fn verdict(learns: Learns, cells: &[Cell]) -> Verdict {
    let own = cells.iter().filter(|cell| cell.learns == learns);
    let distances: Vec<f64> = own.map(|cell| cell.kl_to_optimum).collect();
    let furthest = distances.iter().copied().fold(0.0, f64::max);
    let nearest = distances.iter().copied().fold(f64::INFINITY, f64::min);
    Verdict {
        name: format!(
            "{learns}: KL to the optimum, nats, the furthest of {} runs",
            distances.len()
        ),
        required: Required::AtMost(learns.bound()),
        reached: Estimate::within(furthest, nearest, furthest),
    }
}
