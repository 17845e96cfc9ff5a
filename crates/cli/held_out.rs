//! What is said and written of held-out data at the end of a run.

use crate::output::log;
use rlhf_reward::Calibration;
use rlhf_train::Stats;
use serde_json::{Value, json};

/// What is written about held-out data, an interval around an accuracy included; the log says it
/// in a line.
pub(crate) fn numbers(stats: &Stats, items: usize) -> Value {
    let mut numbers: serde_json::Map<_, _> = stats
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value)))
        .collect();
    let mut line = format!("held out: {items} items");
    for name in ["loss", "rewards/margins", "confidence"] {
        if let Some(value) = stats.get(name) {
            line += &format!(", {name} {value:.4}");
        }
    }
    if let Some(share) = stats.get("rewards/accuracies") {
        let interval = rlhf_eval::wilson(share, items);
        line += &format!(
            ", accuracy {share:.3} [{:.3}, {:.3}]",
            interval.low, interval.high
        );
        numbers.insert("accuracy".into(), json!(interval));
    }
    log(line);
    json!({"items": items, "numbers": numbers})
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
    log(format_args!(
        "calibration: expected error {:.3}; confidence → accuracy (pairs): {}",
        found.expected_error,
        points.join(", ")
    ));
    found
}
