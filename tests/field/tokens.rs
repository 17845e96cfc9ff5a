//! Tokenization of texts and conversations.

use crate::program::{done, rlhf, rows, text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Tokens of texts and chats from transformers, written by scripts/golden_tokens.py.
fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokens/tokens.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn chat(name: &str) -> Value {
    let golden = golden();
    let cases = golden["chats"].as_array().unwrap();
    cases
        .iter()
        .find(|case| case["name"] == name)
        .unwrap()
        .clone()
}

fn write(folder: &Path, name: &str, value: &Value) {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    fs::write(folder.join(name), text.trim_end().to_owned() + "\n").unwrap();
}

/// A folder with a tiny random network in `model`, with the tokenizer of the golden file; `network` and
/// `tokenizer` are further settings of the two.
fn model(network: Value, tokenizer: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden();
    let mut config = json!({"model_type": "gpt2", "vocab_size": golden["vocab_size"],
        "n_positions": 128, "n_embd": 8, "n_layer": 1, "n_head": 2});
    config
        .as_object_mut()
        .unwrap()
        .extend(network.as_object().unwrap().clone());
    write(folder.path(), "config.json", &config);
    for (name, value) in golden["base"]["vocab.json"].as_object().unwrap() {
        write(folder.path(), name, value);
    }
    write(folder.path(), "tokenizer_config.json", tokenizer);
    done(folder.path(), &["model", "init", "config.json", "model"]);
    let rows = config["vocab_size"].as_u64().unwrap();
    config["vocab_size"] = (rows - without_text(folder.path())).into();
    write(folder.path(), "config.json", &config);
    fs::remove_dir_all(folder.path().join("model")).unwrap();
    done(folder.path(), &["model", "init", "config.json", "model"]);
    folder
}

/// How many of the last ids of a model have no text, which `score` keeps and training leaves out.
fn without_text(folder: &Path) -> u64 {
    let summary = done(folder, &["model", "inspect", "model", "--json"]);
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let notes = summary["notes"].as_array().unwrap().iter();
    let mut counts = notes.filter_map(|note| {
        let (_, rest) = note.as_str()?.split_once("entries the last ")?;
        rest.split_once(" have no text")?.0.parse().ok()
    });
    counts.next().unwrap_or(0)
}

fn messages(case: &Value) -> Value {
    let prompt = case["prompt"].as_array().unwrap();
    let completion = case["completion"].as_array().unwrap();
    [prompt.clone(), completion.clone()].concat().into()
}

fn numbers(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The loss of the first step of sft on `data.jsonl`, nats per token.
fn first_loss(folder: &Path, more: &[&str]) -> f64 {
    let train = [
        "train",
        "--objective",
        "sft",
        "--model",
        "model",
        "--data",
        "data.jsonl",
        "--out",
        "run",
        "--overwrite",
        "--set",
        "data.held_out_fraction=0",
        "--set",
        "train.epochs=1",
    ];
    done(folder, &[&train[..], more].concat());
    let metrics = rows(&fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap());
    metrics[0]["loss/nll"].as_f64().unwrap()
}

/// The log-prob of each token except the first, given the tokens before it.
fn log_probs(folder: &Path, ids: &[u32]) -> Vec<f64> {
    let line = json!({"prompt_ids": ids[..1], "completion_ids": ids[1..]});
    write(folder, "ids.jsonl", &line);
    let scored = done(
        folder,
        &["score", "--model", "model", "--input", "ids.jsonl"],
    );
    serde_json::from_value(rows(&scored)[0]["log_probs"].clone()).unwrap()
}

/// The tokens up to the last EOS. Only a line break follows, which sampling does not reach.
fn to_the_end(case: &Value, end: u32) -> Vec<u32> {
    let mut ids = numbers(&case["ids"]);
    ids.truncate(ids.iter().rposition(|id| *id == end).unwrap() + 1);
    ids
}

fn end(case: &Value) -> u32 {
    *numbers(&case["ids"]).iter().rev().nth(1).unwrap()
}

#[test]
fn a_chat_is_tokenized_by_its_template() {
    let case = chat("one turn");
    let folder = model(json!({}), &case["config"]);
    let folder = folder.path();
    let ids = to_the_end(&case, end(&case));
    let expected = log_probs(folder, &ids);
    let mean = |numbers: &[f64]| -numbers.iter().sum::<f64>() / numbers.len() as f64;
    // As messages, every token except the first is learned, because there is no BOS before it.
    write(folder, "data.jsonl", &json!({"messages": messages(&case)}));
    assert!((first_loss(folder, &[]) - mean(&expected)).abs() < 1e-5);
    let pair = json!({"prompt": case["prompt"], "completion": case["completion"]});
    write(folder, "data.jsonl", &pair);
    let answer = &expected[numbers(&case["prompt_ids"]).len() - 1..];
    assert!((first_loss(folder, &[]) - mean(answer)).abs() < 1e-5);
}

#[test]
fn loss_on_assistant_covers_assistant_turns_only() {
    let case = chat("marked turns");
    let folder = model(json!({}), &case["config"]);
    let folder = folder.path();
    write(folder, "data.jsonl", &json!({"messages": messages(&case)}));
    let ids = numbers(&case["ids"]);
    let log_probs = log_probs(folder, &ids);
    let mask = numbers(&case["mask"]);
    let learned = (1..ids.len()).filter(|at| mask[*at] == 1);
    let learned: Vec<f64> = learned.map(|at| log_probs[at - 1]).collect();
    let expected = -learned.iter().sum::<f64>() / learned.len() as f64;
    let assistant = ["--set", "data.loss_on=assistant"];
    let loss = first_loss(folder, &assistant);
    assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");
    let dry = [
        "train",
        "--objective",
        "sft",
        "--model",
        "model",
        "--data",
        "data.jsonl",
        "--dry-run",
    ];
    let said = text(&rlhf(folder, &[&dry[..], &assistant].concat()).stderr);
    assert!(
        said.contains("{% generation %} blocks of the chat template (data.loss_on)"),
        "{said}"
    );
    let said = text(&rlhf(folder, &dry).stderr);
    assert!(
        said.contains(
            "every token of documents and conversations (set data.loss_on = \"assistant\""
        ),
        "{said}"
    );
    let said = rlhf(
        folder,
        &[
            "train",
            "--objective",
            "dpo",
            "--model",
            "model",
            "--data",
            "data.jsonl",
            "--set",
            "data.loss_on=last",
            "--dry-run",
        ],
    );
    assert_eq!(said.status.code(), Some(2));
    assert!(
        text(&said.stderr).contains("data.loss_on"),
        "{}",
        text(&said.stderr)
    );
}

#[test]
fn tools_and_an_unfinished_answer_reach_the_template() {
    for name in [
        "tools",
        "arguments of the template",
        "a prompt to be continued",
        "a prompt to be continued: a character of the markup",
        "templates in a list, with tools",
        "templates in an object, without tools",
    ] {
        let case = chat(name);
        let folder = model(json!({}), &case["config"]);
        let mut row = json!({"prompt": case["prompt"]});
        let columns = case["columns"].as_object().unwrap().clone();
        row.as_object_mut().unwrap().extend(columns);
        write(folder.path(), "prompts.jsonl", &row);
        let drawn = done(
            folder.path(),
            &[
                "generate",
                "--model",
                "model",
                "--prompts",
                "prompts.jsonl",
                "--max-new-tokens",
                "1",
                "--json",
            ],
        );
        assert_eq!(rows(&drawn)[0]["prompt_ids"], case["prompt_ids"], "{name}");
    }
}

#[test]
fn a_prefix_space_is_read_beside_vocab_and_merges() {
    let folder = model(json!({}), &json!({"add_prefix_space": true}));
    let prompt = ["--prompt", "Hello there", "--max-new-tokens", "1", "--json"];
    let drawn = done(
        folder.path(),
        &[&["generate", "--model", "model"], &prompt[..]].concat(),
    );
    let golden = golden();
    let cases = golden["texts"].as_array().unwrap();
    let mut cases = cases
        .iter()
        .filter(|case| case["name"] == "a blank before texts");
    let case = cases.next().unwrap();
    assert_eq!(case["texts"][0][0], "Hello there");
    assert_eq!(rows(&drawn)[0]["prompt_ids"], case["texts"][0][1]);
}

#[test]
fn a_document_starts_with_the_tokenizers_own_bos() {
    let bos = json!({"add_bos_token": true, "bos_token": "<x>"});
    let folder = model(json!({}), &bos);
    let folder = folder.path();
    let golden = golden();
    let cases = golden["texts"].as_array().unwrap();
    let mut cases = cases.iter().filter(|case| case["name"] == "another bos");
    let case = cases
        .find(|case| case["layout"] == "vocab.json")
        .expect("a case beside this vocabulary");
    let end = golden["base"]["vocab.json"]["vocab.json"]["<|endoftext|>"].as_u64();
    let ids = [
        numbers(&case["start"]),
        numbers(&case["texts"][0][1]),
        vec![end.unwrap() as u32],
    ]
    .concat();
    let expected = log_probs(folder, &ids);
    let expected = -expected.iter().sum::<f64>() / expected.len() as f64;
    write(folder, "data.jsonl", &json!({"text": case["texts"][0][0]}));
    let loss = first_loss(folder, &[]);
    assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");
}

#[test]
fn a_system_column_beside_the_question_is_named() {
    let folder = model(json!({}), &json!({}));
    let folder = folder.path();
    write(
        folder,
        "data.jsonl",
        &json!({"prompt": "a", "completion": "b", "system": "c"}),
    );
    let report = done(folder, &["data", "check", "data.jsonl"]);
    let named = "not part of any prompt or completion: `system`; a reward may read them; if `system` \
                 belongs to the prompt";
    assert!(report.contains(named), "{report}");
    let train = rlhf(
        folder,
        &[
            "train",
            "--objective",
            "sft",
            "--model",
            "model",
            "--data",
            "data.jsonl",
            "--set",
            "data.held_out_fraction=0",
            "--dry-run",
        ],
    );
    // In supervised fine-tuning there is no reward.
    let named = named.replace("; a reward may read them", "");
    assert!(
        text(&train.stderr).contains(&named),
        "{}",
        text(&train.stderr)
    );
}

/// A network restricted to three tokens, two of which end a response.
#[test]
fn each_of_several_eos_tokens_ends_a_response() {
    let folder = model(json!({"eos_token_id": [3, 5]}), &json!({}));
    let folder = folder.path();
    write(
        folder,
        "model/generation_config.json",
        &json!({"eos_token_id": [5, 7]}),
    );
    let summary: Value =
        serde_json::from_str(&done(folder, &["model", "inspect", "model", "--json"])).unwrap();
    let ends: Vec<(u64, usize)> = summary["ends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|end| {
            (
                end["id"].as_u64().unwrap(),
                end["from"].as_array().unwrap().len(),
            )
        })
        .collect();
    assert_eq!(ends, [(3, 1), (5, 2), (7, 1)]);
    assert_eq!(summary["eos"], 3);
    write(folder, "data.jsonl", &json!({"prompt": "a"}));
    done(
        folder,
        &[
            "train",
            "--objective",
            "ppo-kl",
            "--model",
            "model",
            "--data",
            "data.jsonl",
            "--reward",
            "length:1",
            "--out",
            "run",
            "--set",
            "data.held_out_fraction=0",
            "--set",
            "sampling.tokens=[3, 5, 7, 9]",
            "--set",
            "sampling.rollouts=32",
            "--set",
            "sampling.samples_per_prompt=32",
            "--set",
            "sampling.max_new_tokens=20",
            "--set",
            "train.iterations=1",
            "--set",
            "train.samples=32",
        ],
    );
    let config = fs::read_to_string(folder.join("run/final/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["eos_token_id"], json!([3, 5]));
    assert!(folder.join("run/final/generation_config.json").exists());
    let metrics = rows(&fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap());
    // Three of four tokens end a response: 1/4^20 of all have the greatest length.
    assert_eq!(metrics[0]["val/num_eos_tokens"], 32.0, "{}", metrics[0]);
}

#[test]
fn a_tokenizer_that_disagrees_with_its_network_is_noted() {
    let golden = golden();
    let end = golden["base"]["vocab.json"]["vocab.json"]["<|endoftext|>"]
        .as_u64()
        .unwrap();
    let config = json!({"eos_token": "<|im_end|>", "chat_template": chat("one turn")["config"]["chat_template"]});
    let folder = model(json!({"eos_token_id": end}), &config);
    let folder = folder.path();
    let inspected = done(folder, &["model", "inspect", "model"]);
    let ends = format!(
        "{} <|im_end|> (tokenizer_config.json), {end} <|endoftext|> (config.json)",
        end + 1
    );
    assert!(
        inspected.contains(&ends) && inspected.contains("do not name"),
        "{inspected}"
    );
    write(
        folder,
        "data.jsonl",
        &json!({"prompt": "a", "completion": "b"}),
    );
    let train = [
        "train",
        "--objective",
        "sft",
        "--model",
        "model",
        "--data",
        "data.jsonl",
        "--set",
        "data.held_out_fraction=0",
        "--dry-run",
    ];
    let said = text(&rlhf(folder, &train).stderr);
    assert!(
        said.contains(&ends) && said.contains("do not name"),
        "{said}"
    );
    // If only the template defines the end of a turn, sampling does not stop there.
    write(
        folder,
        "model/tokenizer_config.json",
        &json!({"chat_template": config["chat_template"]}),
    );
    let said = text(&rlhf(folder, &train).stderr);
    assert!(
        said.contains("ends an assistant turn with \"<|im_end|>\\n\""),
        "{said}"
    );
}

#[test]
fn ids_are_scored_by_a_reward_as_they_are() {
    let folder = model(json!({}), &json!({}));
    let folder = folder.path();
    let judge = "while read -r line; do case \"$line\" in *'\"finish\":\"eos\"'*) echo 1;; *) echo 0;; esac; done";
    write(folder, "judge.sh", &json!(judge));
    let golden = golden();
    let end = &golden["base"]["vocab.json"]["vocab.json"]["<|endoftext|>"];
    let input = [
        json!({"prompt_ids": [5], "completion_ids": [6]}),
        json!({"prompt_ids": [5], "completion_ids": [6, end]}),
        json!({"prompt": "a", "completion": "b"}),
    ];
    fs::write(
        folder.join("input.jsonl"),
        input.map(|row| format!("{row}\n")).concat(),
    )
    .unwrap();
    let scored = done(
        folder,
        &[
            "score",
            "--model",
            "model",
            "--reward",
            "command:sh judge.sh",
            "--input",
            "input.jsonl",
        ],
    );
    let scores: Vec<f64> = rows(&scored)
        .iter()
        .map(|row| row["score"].as_f64().unwrap())
        .collect();
    assert_eq!(scores, [0.0, 1.0, 1.0]);
}

#[test]
fn a_vocabulary_of_another_kind_is_refused() {
    let folder = model(json!({}), &json!({}));
    let path = folder.path();
    for (name, content, expected) in [
        (
            "tokenizer_config.json",
            json!({"tokenizer_class": "Qwen2Tokenizer"}),
            "\"Qwen2Tokenizer\" splits",
        ),
        (
            "tokenizer_config.json",
            json!({"add_prefix_space": 1}),
            "`add_prefix_space` must be",
        ),
        (
            "generation_config.json",
            json!({"eos_token_id": "x"}),
            "eos_token_id = \"x\"",
        ),
    ] {
        let file = path.join("model").join(name);
        let before = fs::read(&file).ok();
        write(&path.join("model"), name, &content);
        let output = rlhf(path, &["model", "inspect", "model"]);
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains(name) && said.contains(expected),
            "{said}"
        );
        match before {
            Some(before) => fs::write(file, before).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
    }
    for name in ["vocab.json", "merges.txt"] {
        fs::remove_file(path.join("model").join(name)).unwrap();
    }
    write(path, "model/vocab.txt", &json!("[UNK]"));
    let said = text(&rlhf(path, &["model", "inspect", "model"]).stderr);
    assert!(
        said.contains("vocab.txt") && said.contains("tokenizer.json beside it"),
        "{said}"
    );
}
