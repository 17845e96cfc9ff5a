//! Every kind of reward in a run.

use crate::folder;
use crate::program::{done, rlhf, rows, text};
use rlhf_loopback::{Responder, RewardEndpoint};
use serde_json::Value;
use std::fs;
use std::iter::repeat;
use std::path::Path;
use std::process::Output;

/// Settings of a run of a few steps, on the tokens of the tiny checkpoint.
const SHORT: [&str; 12] = [
    "--set",
    "sampling.rollouts=4",
    "--set",
    "sampling.max_new_tokens=4",
    "--set",
    "train.iterations=2",
    "--set",
    "data.held_out_fraction=0.0",
    "--data",
    "questions.jsonl",
    "--out",
    "run",
];

/// A short run with a reward, whatever comes of it.
fn trained(folder: &Path, model: &str, reward: &str) -> Output {
    let mut arguments = vec![
        "train",
        "--objective",
        "ppo-kl",
        "--model",
        model,
        "--reward",
        reward,
    ];
    arguments.extend(SHORT);
    arguments.push("--overwrite");
    rlhf(folder, &arguments)
}

/// What the program says of a run with a reward, once it has succeeded.
#[track_caller]
fn rewarded(folder: &Path, model: &str, reward: &str) -> String {
    let output = trained(folder, model, reward);
    assert!(
        output.status.success(),
        "{reward}\n{}",
        text(&output.stderr)
    );
    text(&output.stderr)
}

#[track_caller]
fn refused(folder: &Path, model: &str, reward: &str, expected: &str) {
    let output = trained(folder, model, reward);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{reward}\n{said}");
    assert!(
        said.contains(expected),
        "{reward}\n{said}\nshould say: {expected}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

/// The tiny checkpoint, two reward models, a policy of dpo, and questions with answers.
fn world() -> tempfile::TempDir {
    let folder = folder();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write(
        "questions.jsonl",
        "{\"prompt\": \"1 2\", \"answer\": 4}\n{\"prompt\": \"2 3\", \"answer\": \"5\"}\n",
    );
    write(
        "pairs.jsonl",
        "{\"prompt\": \"1 2\", \"chosen\": \"3 4\", \"rejected\": \"5\"}\n\
         {\"prompt\": \"2 2\", \"chosen\": \"3\", \"rejected\": \"6 5\"}\n",
    );
    for (objective, seed, out) in [
        ("reward", "1", "one"),
        ("reward", "2", "two"),
        ("dpo", "1", "dpo"),
    ] {
        let arguments = [
            "train",
            "--objective",
            objective,
            "--model",
            "model",
            "--data",
            "pairs.jsonl",
            "--seed",
            seed,
            "--set",
            "data.held_out_fraction=0.0",
            "--set",
            "sampling.max_new_tokens=4",
            "--out",
            out,
        ];
        let output = rlhf(folder.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    folder
}

/// A WordLevel tokenizer of these words.
fn tokenizer(folder: &Path, words: &[&str]) {
    let vocab: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(id, word)| format!("\"{word}\": {id}"))
        .collect();
    let text = format!(
        "{{\"version\": \"1.0\", \"added_tokens\": [], \"pre_tokenizer\": {{\"type\": \
         \"WhitespaceSplit\"}}, \"model\": {{\"type\": \"WordLevel\", \"vocab\": {{{}}}, \
         \"unk_token\": \"{}\"}}}}",
        vocab.join(", "),
        words[0]
    );
    fs::write(folder.join("tokenizer.json"), text).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if entry.is_file() {
            fs::copy(&entry, to.join(entry.file_name().unwrap())).unwrap();
        }
    }
}

/// What an endpoint says that counts the words of each completion.
fn words(body: &Value) -> Option<(u16, String)> {
    let responses = body["responses"].as_array()?.iter();
    let count = |response: &Value| Some(response["completion"].as_str()?.split(' ').count());
    let counts: Option<Vec<usize>> = responses.map(count).collect();
    Some((200, serde_json::json!(counts?).to_string()))
}

/// The responses of the last run that were cut, as rows with the fields of their questions, and their
/// scores. (The text of one that ended does not say so.)
fn scored_samples(folder: &Path) -> Vec<f64> {
    let samples = rows(&fs::read_to_string(folder.join("run/samples.jsonl")).unwrap());
    let cut: Vec<&Value> = samples
        .iter()
        .filter(|row| row["finish"] == "length")
        .collect();
    let answers = cut.iter().map(|row| {
        let answer = if row["prompt"] == "1 2" {
            serde_json::json!(4)
        } else {
            "5".into()
        };
        let row = serde_json::json!({"prompt": row["prompt"], "completion": row["response"],
            "answer": answer});
        format!("{row}\n")
    });
    fs::write(folder.join("said.jsonl"), answers.collect::<String>()).unwrap();
    // Of text that is given, the end is read too; a response that was cut has none.
    let ids = |text: &Value| -> Vec<u32> {
        let ids = text.as_str().unwrap().split_whitespace();
        ids.map(|id| id.parse().unwrap()).collect()
    };
    let given = cut.iter().map(|row| {
        let row = serde_json::json!({"prompt_ids": ids(&row["prompt"]),
            "completion_ids": ids(&row["response"])});
        format!("{row}\n")
    });
    fs::write(folder.join("ids.jsonl"), given.collect::<String>()).unwrap();
    assert!(cut.len() > 3, "{samples:?}");
    cut.iter()
        .map(|row| row["score"].as_f64().unwrap())
        .collect()
}

/// A number of each of these responses, as `rlhf score` has it.
fn said(folder: &Path, input: &str, name: &str, arguments: &[&str]) -> Vec<f64> {
    let arguments = [&["score", "--input", input], arguments].concat();
    let lines = rows(&done(folder, &arguments));
    lines
        .iter()
        .map(|line| line[name].as_f64().unwrap())
        .collect()
}

/// The scores that a run learned from are what the reward is worth, found another way.
#[test]
fn every_kind_of_reward_trains() {
    let world = world();
    let folder = world.path();
    let completions = || {
        let text = fs::read_to_string(folder.join("said.jsonl")).unwrap();
        rows(&text)
            .into_iter()
            .map(|row| (row["completion"].as_str().unwrap().to_string(), row))
    };
    let by = |rule| said(folder, "ids.jsonl", "score", &["--reward", rule]);
    let both = |of: fn(f64, f64) -> f64| {
        let pairs = by("one/final").into_iter().zip(by("two/final"));
        pairs.map(|(a, b)| of(a, b)).collect::<Vec<f64>>()
    };
    let log_probs = |model| said(folder, "said.jsonl", "log_prob", &["--model", model]);
    let judge = "while read -r line; do case $line in *'\"answer\":4'*) echo 1;; *) echo '{\"score\": 0.5}';; esac; done";
    fs::write(folder.join("judge.sh"), judge).unwrap();
    let server = RewardEndpoint::start(repeat(words as Responder));
    let served = &server.url();
    type Worth<'a> = &'a dyn Fn() -> Vec<f64>;
    let cases: [(&str, Worth<'_>); 8] = [
        ("one/final", &|| by("one/final")),
        ("mean:one/final,two/final", &|| both(|a, b| (a + b) / 2.0)),
        ("min:one/final,two/final", &|| both(f64::min)),
        // The deviation of two numbers is half their distance.
        ("mean-std:one/final,two/final", &|| both(f64::min)),
        ("implicit:dpo/final,model,0.1", &|| {
            let pairs = log_probs("dpo/final").into_iter().zip(log_probs("model"));
            pairs
                .map(|(policy, prior)| 0.1 * (policy - prior))
                .collect()
        }),
        // The number behind the last 3, if it is the question's answer.
        ("answer:3", &|| {
            said(
                folder,
                "said.jsonl",
                "score",
                &["--model", "model", "--reward", "answer:3"],
            )
        }),
        ("command:sh judge.sh", &|| {
            completions()
                .map(|(_, row)| if row["answer"] == 4 { 1.0 } else { 0.5 })
                .collect()
        }),
        (served, &|| {
            completions()
                .map(|(text, _)| text.split(' ').count() as f64)
                .collect()
        }),
    ];
    for (reward, worth) in cases {
        rewarded(folder, "model", reward);
        let config = fs::read_to_string(folder.join("run/config.toml")).unwrap();
        assert!(config.contains("[reward]"), "{reward}");
        let found = scored_samples(folder);
        for (found, worth) in found.iter().zip(worth()) {
            assert!(
                (found - worth).abs() < 1e-5,
                "{reward}: {found} is not {worth}"
            );
        }
    }
}

/// Any reward can be asked about responses that are there already.
#[test]
fn responses_are_scored_by_any_reward() {
    let world = world();
    let folder = world.path();
    fs::write(
        folder.join("judge.sh"),
        "while read -r line; do echo 2; done",
    )
    .unwrap();
    let answers = "{\"prompt\": \"1 2\", \"completion\": \"3 4\"}\n\
                   {\"prompt\": \"2 3\", \"completion\": \"5\"}\n";
    fs::write(folder.join("answers.jsonl"), answers).unwrap();
    let scores = |arguments: &[&str]| {
        let arguments = [&["score", "--input", "answers.jsonl"], arguments].concat();
        let output = rlhf(folder, &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = rows(&text(&output.stdout));
        let score = |line: &Value| line["score"].as_f64().unwrap();
        lines.iter().map(score).collect::<Vec<_>>()
    };
    let by = |rule| scores(&["--model", "model", "--reward", rule]);
    assert_eq!(by("token-share:3"), [0.5, 0.0]);
    assert_eq!(by("length:-0.5"), [-1.0, -0.5]);
    assert_eq!(by("command:sh judge.sh"), [2.0, 2.0]);
    let learned = scores(&["--reward", "one/final"]);
    assert_ne!(learned[0].to_bits(), learned[1].to_bits());
    assert_eq!(learned, by("one/final"));
    let output = rlhf(
        folder,
        &["score", "--input", "answers.jsonl", "--reward", "length:1"],
    );
    let error = text(&output.stderr);
    assert!(error.contains("needs --model too"), "{error}");
}

#[test]
fn a_reward_that_fails_is_named() {
    let world = world();
    let folder = world.path();
    fs::write(folder.join("judge.sh"), "read -r line; echo well").unwrap();
    for (reward, expected) in [
        (
            "command:no-such-judge",
            "there is no program `no-such-judge`",
        ),
        (
            "command:sh judge.sh",
            "reward command `sh judge.sh`: line 1 of its answers is `well`",
        ),
        (
            "command:sh -c exit",
            "ended (exit status: 0) after 0 of 4 lines, 3 times in a row",
        ),
        ("mean:one/final", "give 2 folders at least"),
        (
            "mean:one/final,model",
            "is a language model, not a reward model",
        ),
        ("implicit:dpo/final,none,0.1", "none: no such folder"),
        (
            "implicit:dpo/final,model,0",
            "beta = 0: must be a positive number",
        ),
        ("http://127.0.0.1:9/", "5 times"),
    ] {
        refused(folder, "model", reward, expected);
    }
}

/// The reward model reads the policy's words by its own tokenizer, and the plan says so.
#[test]
fn another_tokenizer_reads_the_text() {
    let world = world();
    let folder = world.path();
    let words = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "."];
    let mut turned = words;
    turned.reverse();
    for (from, to, words) in [
        ("model", "policy", words),
        ("one/final", "same", words),
        ("one/final", "other", turned),
    ] {
        copy(&folder.join(from), &folder.join(to));
        tokenizer(&folder.join(to), &words);
    }
    assert!(!rewarded(folder, "policy", "same").contains("their tokenizer is another"));
    let said = rewarded(folder, "policy", "other");
    assert!(
        said.contains("other read texts and not the model's tokens"),
        "{said}"
    );
    // Ids alone are no text.
    fs::write(
        folder.join("config.json"),
        fs::read_to_string(folder.join("config.json"))
            .unwrap()
            .replace("11", "12"),
    )
    .unwrap();
    let made = rlhf(folder, &["model", "init", "config.json", "wider"]);
    assert!(made.status.success());
    refused(
        folder,
        "wider",
        "other",
        "the model has no tokenizer to read texts with",
    );
}
