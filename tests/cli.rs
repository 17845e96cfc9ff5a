//! Tests of the built program: its output, messages and exit codes.

#[path = "cli/adapters.rs"]
mod adapters;
#[path = "cli/architectures.rs"]
mod architectures;
#[path = "cli/bad_checkpoints.rs"]
mod bad_checkpoints;
#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/check.rs"]
mod check;
#[path = "cli/configs.rs"]
mod configs;
#[path = "cli/dtype.rs"]
mod dtype;
#[path = "cli/exact.rs"]
mod exact;
#[path = "cli/gguf.rs"]
mod gguf;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/hub.rs"]
mod hub;
#[path = "cli/losses.rs"]
mod losses;
#[path = "cli/messages.rs"]
mod messages;
#[path = "cli/oracle.rs"]
mod oracle;
#[path = "cli/priors.rs"]
mod priors;
mod program;
#[path = "cli/responses.rs"]
mod responses;
#[path = "cli/rewards.rs"]
mod rewards;
#[path = "cli/stopped.rs"]
mod stopped;

use program::{rlhf, rows, text};
use std::fs;
use std::path::Path;

/// A folder with a tiny random checkpoint without a tokenizer, `model`, and some bad files.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write(
        "config.json",
        r#"{"model_type": "gpt2", "vocab_size": 11, "n_positions": 12, "n_embd": 8, "n_layer": 1,
            "n_head": 2, "eos_token_id": 10, "bos_token_id": 10}"#,
    );
    let made = rlhf(folder.path(), &["model", "init", "config.json", "model"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    write(
        "bad.jsonl",
        "{\"prompt\": \"1 2\"}\n{\"question\": \"3\"}\n",
    );
    write(
        "broken.jsonl",
        "{\"prompt_ids\": [1], \"completion_ids\": [2]}\n{\"prompt\n",
    );
    write(
        "good.jsonl",
        "{\"prompt\": \"1 2\", \"completion\": \"3 4 5\"}\n\
        {\"prompt_ids\": [7], \"completion_ids\": [10]}\n",
    );
    write(
        "far.jsonl",
        "{\"prompt_ids\": [1], \"completion_ids\": [11]}\n",
    );
    write("typo.toml", "[optim]\n\nlearning_rat = 1e-4\n");
    folder
}

/// Arguments of a small run of `objective` under the prior that `prior` (more arguments) gives.
fn small_run<'a>(objective: &'a str, prior: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--objective", objective, "--model", "model"];
    arguments.extend(["--out", "run", "--overwrite"]);
    let mut settings = vec!["data.held_out_fraction=0.0"];
    if objective == "dpo" {
        arguments.extend(["--data", "pairs.jsonl"]);
        settings.extend(["train.epochs=2", "train.batch_size=2"]);
    } else {
        arguments.extend(["--data", "good.jsonl", "--reward", "token-share:3"]);
        settings.extend([
            "sampling.rollouts=8",
            "sampling.samples_per_prompt=4",
            "sampling.max_new_tokens=4",
            "train.iterations=2",
        ]);
    }
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(prior);
    arguments
}

fn metrics(folder: &Path) -> Vec<serde_json::Value> {
    rows(&fs::read_to_string(folder.join("metrics.jsonl")).unwrap())
}
