//! Every loss of direct preference optimization in a run.

use crate::folder;
use crate::program::{rlhf, text};
use std::fs;

/// Every loss on preferences, from the settings to a policy that has moved; single answers too, by
/// themselves and as pairs.
#[test]
fn every_loss_learns() {
    let folder = folder();
    let write = |name: &str, row: &str| fs::write(folder.path().join(name), row).unwrap();
    let pairs = |i: usize| {
        format!(
            "{{\"prompt\": \"{i} 1\", \"chosen\": \"3 {i}\", \"rejected\": \"4 5 6\", \"label\": 0.9}}\n"
        )
    };
    let judged = |i: usize| {
        let liked = i.is_multiple_of(2);
        format!("{{\"prompt\": \"{i} 1\", \"completion\": \"3 {i}\", \"label\": {liked}}}\n")
    };
    write("pairs.jsonl", &(1..9).map(pairs).collect::<String>());
    write(
        "certain.jsonl",
        &(1..9).map(pairs).collect::<String>().replace("0.9", "1"),
    );
    write("opinions.jsonl", &(1..9).map(judged).collect::<String>());
    let runs = [
        "sigmoid",
        "robust",
        "hinge",
        "ipo",
        "ipo-normalized",
        "exo",
        "nca",
        "bco",
        "sppo",
        "apo-zero",
        "apo-down",
        "discopop",
    ];
    let mut runs: Vec<String> = runs
        .iter()
        .map(|loss| format!("dpo pairs.jsonl method.loss={loss}"))
        .collect();
    runs[1] += " method.label_smoothing=0.2";
    runs[5] += " method.label_smoothing=0.001";
    for run in [
        "dpo certain.jsonl method.loss=aot train.tokens_per_batch=1",
        "dpo pairs.jsonl method.loss=simpo prior.kind=counting",
        "dpo pairs.jsonl method.loss=orpo prior.kind=counting",
        "dpo pairs.jsonl method.divergence=forward-kl",
        "dpo pairs.jsonl method.divergence=js",
        "dpo pairs.jsonl method.divergence=alpha",
        "dpo pairs.jsonl prior.kind=counting",
        "kto opinions.jsonl method.desirable_weight=2.0",
        "kto certain.jsonl train.tokens_per_batch=1",
    ] {
        runs.push(run.into());
    }
    for run in runs {
        let mut parts = run.split(' ');
        let (objective, data) = (parts.next().unwrap(), parts.next().unwrap());
        let size = match objective {
            "dpo" => "train.batch_pairs=4",
            _ => "method.answers_per_step=4",
        };
        let mut arguments = vec![
            "train",
            "--objective",
            objective,
            "--model",
            "model",
            "--data",
            data,
            "--out",
            "run",
            "--overwrite",
            "--set",
            size,
            "--set",
            "optim.learning_rate=1e-3",
        ];
        parts.for_each(|set| arguments.extend(["--set", set]));
        let output = rlhf(folder.path(), &arguments);
        assert!(output.status.success(), "{run}\n{}", text(&output.stderr));
        let moved = fs::read(folder.path().join("run/final/model.safetensors")).unwrap();
        let start = fs::read(folder.path().join("model/model.safetensors")).unwrap();
        assert_ne!(moved, start, "{run}");
    }
}
