//! Tests of the files in configs/.

use crate::folder;
use crate::program::{rlhf, text};
use std::fs;
use std::path::Path;

/// The files in configs/ are accepted without changes, and their comments describe them.
#[test]
fn shipped_configs_are_valid() {
    let folder = folder();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    fs::write(
        folder.path().join("data.jsonl"),
        "{\"prompt\": \"1\", \"chosen\": \"2\", \"rejected\": \"3\", \"completion\": \"4\"}\n"
            .repeat(3),
    )
    .unwrap();
    let mut seen = 0;
    for file in fs::read_dir(configs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let config = file.to_str().unwrap();
        let plan = [
            "train",
            "--dry-run",
            "--config",
            config,
            "--model",
            "model",
            "--data",
            "data.jsonl",
        ];
        let mut plan = plan.to_vec();
        if config.ends_with("imitation.toml") {
            plan.extend(["--prior", "model"]);
        }
        let output = rlhf(folder.path(), &plan);
        assert!(
            output.status.success(),
            "{config}\n{}",
            text(&output.stderr)
        );
        seen += 1;
    }
    assert!(seen >= 3);
    assert!(
        !folder.path().join("runs").exists(),
        "a dry run leaves nothing"
    );
}

/// A setting under its old name is read, with one warning that names its place and its new name.
#[test]
fn an_old_name_of_a_setting_warns_once() {
    let folder = folder();
    let row = "{\"prompt\": \"1\", \"chosen\": \"2\", \"rejected\": \"3\"}\n";
    fs::write(folder.path().join("data.jsonl"), row.repeat(9)).unwrap();
    let old = "objective = \"dpo\"\n[train]\nbatch_pairs = 4\n";
    fs::write(folder.path().join("old.toml"), old).unwrap();
    let plan = [
        "train",
        "--dry-run",
        "--config",
        "old.toml",
        "--model",
        "model",
        "--data",
        "data.jsonl",
        "--set",
        "train.recompute=blocks",
    ];
    let output = rlhf(folder.path(), &plan);
    let warned = text(&output.stderr);
    assert!(output.status.success(), "{warned}");
    assert!(warned.contains("in batches of 4 pairs"), "{warned}");
    for line in [
        "old.toml:3: `train.batch_pairs` was renamed to `train.batch_size`",
        "--set train.recompute=blocks: `train.recompute` was renamed to `train.activation_checkpointing`",
    ] {
        assert_eq!(warned.matches(line).count(), 1, "{warned}");
    }
}

/// Maximum-entropy RL, RLHF and imitation-bootstrapped RL differ only in their prior.
#[test]
fn three_configs_differ_only_in_the_prior() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let read = |name: &str| -> (toml::Value, toml::Table) {
        let text = fs::read_to_string(configs.join(name)).unwrap();
        let mut table: toml::Table = text.parse().unwrap();
        (table.remove("prior").unwrap(), table)
    };
    let (reference, rest) = read("ppo-kl.toml");
    for section in ["objective", "beta", "model", "method", "sampling", "optim"] {
        assert!(rest.contains_key(section), "{section}");
    }
    for name in ["maxent.toml", "imitation.toml"] {
        let (prior, same) = read(name);
        assert_ne!(prior, reference);
        assert_eq!(same, rest, "{name}");
    }
}
