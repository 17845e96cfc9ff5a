//! Which of two answers in a dialogue people found less harmful: real, noisy, and hard.

use crate::bag_of_words::BagOfWords;
use crate::task::{Pair, Task, accuracy, fold};
use anyhow::{Context, Result};
use rlhf_data::{Documents, rows};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What starts an answer.
const TURN: &str = "\n\nAssistant:";
/// One part of so many is held out.
const PARTS: u64 = 5;

/// Dialogues that begin alike are on one side. Pairs that share no prompt are left out.
pub(crate) fn task(data: &Path, seed: u64) -> Result<Task> {
    let path = data.join("pref-hh-harmless-test/test.jsonl.gz");
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows(&path, Documents::Lines)? {
        let (chosen, rejected) = (row.text("chosen")?, row.text("rejected")?);
        let (chosen, rejected) = chosen.zip(rejected).context("no pair")?;
        if apart(chosen).0 == apart(rejected).0 {
            let (first, _) = chosen.split_once(TURN).context("no answer")?;
            let pair = json!({"chosen": chosen, "rejected": rejected});
            groups.entry(first.into()).or_default().push(pair);
        }
    }
    let (train, held_out) = fold(groups.into_values().collect(), PARTS, seed);
    let (pairs, held_out) = (train.concat(), held_out.concat());
    let beside = baselines(&pairs, &held_out, seed);
    let texts = |row: &Value| ["chosen", "rejected"].map(|side| json!({"text": row[side]}));
    Ok(Task {
        name: "harmlessness",
        required: 0.53,
        context: 320,
        width: 64,
        reading: &[],
        fitting: &[
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
        beside,
    })
}

/// A dialogue up to its last answer, and that answer.
fn apart(dialogue: &str) -> (&str, &str) {
    let start = dialogue.rfind(TURN).map_or(0, |at| at + TURN.len());
    dialogue.split_at(start)
}

/// What the words of an answer tell, and its length alone.
fn baselines(train: &[Value], held_out: &[Value], seed: u64) -> Value {
    let bag = BagOfWords::fit(&answers(train), seed);
    let held_out = answers(held_out);
    json!({
        "shorter": accuracy(&held_out, |text| -(text.len() as f64)),
        "bag_of_words": accuracy(&held_out, |text| bag.score(text)),
    })
}

fn answers(rows: &[Value]) -> Vec<Pair<'_>> {
    let pair = |row| (answer(row, "chosen"), answer(row, "rejected"));
    rows.iter().map(pair).collect()
}

fn answer<'a>(row: &'a Value, side: &str) -> &'a str {
    apart(row[side].as_str().unwrap_or_default()).1
}
