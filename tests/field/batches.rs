//! Batch sizes and adaptive β: the plan, metrics and samples of a run agree.

use crate::program::{done, rlhf, rows, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A folder with a tiny random model without a tokenizer.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "gpt2", "vocab_size": 11, "n_positions": 12, "n_embd": 8, "n_layer": 1,
        "n_head": 2, "eos_token_id": 10, "bos_token_id": 10,
    });
    write(folder.path(), "config.json", &[config]);
    done(folder.path(), &["model", "init", "config.json", "model"]);
    folder
}

fn write(folder: &Path, name: &str, rows: &[Value]) {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(folder.join(name), lines.join("\n")).unwrap();
}

/// Prompts of three tokens, all different, each with a completion, a pair and a label.
fn data(folder: &Path, count: usize) {
    let row = |i: usize| {
        json!({
            "prompt": format!("{} {} {}", i / 100, i / 10 % 10, i % 10),
            "completion": "3 4", "chosen": "3", "rejected": "4 5", "label": i.is_multiple_of(2),
        })
    };
    write(
        folder,
        "data.jsonl",
        &(0..count).map(row).collect::<Vec<_>>(),
    );
}

/// `rlhf train` on that data with these settings, all of it to train on.
fn train<'a>(objective: &'a str, settings: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--objective", objective, "--model", "model"];
    arguments.extend(["--data", "data.jsonl", "--out", "run", "--overwrite"]);
    for setting in ["data.held_out_fraction=0.0"].iter().chain(settings) {
        arguments.extend(["--set", setting]);
    }
    arguments
}

/// The same with a reward.
fn sample<'a>(objective: &'a str, settings: &[&'a str]) -> Vec<&'a str> {
    let short = ["sampling.max_new_tokens=3"];
    let mut arguments = train(objective, &[&short[..], settings].concat());
    arguments.extend(["--reward", "token-share:3"]);
    arguments
}

fn lines(folder: &Path, file: &str) -> Vec<Value> {
    rows(&fs::read_to_string(folder.join(file)).unwrap())
}

fn plan(folder: &Path, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--dry-run", "--json"]].concat();
    serde_json::from_str(&done(folder, &arguments)).unwrap()
}

#[test]
fn two_hundred_prompts_at_64_rollouts() {
    let folder = folder();
    data(folder.path(), 200);
    let seven = ["train.iterations=7", "train.samples=64"];
    let arguments = sample("ppo-kl", &seven);
    assert_eq!(
        plan(folder.path(), &arguments)["steps"],
        "7 iterations, each of 64 responses and 4 updates on 64: 28 steps"
    );
    done(folder.path(), &arguments);
    let episodes: Vec<Value> = lines(folder.path(), "run/metrics.jsonl")
        .iter()
        .map(|row| row["episode"].clone())
        .collect();
    assert_eq!(episodes, [64.0, 128.0, 192.0, 256.0, 320.0, 384.0, 448.0]);
    let mut iterations: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for row in lines(folder.path(), "run/samples.jsonl") {
        let step = row["step"].as_u64().unwrap();
        let prompt = row["prompt"].as_str().unwrap().to_string();
        iterations.entry(step).or_default().push(prompt);
    }
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    assert_eq!(iterations.len(), 7);
    for (step, prompts) in &iterations {
        let mut distinct = prompts.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!((prompts.len(), distinct.len()), (64, 64), "step {step}");
        for prompt in prompts {
            *taken.entry(prompt).or_default() += 1;
        }
        if *step == 3 {
            assert_eq!(
                taken.len(),
                200,
                "the first pass ends in the fourth iteration"
            );
        }
    }
    // Two passes and a part of the third.
    assert!(taken.values().all(|times| (2..=3).contains(times)));
}

/// Seven prompts at three per iteration: a pass ends inside the third iteration and the fifth.
#[test]
fn seven_prompts_at_three_an_iteration_with_every_method_that_samples() {
    let folder = folder();
    data(folder.path(), 7);
    for (objective, samples) in [
        ("ppo-kl", 1),
        ("reinforce", 2),
        ("rloo", 4),
        ("grpo", 4),
        ("vargrad", 4),
    ] {
        let rollouts = format!("sampling.rollouts={}", 3 * samples);
        let each = format!("sampling.samples_per_prompt={samples}");
        let all = ["train.samples=99", "train.iterations=7", &rollouts, &each];
        done(folder.path(), &sample(objective, &all));
        let mut prompts: BTreeMap<u64, BTreeMap<String, usize>> = BTreeMap::new();
        for row in lines(folder.path(), "run/samples.jsonl") {
            let step = prompts.entry(row["step"].as_u64().unwrap()).or_default();
            *step.entry(row["prompt"].to_string()).or_default() += 1;
        }
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        for (step, prompts) in &prompts {
            assert_eq!(prompts.len(), 3, "{objective}, step {step}");
            assert!(prompts.values().all(|&times| times == samples));
            for prompt in prompts.keys() {
                *taken.entry(prompt).or_default() += 1;
            }
        }
        // Seven iterations of three are three passes.
        assert!(taken.len() == 7 && taken.values().all(|&times| times == 3));
        let last = lines(folder.path(), "run/metrics.jsonl").pop().unwrap();
        assert_eq!(last["episode"], (21 * samples) as f64, "{objective}");
    }
}

/// Passes over 20 prompts end inside iterations of 8; the run stops at one of them, wherever that is.
#[test]
fn a_run_stopped_in_the_middle_of_a_pass_and_resumed() {
    let folder = folder();
    data(folder.path(), 20);
    let settings = [
        "sampling.rollouts=8",
        "train.iterations=60",
        "train.checkpoints=1",
    ];
    let arguments = sample("ppo-kl", &settings);
    done(folder.path(), &arguments);
    let run = folder.path().join("run");
    let bytes = || {
        ["metrics.jsonl", "samples.jsonl", "final/model.safetensors"]
            .map(|file| fs::read(run.join(file)).unwrap())
    };
    let whole = bytes();
    let mut child = Command::new(env!("CARGO_BIN_EXE_rlhf"))
        .args(&arguments)
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The new run has begun once the old end is gone.
    let begun = || {
        let rows = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
        let rows = rows.lines().count();
        !run.join("final").exists() && (1..60).contains(&rows)
    };
    while !begun() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let id = child.id().to_string();
    Command::new("kill").args(["-INT", &id]).status().unwrap();
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 0)), "{code:?}");
    if code == Some(130) {
        assert!(!run.join("final").exists());
        done(folder.path(), &["train", "--resume", "--out", "run"]);
    }
    assert!(bytes() == whole);
}

#[test]
fn five_prompts_at_eight_rollouts() {
    let folder = folder();
    data(folder.path(), 5);
    let eight = [
        "sampling.rollouts=8",
        "train.samples=8",
        "train.iterations=5",
    ];
    let arguments = sample("ppo-kl", &eight);
    let steps = plan(folder.path(), &arguments)["steps"].clone();
    let expected = "5 iterations, each of 8 responses and 4 updates on 8: 20 steps; with 5 prompts, an iteration uses a prompt more than once";
    assert_eq!(steps, expected);
    done(folder.path(), &arguments);
    let mut taken: BTreeMap<(u64, String), usize> = BTreeMap::new();
    for row in lines(folder.path(), "run/samples.jsonl") {
        let step = row["step"].as_u64().unwrap();
        *taken.entry((step, row["prompt"].to_string())).or_default() += 1;
    }
    assert_eq!(taken.len(), 25, "each iteration has each prompt");
    assert!(taken.values().all(|times| (1..=2).contains(times)));
}

/// The steps of ten items at four per step, in one pass and in two, and the plan's line.
#[test]
fn ten_items_at_four_a_step_with_every_method_that_learns_from_data() {
    let folder = folder();
    data(folder.path(), 10);
    for (objective, size, what) in [
        ("dpo", "train.batch_size=4", "4 pairs"),
        ("reward", "train.batch_size=4", "4 pairs"),
        ("kto", "train.batch_size=4", "4 responses"),
        ("sft", "train.batch_size=4", "4 responses"),
        (
            "sft",
            "train.batch_size={ tokens = 20 }",
            "at most 20 tokens",
        ),
    ] {
        // The fields of a row determine its shape for each objective.
        let keep: &[&str] = match objective {
            "kto" => &["prompt", "completion", "label"],
            "sft" => &["prompt", "completion"],
            _ => &["prompt", "chosen", "rejected"],
        };
        data(folder.path(), 10);
        let mut all = lines(folder.path(), "data.jsonl");
        for row in &mut all {
            let row = row.as_object_mut().unwrap();
            row.retain(|key, _| keep.contains(&key.as_str()));
        }
        write(folder.path(), "data.jsonl", &all);
        for (epochs, steps, words) in [
            ("train.epochs=1", 3, "1 epoch in batches of"),
            ("train.epochs=2", 5, "2 epochs in batches of"),
        ] {
            let arguments = train(objective, &[size, epochs]);
            let last = match (steps, size.contains("tokens")) {
                (3, false) => ", 2 in the last",
                _ => "",
            };
            let plan = plan(folder.path(), &arguments);
            let expected = format!("{words} {what}: {steps} steps{last}");
            assert_eq!(plan["steps"], expected, "{objective}");
            done(folder.path(), &arguments);
            let rows = lines(folder.path(), "run/metrics.jsonl");
            assert_eq!(rows.len(), steps, "{objective} {size} {epochs}");
        }
    }
}

#[test]
fn three_pairs_at_sixteen_a_step() {
    let folder = folder();
    data(folder.path(), 3);
    let arguments = train("dpo", &["train.epochs=4"]);
    let steps = plan(folder.path(), &arguments)["steps"].clone();
    assert_eq!(
        steps,
        "4 epochs in batches of all 3 pairs, fewer than 16: 4 steps"
    );
    done(folder.path(), &arguments);
    assert_eq!(lines(folder.path(), "run/metrics.jsonl").len(), 4);
}

#[test]
fn a_prior_fitted_to_ten_demonstrations_at_four_a_step() {
    let folder = folder();
    data(folder.path(), 10);
    let settings = [
        "prior.fit.batch_size=4",
        "prior.fit.epochs=2",
        "sampling.rollouts=8",
        "train.iterations=1",
    ];
    let mut arguments = sample("imitation", &settings);
    arguments.extend(["--prior", "data.jsonl"]);
    let fit = plan(folder.path(), &arguments)["fit"].clone();
    let fit = fit.as_str().unwrap();
    assert!(
        fit.ends_with("2 epochs in batches of 4 responses: 5 steps"),
        "{fit}"
    );
    done(folder.path(), &arguments);
    assert_eq!(lines(folder.path(), "run/prior/metrics.jsonl").len(), 5);
}

#[test]
fn minibatches_that_do_not_divide_the_rollout() {
    let folder = folder();
    data(folder.path(), 70);
    let output = rlhf(folder.path(), &sample("ppo-kl", &["method.minibatches=5"]));
    let said = text(&output.stderr);
    assert!(
        said.contains("method.minibatches = 5 does not divide the 64 responses"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(2));
    let four = [
        "method.minibatches=4",
        "method.epochs=2",
        "train.iterations=3",
    ];
    assert_eq!(
        plan(folder.path(), &sample("ppo-kl", &four))["steps"],
        "3 iterations, each of 64 responses and 8 updates on 16: 24 steps"
    );
}

/// β of each step of a maximum-entropy run with this setting of beta, and its stderr.
fn held(folder: &Path, beta: &str) -> (Vec<f64>, String) {
    let beta = format!("beta={beta}");
    let settings = ["sampling.rollouts=8", "train.iterations=6", &beta];
    let output = rlhf(folder, &sample("maxent", &settings));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let rows = lines(folder, "run/metrics.jsonl");
    let beta = |row: &Value| row["objective/beta"].as_f64().unwrap();
    (rows.iter().map(beta).collect(), said)
}

#[test]
fn an_entropy_held_with_the_counting_prior() {
    let folder = folder();
    data(folder.path(), 10);
    // Far below the entropy of three tokens of eleven: the entropy is too high, so β decreases.
    let (falls, said) = held(
        folder.path(),
        "{ start = 0.2, target_entropy = 0.01, horizon = 1000 }",
    );
    assert!(
        said.contains(
            "adapted to keep the entropy at 0.01 nats per sequence, between 0.0002 and 200"
        ),
        "{said}"
    );
    for (step, beta) in falls.iter().enumerate() {
        let expected = 0.2 * (1.0 - 0.2 * 8.0 / 1000.0_f64).powi(step as i32);
        assert!((beta - expected).abs() < 1e-12, "{falls:?}");
    }
    let (rises, _) = held(
        folder.path(),
        "{ start = 0.2, target_entropy = 1000, horizon = 1000 }",
    );
    assert!(
        (rises[1] - 0.2 * (1.0 + 0.2 * 8.0 / 1000.0)).abs() < 1e-12,
        "{rises:?}"
    );
    assert!(rises.is_sorted_by(|a, b| a < b), "{rises:?}");
}

#[test]
fn a_target_that_no_beta_reaches() {
    let folder = folder();
    data(folder.path(), 10);
    let bound = "{ start = 0.2, target_entropy = 0.01, horizon = 10, min = 0.15 }";
    let (betas, said) = held(folder.path(), bound);
    assert_eq!(betas[2..], [0.15; 4]);
    let told = said.matches("beta fell to its lower bound").count();
    assert_eq!(told, 1, "{said}");
    assert!(said.contains("set beta.min lower"), "{said}");
}

#[test]
fn a_kl_held_with_the_counting_prior() {
    let folder = folder();
    data(folder.path(), 10);
    for (objective, target, expected) in [
        ("maxent", "target_kl", "Give beta.target_entropy"),
        ("ppo-kl", "target_entropy", "give beta.target_kl"),
    ] {
        let beta = format!("beta={{ start = 0.2, {target} = 6, horizon = 10000 }}");
        let output = rlhf(folder.path(), &sample(objective, &[&beta]));
        let said = text(&output.stderr).to_lowercase();
        assert!(said.contains(&expected.to_lowercase()), "{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!folder.path().join("run").exists());
    }
}

#[test]
fn a_learning_rate_at_which_the_policy_gets_worse() {
    let folder = folder();
    data(folder.path(), 40);
    let words = "E[r] − β·KL fell below its value at the start of the run";
    for (rate, told) in [
        ("optim.learning_rate=0.3", 1),
        ("optim.learning_rate=1e-4", 0),
    ] {
        let settings = [
            "beta=1.0",
            "sampling.rollouts=16",
            "train.iterations=40",
            rate,
        ];
        let output = rlhf(folder.path(), &sample("ppo-kl", &settings));
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches(words).count(), told, "{rate}\n{said}");
    }
}
