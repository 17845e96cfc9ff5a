//! Tests of `rlhf generate` and `rlhf score`.

use crate::folder;
use crate::program::{done, rows};
use std::fs;

#[test]
fn scores_come_in_order_and_add_up() {
    let folder = folder();
    let score = ["score", "--model", "model", "--input", "good.jsonl"];
    let lines = rows(&done(folder.path(), &score));
    let lengths: Vec<_> = lines
        .iter()
        .map(|line| line["tokens"].as_u64().unwrap())
        .collect();
    assert_eq!(lengths, [3, 1]);
    for line in lines {
        let log_probs = line["log_probs"].as_array().unwrap();
        let numbers: Vec<f64> = log_probs.iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(
            line["log_prob"].as_f64().unwrap(),
            numbers.iter().sum::<f64>()
        );
        assert!(numbers.iter().all(|x| *x < 0.0 && *x > -4.0), "{numbers:?}");
    }
}

/// `score` gives a generated response the log-prob that `generate` printed.
#[test]
fn generate_and_score_agree_on_log_probs() {
    let folder = folder();
    let arguments = [
        "generate",
        "--model",
        "model",
        "--prompt",
        "1 2 3",
        "-n",
        "3",
        "--max-new-tokens",
        "6",
        "--json",
    ];
    let drawn = done(folder.path(), &arguments);
    assert_eq!(drawn, done(folder.path(), &arguments));
    fs::write(folder.path().join("drawn.jsonl"), &drawn).unwrap();
    let score = ["score", "--model", "model", "--input", "drawn.jsonl"];
    let scored = done(folder.path(), &score);
    let (drawn, scored) = (rows(&drawn), rows(&scored));
    assert_eq!((drawn.len(), scored.len()), (3, 3));
    for (drawn, scored) in drawn.iter().zip(&scored) {
        let (a, b) = (&drawn["log_probs"], &scored["log_probs"]);
        for (a, b) in a.as_array().unwrap().iter().zip(b.as_array().unwrap()) {
            assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-4);
        }
        assert_eq!(
            drawn["completion_ids"].as_array().unwrap().len() as u64,
            scored["tokens"]
        );
    }
}
