//! Tests of the built-in demo: its true score is not trivial, and a short run improves it.

mod program;

use program::{done, rlhf, rows, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Reads a lexicon: a word and its value per line.
fn lexicon(path: &Path) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(path).unwrap();
    let entry = |line: &str| {
        let (word, value) = line.split_once('\t').unwrap();
        (word.to_string(), value.parse().unwrap())
    };
    text.lines().map(entry).collect()
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// Trains briefly on the demo, then samples the prior and the trained policy.
#[test]
fn a_short_run_improves_the_true_score() {
    let folder = tempfile::tempdir().unwrap();
    let short = [
        "--set",
        "train.iterations=12",
        "--set",
        "eval.prior_samples=64",
        "--set",
        "train.checkpoints=1",
    ];
    let arguments = [&["train", "--out", "run"][..], &short].concat();
    let said = rlhf(folder.path(), &arguments);
    let said = text(&said.stderr);
    assert!(
        said.contains("\n  before … ") && said.contains("\n  after  … "),
        "{said}"
    );
    let run = folder.path().join("run");
    let answers = rows(&fs::read_to_string(run.join("before_after.jsonl")).unwrap());
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|row| row["after"]["score"].is_f64()));

    let words = lexicon(&run.join("world/lexicon.txt"));
    let score = |text: &str| -> f64 { text.split(' ').filter_map(|word| words.get(word)).sum() };
    let sample = |model: &str, n: &str| {
        let arguments = [
            "generate",
            "--model",
            model,
            "--prompts",
            "run/world/held_out.jsonl",
        ];
        let more = ["-n", n, "--max-new-tokens", "24", "--json"];
        rows(&done(folder.path(), &[&arguments[..], &more].concat()))
    };
    let prior = sample("run/world/model", "64");
    let text = |row: &Value| row["completion"].as_str().unwrap().to_string();
    let scores: Vec<f64> = prior.iter().map(|row| score(&text(row))).collect();
    worth_learning(&scores, &prior);

    let after: Vec<f64> = sample("run/final", "4")
        .iter()
        .map(|row| score(&text(row)))
        .collect();
    // A tenth of the possible gain would be 0.3.
    assert!(mean(&after) > mean(&scores) + 1.0, "{}", mean(&after));
}

/// The scores have many values, none of them common, do not depend on length, and can be improved.
fn worth_learning(scores: &[f64], samples: &[Value]) {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for score in scores {
        *counts.entry((score * 4.0).round() as i64).or_default() += 1;
    }
    assert!(counts.len() >= 20, "{counts:?}");
    let most = counts.values().max().copied().unwrap_or(0);
    assert!((most as f64) < 0.3 * scores.len() as f64, "{counts:?}");
    let lengths: Vec<f64> = samples
        .iter()
        .map(|row| row["completion_ids"].as_array().unwrap().len() as f64)
        .collect();
    let (s, l) = (mean(scores), mean(&lengths));
    let moment = |a: &[f64], ma: f64, b: &[f64], mb: f64| -> f64 {
        a.iter().zip(b).map(|(x, y)| (x - ma) * (y - mb)).sum()
    };
    let both = moment(scores, s, &lengths, l);
    let each = moment(scores, s, scores, s) * moment(&lengths, l, &lengths, l);
    assert!((both / each.sqrt()).abs() < 0.5, "{}", both / each.sqrt());
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert!(s < low + 0.6 * (high - low), "{s} in [{low}, {high}]");
}
