//! Measurements and their confidence intervals.

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

/// Prompts of two tokens, `distinct` different ones, each listed `times` times.
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

/// Runs ppo for two iterations with the held-out prompts of a file, then `rlhf eval`; returns
/// its rows and its stderr.
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
    // The policy equals the prior: its KL is 0 on every response.
    let start = &points[0];
    assert_eq!(start["kl"], serde_json::json!({"value": 0.0}));
    let table = done(folder.path(), &["eval", "run"]);
    assert!(table.contains("1, this prompt only"), "{table}");
    assert!(table.contains("do not apply to other prompts"), "{table}");
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
        table.contains("no intervals: 4 distinct prompts, too few to generalize"),
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
        assert!(low >= Some(0.0), "{point}");
    }
    // Only the KLs of the prior have no interval, and these are 0.
    let table = done(folder.path(), &["eval", "run"]);
    assert!(!table.contains("the same on every prompt"), "{table}");
    assert!(table.lines().last().unwrap().contains("best of"), "{table}");
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

/// Pairs with random labels, and steps that hardly change the weights.
#[test]
fn an_untrained_reward_model_warns() {
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
        said.contains("contains one half, so it may be guessing"),
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

/// A reward program that returns no score for responses that start with an odd number, and counts 2s.
const JUDGE: &str = r#"while read -r line; do
  case "$line" in
    *'"completion":"'[13579]*) echo null ;;
    *'"completion":"2'*) echo 1 ;;
    *) echo 0 ;;
  esac
done
"#;

/// The output of a run of two iterations with such a program as its reward; it may fail.
fn judged(folder: &Path, objective: &str, settings: &[&str]) -> std::process::Output {
    prompts(folder, "train.jsonl", 8, 1);
    prompts(folder, "held.jsonl", 6, 1);
    let common = [
        "sampling.rollouts=32",
        "train.iterations=2",
        "train.samples=32",
    ];
    let compared = ["sampling.samples_per_prompt=4", "data.held_out=held.jsonl"];
    let settings = [&common[..], &compared, settings].concat();
    let mut arguments = train(objective, "train.jsonl", &settings);
    arguments.extend(["--reward", "command:sh judge.sh"]);
    rlhf(folder, &arguments)
}

#[test]
fn a_reward_without_scores_for_half_of_the_responses() {
    let folder = folder();
    fs::write(folder.path().join("judge.sh"), JUDGE).unwrap();
    let lines = |name: &str| rows(&fs::read_to_string(folder.path().join(name)).unwrap());
    for objective in ["ppo-kl", "rloo", "grpo", "reinforce", "vargrad"] {
        let output = judged(folder.path(), objective, &[]);
        assert!(
            output.status.success(),
            "{objective}\n{}",
            text(&output.stderr)
        );
        let samples = lines("run/samples.jsonl");
        assert_eq!(samples.len(), 64);
        for (step, row) in lines("run/metrics.jsonl").iter().enumerate() {
            let of_step = samples.iter().filter(|sample| sample["step"] == step);
            let scores: Vec<Option<f64>> = of_step.map(|sample| sample["score"].as_f64()).collect();
            let said: Vec<f64> = scores.iter().flatten().copied().collect();
            assert!(said.len() < 32 && said.len() > 4, "{scores:?}");
            assert_eq!(
                row["objective/no_opinion"],
                (32 - said.len()) as f64,
                "{row}"
            );
            let mean = said.iter().sum::<f64>() / said.len() as f64;
            let found = row["objective/scores"].as_f64().unwrap();
            assert!(
                (found - mean).abs() < 1e-12,
                "{objective}: {found}, not {mean}"
            );
        }
        let changed = fs::read(folder.path().join("run/final/model.safetensors")).unwrap();
        assert_ne!(
            changed,
            fs::read(folder.path().join("model/model.safetensors")).unwrap()
        );
    }
    for point in rows(&done(folder.path(), &["eval", "run", "--json"])) {
        assert!(point["no_opinion"].as_u64().unwrap() > 0, "{point}");
    }
    let table = done(folder.path(), &["eval", "run"]);
    assert!(table.contains(" without a score"), "{table}");
    let answers = "{\"prompt\": \"1\", \"completion\": \"2 4\"}\n{\"prompt\": \"1\", \"completion\": \"3\"}\n";
    fs::write(folder.path().join("answers.jsonl"), answers).unwrap();
    let score = [
        "score",
        "--model",
        "model",
        "--reward",
        "command:sh judge.sh",
    ];
    let input = ["--input", "answers.jsonl"];
    let said = done(folder.path(), &[&score[..], &input].concat());
    assert_eq!(said, "{\"score\":1.0}\n{\"score\":null}\n");
}

#[test]
fn a_reward_without_any_score() {
    let folder = folder();
    let never = "while read -r line; do echo null; done\n";
    fs::write(folder.path().join("judge.sh"), never).unwrap();
    let output = judged(folder.path(), "rloo", &[]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("no score for any of the 32 responses"),
        "{said}"
    );
    let metrics = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    for row in rows(&metrics) {
        assert_eq!(row["objective/no_opinion"], 32.0);
        assert_eq!(row.get("objective/scores"), None);
    }
    // Nothing was learned.
    let read = |path: &str| fs::read(folder.path().join(path).join("model.safetensors")).unwrap();
    assert!(read("model") == read("run/final"));
    let output = rlhf(folder.path(), &["eval", "run"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("no score to any of 24 responses"), "{said}");
}

#[test]
fn a_reward_that_must_return_a_score() {
    let folder = folder();
    fs::write(folder.path().join("judge.sh"), JUDGE).unwrap();
    let output = judged(folder.path(), "ppo-kl", &["reward.on_null=error"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("of its answers is null, and on_null = \"error\""),
        "{said}"
    );
}

/// The reward scores the first of four responses to each prompt.
#[test]
fn a_reward_that_scores_one_response_per_prompt() {
    let folder = folder();
    let judge = "i=0\nwhile read -r line; do\n  if [ $((i % 4)) = 0 ]; then echo 1; else echo null; fi\n  \
                 i=$((i + 1))\ndone\n";
    fs::write(folder.path().join("judge.sh"), judge).unwrap();
    for objective in ["rloo", "grpo", "vargrad"] {
        let output = judged(folder.path(), objective, &[]);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{objective}\n{said}");
        let warning = "the reward has a score for 8 of the 32 responses of this step, but for no two to \
        the same prompt";
        assert!(said.contains(warning), "{objective}\n{said}");
        assert!(!said.contains("the same reward"), "{objective}\n{said}");
        let metrics = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
        for row in rows(&metrics) {
            assert_eq!(row["objective/uncompared"], 8.0, "{row}");
        }
        let read = |path: &str| fs::read(folder.path().join(path).join("model.safetensors"));
        assert!(read("model").unwrap() == read("run/final").unwrap());
    }
    // One scored response suffices for a method that does not compare responses.
    let output = judged(folder.path(), "reinforce", &[]);
    assert!(!text(&output.stderr).contains("of no two to one prompt"));
}

#[test]
fn a_reward_that_scores_three_prompts() {
    let folder = folder();
    let judge = r#"while read -r line; do
  case "$line" in
    *'"prompt":"0 '[012]'"'*'"completion":"'[0-4]*) echo 1 ;;
    *'"prompt":"0 '[012]'"'*) echo 0 ;;
    *) echo null ;;
  esac
done
"#;
    fs::write(folder.path().join("judge.sh"), judge).unwrap();
    let output = judged(folder.path(), "ppo-kl", &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let points = rows(&done(folder.path(), &["eval", "run", "--json"]));
    let start = &points[0];
    assert_eq!(
        (&start["prompts"], &start["reward_prompts"]),
        (&6.into(), &3.into())
    );
    assert_eq!(width(&start["reward"]), None);
    let table = done(folder.path(), &["eval", "run"]);
    assert!(table.contains("  6, 3 with a reward  "), "{table}");
    assert!(
        table.contains("a reward without an interval is from 3 prompts: no response to the others"),
        "{table}"
    );
    assert!(!table.contains("the same on every prompt"), "{table}");
}

/// The error of `rlhf train` for pairs of which none is left to train on.
fn refused(folder: &Path, pairs: &str, settings: &[&str]) -> String {
    fs::write(folder.join("pairs.jsonl"), pairs).unwrap();
    let output = rlhf(folder, &train("dpo", "pairs.jsonl", settings));
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(!said.contains("held_out_fraction"), "{said}");
    said
}

#[test]
fn pairs_of_which_none_is_left() {
    let folder = folder();
    let same = "{\"prompt\": \"1\", \"chosen\": \"2\", \"rejected\": \"2\"}\n".repeat(12);
    let said = refused(folder.path(), &same, &[]);
    let why = "pairs.jsonl: no pairs left to train on: 12 pairs left out: chosen and rejected are the same";
    assert!(said.contains(why), "{said}");
    let bad = "{\"prompt\": \"1\", \"chosen\": \"2\", \"rejected\": 3}\n".repeat(9);
    let said = refused(folder.path(), &bad, &["data.on_bad_row=skip"]);
    assert!(said.contains("9 rows skipped"), "{said}");
    assert!(said.contains("pairs.jsonl:1"), "{said}");
}

#[test]
fn evaluation_prompts_that_are_all_skipped() {
    let folder = folder();
    prompts(folder.path(), "train.jsonl", 20, 1);
    let settings = [
        "sampling.rollouts=8",
        "train.iterations=1",
        "data.on_bad_row=skip",
    ];
    let mut arguments = train("ppo-kl", "train.jsonl", &settings);
    arguments.extend(["--reward", "token-share:3"]);
    done(folder.path(), &arguments);
    fs::write(
        folder.path().join("bad.jsonl"),
        "{\"prompt\": 7}\n".repeat(6),
    )
    .unwrap();
    let output = rlhf(folder.path(), &["eval", "run", "--prompts", "bad.jsonl"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("bad.jsonl: no prompts left: 6 rows skipped"),
        "{said}"
    );
}

/// The second run's model has a context of four tokens: both are measured with that.
#[test]
fn two_runs_with_different_contexts() {
    let folder = folder();
    let config = fs::read_to_string(folder.path().join("config.json")).unwrap();
    let small = config.replace("\"n_positions\": 12", "\"n_positions\": 4");
    fs::write(folder.path().join("small.json"), small).unwrap();
    done(folder.path(), &["model", "init", "small.json", "small"]);
    prompts(folder.path(), "train.jsonl", 20, 1);
    for (model, out) in [("model", "a"), ("small", "b")] {
        let mut arguments = vec!["train", "--objective", "ppo-kl", "--data", "train.jsonl"];
        arguments.extend(["--model", model, "--out", out, "--reward", "token-share:3"]);
        for setting in [
            "sampling.rollouts=8",
            "train.iterations=1",
            "eval.prior_samples=64",
        ] {
            arguments.extend(["--set", setting]);
        }
        done(folder.path(), &arguments);
    }
    let output = rlhf(folder.path(), &["eval", "a", "b", "--json"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let least =
        "measured with prompts and responses of at most 4 tokens together, the context of b";
    assert!(said.contains(least), "{said}");
    let points = rows(&text(&output.stdout));
    for run in ["a", "b"] {
        assert!(points.iter().any(|point| point["label"] == run), "{run}");
    }
    // The first alone, and the same the other way round.
    for runs in [&["a"][..], &["b", "a"]] {
        let output = rlhf(folder.path(), &[&["eval"][..], runs].concat());
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("tokens together, the context of"), "{said}");
    }
}
