//! What is said and written of held-out data at the end of a run.

use crate::notes::note;
use crate::words::counted;
use rlhf_eval::{DistinctPrompts, LEAST_PROMPTS};
use rlhf_journal::{Estimate, Interval};
use rlhf_objective::Prompt;
use rlhf_reward::Calibration;
use rlhf_train::Stats;
use serde_json::{Value, json};
use std::sync::Arc;

/// What is written about held-out data, an interval around an accuracy included; the log says it
/// in a line. `prompts` are those of the items.
pub(crate) fn numbers(stats: &Stats, items: usize, prompts: &[Arc<Prompt>]) -> Value {
    let mut numbers: serde_json::Map<_, _> = stats
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value)))
        .collect();
    let mut line = format!("held out: {}", counted(items, "items"));
    let mut written = json!({"items": items});
    for name in ["loss", "rewards/margins", "confidence"] {
        if let Some(value) = stats.get(name) {
            line += &format!(", {name} {value:.4}");
        }
    }
    if let Some(share) = stats.get("rewards/accuracies") {
        let distinct = DistinctPrompts::new(prompts).count();
        let accuracy = accuracy(share, prompts);
        line += &format!(", accuracy {}", words(&accuracy, distinct));
        if distinct < items {
            line += &format!(" of {}", counted(distinct, "distinct prompts"));
        }
        numbers.insert("accuracy".into(), json!(accuracy));
        written["prompts"] = distinct.into();
    }
    note(line);
    written["numbers"] = numbers.into();
    written
}

/// A share of items that are right, with the interval of as many trials as there are distinct prompts.
/// Items of one prompt are not independent of each other; that they count as one here makes the interval
/// too wide rather than too narrow. No interval of fewer than [`LEAST_PROMPTS`].
pub(crate) fn accuracy(share: f64, prompts: &[Arc<Prompt>]) -> Estimate {
    let prompts = DistinctPrompts::new(prompts).count();
    match prompts < LEAST_PROMPTS {
        true => Estimate {
            value: share,
            interval: None,
        },
        false => rlhf_eval::wilson(share, prompts),
    }
}

fn words(accuracy: &Estimate, prompts: usize) -> String {
    let share = accuracy.value;
    match accuracy.interval {
        Some(Interval { low, high }) => format!("{share:.3} [{low:.3}, {high:.3}]"),
        None => {
            let are = if prompts == 1 { "is" } else { "are" };
            let prompts = counted(prompts, "distinct prompts");
            format!("{share:.3} (no interval: {prompts} {are} too few)")
        }
    }
}

/// How sure a reward model is on held-out pairs, and how right; the log says it in a line.
pub(crate) fn calibration(margins: &[f32], labels: &[f32]) -> Calibration {
    let found = Calibration::labelled(margins, labels);
    let points = found.bins.iter();
    let points: Vec<_> = points
        .map(|bin| {
            format!(
                "{:.2} → {:.2} ({})",
                bin.confidence, bin.accuracy, bin.pairs
            )
        })
        .collect();
    note(format_args!(
        "calibration: expected error {:.3}; confidence → accuracy (pairs): {}",
        found.expected_error,
        points.join(", ")
    ));
    found
}
