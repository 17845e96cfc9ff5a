//! The task `harmlessness`: which of two responses in a dialogue people found less harmful. The labels
//! are noisy.

use crate::bag_of_words::BagOfWords;
use crate::task::{Pair, Task, accuracy, train_held_out_split};
use anyhow::{Context, Result};
use rlhf_data::{Documents, rows};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The prefix of a response.
const ASSISTANT_TURN: &str = "\n\nAssistant:";
/// The number of folds, of which one is held out.
const FOLDS: u64 = 5;

/// Dialogues with the same first turn are in the same part of the split. Pairs with different prompts
/// are left out.
pub(crate) fn task(data: &Path, seed: u64) -> Result<Task> {
    let path = data.join("pref-hh-harmless-test/test.jsonl.gz");
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows(&path, Documents::Lines)? {
        let (chosen, rejected) = (row.text("chosen")?, row.text("rejected")?);
        let (chosen, rejected) = chosen
            .zip(rejected)
            .context("the row has no chosen or no rejected text")?;
        if split_last_response(chosen).0 == split_last_response(rejected).0 {
            let (first, _) = chosen
                .split_once(ASSISTANT_TURN)
                .context("the dialogue has no assistant turn")?;
            let pair = json!({"chosen": chosen, "rejected": rejected});
            groups.entry(first.into()).or_default().push(pair);
        }
    }
    let (train, held_out) = train_held_out_split(groups.into_values().collect(), FOLDS, seed);
    let (pairs, held_out) = (train.concat(), held_out.concat());
    let baselines = baselines(&pairs, &held_out, seed);
    let texts = |row: &Value| ["chosen", "rejected"].map(|side| json!({"text": row[side]}));
    Ok(Task {
        name: "harmlessness",
        required: 0.53,
        context: 320,
        width: 64,
        common_settings: &[],
        reward_settings: &[
            "optim.learning_rate=1e-3",
            "train.epochs=2",
            "train.batch_size=32",
            "sampling.max_new_tokens=32",
            "eval.prompts=64",
            "eval.samples_per_prompt=1",
        ],
        texts: pairs.iter().flat_map(texts).collect(),
        pairs,
        held_out,
        baselines,
    })
}

/// Splits a dialogue into everything before its last response, and that response.
fn split_last_response(dialogue: &str) -> (&str, &str) {
    let start = dialogue
        .rfind(ASSISTANT_TURN)
        .map_or(0, |at| at + ASSISTANT_TURN.len());
    dialogue.split_at(start)
}

/// The accuracies of a bag-of-words model and of preferring the shorter response.
fn baselines(train: &[Value], held_out: &[Value], seed: u64) -> Value {
    let bag = BagOfWords::fit(&response_pairs(train), seed);
    let held_out = response_pairs(held_out);
    json!({
        "shorter": accuracy(&held_out, |text| -(text.len() as f64)),
        "bag_of_words": accuracy(&held_out, |text| bag.score(text)),
    })
}

fn response_pairs(rows: &[Value]) -> Vec<Pair<'_>> {
    let pair = |row| (response(row, "chosen"), response(row, "rejected"));
    rows.iter().map(pair).collect()
}

fn response<'a>(row: &'a Value, side: &str) -> &'a str {
    split_last_response(row[side].as_str().unwrap_or_default()).1
}
