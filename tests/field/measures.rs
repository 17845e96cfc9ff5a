//! What is measured, and how sure it is.

use crate::program::{done, rlhf, rows, text};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A folder with a tiny random checkpoint of eleven tokens, `model`; its texts are numbers from 0 to 9.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"model_type": "gpt2", "vocab_size": 11, "n_positions": 12, "n_embd": 8,
        "n_layer": 1, "n_head": 2, "eos_token_id": 10, "bos_token_id": 10}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    done(folder.path(), &["model", "init", "config.json", "model"]);
    folder
}

/// Prompts of two tokens, `distinct` different ones, each listed so often.
fn prompts(folder: &Path, name: &str, distinct: usize, times: usize) {
    let mut lines = String::new();
    for index in (0..distinct * times).map(|row| row % distinct) {
        let prompt = format!("{} {}", index / 10, index % 10);
        writeln!(lines, "{{\"prompt\": \"{prompt}\"}}").unwrap();
    }
    fs::write(folder.join(name), lines).unwrap();
}

/// Arguments of `rlhf train` on a tiny run with these settings.
fn train<'a>(objective: &'a str, data: &'a str, settings: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["train", "--objective", objective, "--model", "model"];
    all.extend(["--data", data, "--out", "run", "--overwrite"]);
    let common = ["sampling.max_new_tokens=4", "eval.prior_samples=64"];
    for setting in common.iter().chain(settings) {
        all.extend(["--set", *setting]);
    }
    all
}

/// A run of ppo of two iterations that holds out the prompts of a file, and what `rlhf eval` says of it:
/// its rows and its log.
fn measured(folder: &Path, held_out: &str) -> (Vec<Value>, String) {
    prompts(folder, "train.jsonl", 8, 1);
    let held_out = format!("data.held_out={held_out}");
    let settings = ["sampling.rollouts=8", "train.iterations=1", &held_out];
    let mut arguments = train("ppo-kl", "train.jsonl", &settings);
    arguments.extend(["--reward", "token-share:3"]);
    done(folder, &arguments);
    let output = rlhf(folder, &["eval", "run", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    (rows(&text(&output.stdout)), text(&output.stderr))
}

fn width(estimate: &Value) -> Option<f64> {
    Some(estimate["high"].as_f64()? - estimate["low"].as_f64()?)
}

#[test]
fn one_prompt_held_out() {
    let folder = folder();
    prompts(folder.path(), "one.jsonl", 1, 1);
    let (points, said) = measured(folder.path(), "one.jsonl");
    assert!(said.contains("measured on 1 prompt\n"), "{said}");
    for point in &points {
        assert_eq!(point["intervals"], "this-prompt-only", "{point}");
        assert_eq!((&point["prompts"], &point["rows"]), (&1.into(), &1.into()));
        for of in ["reward", "kl"] {
            let width = width(&point[of]);
            assert!(width.is_none_or(|width| width > 0.0), "{point}");
        }
    }
    // The policy is its prior: its KL is 0 on every response.
    let start = &points[0];
    assert_eq!(start["kl"], serde_json::json!({"value": 0.0}));
    let table = done(folder.path(), &["eval", "run"]);
    assert!(table.contains("1, this prompt only"), "{table}");
    assert!(table.contains("say nothing of other prompts"), "{table}");
}

#[test]
fn four_prompts_listed_eight_times() {
    let folder = folder();
    prompts(folder.path(), "four.jsonl", 4, 8);
    let (points, said) = measured(folder.path(), "four.jsonl");
    assert!(
        said.contains("measured on 4 distinct prompts in 32 rows"),
        "{said}"
    );
    for point in &points {
        assert_eq!(point["intervals"], "too-few-prompts", "{point}");
        assert_eq!((&point["prompts"], &point["rows"]), (&4.into(), &32.into()));
        assert_eq!((width(&point["reward"]), width(&point["kl"])), (None, None));
    }
    // Four responses to each row.
    assert_eq!(points[0]["samples"], 128);
    let table = done(folder.path(), &["eval", "run"]);
    assert!(table.contains("4 in 32 rows"), "{table}");
    assert!(
        table.contains("no intervals: 4 distinct prompts say too little"),
        "{table}"
    );
}

/// The same eight prompts once and four times: four times the responses do not make thirty-two prompts.
#[test]
fn eight_prompts_listed_four_times() {
    let folder = folder();
    prompts(folder.path(), "once.jsonl", 8, 1);
    prompts(folder.path(), "often.jsonl", 8, 4);
    for (file, rows) in [("once.jsonl", 8), ("often.jsonl", 32)] {
        let (points, _) = measured(folder.path(), file);
        let point = &points[1];
        assert_eq!(point["intervals"], "all-prompts", "{point}");
        assert_eq!(
            (&point["prompts"], &point["rows"]),
            (&8.into(), &rows.into())
        );
        let interval = width(&point["reward"]).unwrap();
        assert!(interval > 0.0, "{point}");
        let [value, low, high] = ["value", "low", "high"].map(|end| point["kl"][end].as_f64());
        assert!(low < value && value < high, "{point}");
    }
}

#[test]
fn a_tenth_of_eight_prompts() {
    let folder = folder();
    let plan = |prompts_of: usize, settings: &[&str]| {
        prompts(folder.path(), "few.jsonl", prompts_of, 1);
        let mut arguments = train("ppo-kl", "few.jsonl", settings);
        arguments.extend(["--reward", "token-share:3", "--dry-run"]);
        let output = rlhf(folder.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr) + &text(&output.stdout)
    };
    let said = plan(8, &[]);
    assert!(
        said.contains("nothing is held out: 0.1 of 8 distinct prompts"),
        "{said}"
    );
    assert!(said.contains("8 prompts to train on, 0 held out"), "{said}");
    let said = plan(8, &["data.held_out_at_least=1"]);
    assert!(said.contains("7 prompts to train on, 1 held out"), "{said}");
    let said = plan(20, &[]);
    assert!(
        said.contains("15 prompts to train on, 5 held out"),
        "{said}"
    );
    let said = plan(100, &[]);
    assert!(
        said.contains("90 prompts to train on, 10 held out"),
        "{said}"
    );
}

#[test]
fn a_table_of_1200_rows_with_100_contexts() {
    let folder = folder();
    let mut table = String::from("context,answer\n");
    for row in 0..1200 {
        writeln!(table, "{} {},{}", row / 10 % 10, row % 10, row % 7).unwrap();
    }
    fs::write(folder.path().join("contexts.csv"), table).unwrap();
    let field = ["--set", "data.fields.prompt=context"];
    let check = ["data", "check", "contexts.csv", "--no-preview"];
    let said = done(folder.path(), &[&check[..], &field].concat());
    assert!(said.contains("prompts     1200, 100 distinct\n"), "{said}");
    let mut arguments = train("ppo-kl", "contexts.csv", &[]);
    arguments.extend(["--reward", "token-share:3", "--dry-run"]);
    arguments.extend(field);
    let output = rlhf(folder.path(), &arguments);
    let said = text(&output.stderr) + &text(&output.stdout);
    assert!(output.status.success(), "{said}");
    let plan = "1080 prompts to train on (90 distinct), 120 held out (10 distinct)";
    assert!(said.contains(plan), "{said}");
}

/// Pairs whose better answer is decided by a coin, and a step that hardly moves anything.
#[test]
fn a_reward_model_that_has_learnt_nothing() {
    let folder = folder();
    let mut pairs = String::new();
    for row in 0..200 {
        let (a, b) = (row % 10, row * 7 / 3 % 10);
        let coin = (row * 2_654_435_761usize) >> 7 & 1;
        let answers = [format!("{a} 3"), format!("{b} 4")];
        let (chosen, rejected) = (&answers[coin], &answers[1 - coin]);
        writeln!(
            pairs,
            "{{\"prompt\": \"{} {}\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}",
            row / 10 % 10,
            row % 10
        )
        .unwrap();
    }
    fs::write(folder.path().join("pairs.jsonl"), pairs).unwrap();
    let settings = [
        "train.epochs=1",
        "optim.learning_rate=1e-7",
        "data.held_out_fraction=0.3",
    ];
    let output = rlhf(folder.path(), &train("reward", "pairs.jsonl", &settings));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("warning: the reward model gets 0."), "{said}");
    assert!(
        said.contains("holds one half, so it may be guessing"),
        "{said}"
    );
    assert!(said.contains(" of 30 distinct prompts"), "{said}");
    let warnings = fs::read_to_string(folder.path().join("run/warnings.jsonl")).unwrap();
    let warnings = rows(&warnings);
    assert!(
        warnings
            .iter()
            .any(|row| row["warning"].as_str().unwrap().contains("one half"))
    );
    let held_out = fs::read_to_string(folder.path().join("run/held_out.json")).unwrap();
    let held_out: Value = serde_json::from_str(&held_out).unwrap();
    assert_eq!(
        (&held_out["items"], &held_out["prompts"]),
        (&60.into(), &30.into())
    );
}
