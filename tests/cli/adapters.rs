//! LoRA as a user runs it: trained, resumed, merged, and refused.

use crate::program::{rlhf, rows, text};
use crate::{folder, metrics, small_run};
use std::fs;
use std::path::Path;

/// The sum of the log-probs of each row that `score` writes.
fn scored(folder: &Path, model: &str) -> Vec<f64> {
    let output = rlhf(
        folder,
        &["score", "--model", model, "--input", "good.jsonl"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows = rows(&text(&output.stdout));
    rows.iter()
        .map(|row| {
            let log_probs = row["log_probs"].as_array().expect("log-probs of a row");
            log_probs.iter().map(|x| x.as_f64().unwrap()).sum()
        })
        .collect()
}

/// Every kind of network: the adapter alone is saved, KL is exactly 0 at step 0 because the prior reads the same
/// weights, and a merged checkpoint answers what the adapter does.
#[test]
fn adapters_are_trained_saved_and_merged() {
    let folder = folder();
    let path = folder.path();
    let base = fs::read(path.join("model/model.safetensors")).unwrap();
    for (number, more) in [
        &["--lora", "2", "--set", "model.adapter.rslora=true"][..],
        &["--lora", "2", "--set", "model.critic=separate"],
        &["--lora", "2", "--dtype", "bf16", "--frozen-dtype", "bf16"],
        &[
            "--set",
            "model.adapter={ rank = 1, alpha = 4, targets = [\"c_attn\"] }",
        ],
    ]
    .into_iter()
    .enumerate()
    {
        let mut arguments = small_run("ppo-kl", more);
        arguments.extend(["--set", "optim.learning_rate=0.01"]);
        let output = rlhf(path, &arguments);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("adapter    LoRA of rank"), "{said}");
        let numbers = metrics(&path.join("run"));
        assert_eq!(numbers[0]["objective/kl"], 0.0, "{more:?}");
        assert!(
            numbers[1]["objective/kl"].as_f64().unwrap() > 0.0,
            "{more:?}"
        );
        let last = path.join("run/final");
        assert!(last.join("adapter_config.json").exists());
        assert!(!last.join("model.safetensors").exists());
        let merged = format!("merged-{number}");
        let output = rlhf(path, &["model", "merge", "run/final", &merged]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let [adapted, whole, before] = ["run/final", &merged, "model"].map(|m| scored(path, m));
        for ((adapted, whole), before) in adapted.iter().zip(&whole).zip(&before) {
            assert!((adapted - whole).abs() < 1e-4, "{adapted} {whole}");
            assert!((adapted - before).abs() > 1e-3, "{adapted} {before}");
        }
    }
    assert_eq!(
        fs::read(path.join("model/model.safetensors")).unwrap(),
        base
    );
}

#[test]
fn adapters_that_cannot_be_trained_are_refused() {
    let folder = folder();
    for (setting, named) in [
        (
            "model.adapter.rank=0",
            "model.adapter.rank = 0: an adapter has a rank of at least 1",
        ),
        (
            "model.adapter={ rank = 2, targets = [\"q_proj\"] }",
            "model.adapter: the target \"q_proj\" matches no linear layer of the blocks; their names end in \
             c_attn, c_fc, c_proj",
        ),
        (
            "model.adapter={ rank = 2, targets = [] }",
            "model.adapter.targets = []",
        ),
        ("model.adapter={ alpha = 2 }", "missing field `rank`"),
    ] {
        let output = rlhf(folder.path(), &small_run("rloo", &["--set", setting]));
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains(named), "{setting}: {said}");
    }
    let output = rlhf(folder.path(), &["model", "merge", "model", "out"]);
    assert!(text(&output.stderr).contains("holds no adapter"));
}
