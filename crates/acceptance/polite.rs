//! Polite and rude answers to the same instruction.

use crate::suite::json;
use crate::task::{Task, fold};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// One part of so many is held out.
const PARTS: u64 = 10;

/// All rows of an instruction are on one side.
pub(crate) fn task(data: &Path, seed: u64) -> Result<Task> {
    let path = data.join("pref-polite-synthetic/instruction-data-with-preference.json");
    let rows = json(&path)?;
    let rows = rows
        .as_array()
        .with_context(|| path.display().to_string())?;
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let prompt = format!("{}{}", row["instruction"], row["input"]);
        groups.entry(prompt).or_default().push(row.clone());
    }
    let (train, held_out) = fold(groups.into_values().collect(), PARTS, seed);
    let (pairs, held_out) = (train.concat(), held_out.concat());
    let text = |row: &Value, answer: &str| json!({"instruction": row["instruction"], "input": row["input"], "completion": row[answer]});
    let both = |row| ["chosen", "rejected"].map(|answer| text(row, answer));
    Ok(Task {
        name: "politeness",
        required: 0.9,
        context: 320,
        width: 64,
        reading: &[
            "data.fields.prompt=instruction",
            "data.fields.separator=\"\\n\"",
        ],
        fitting: &[
            "optim.learning_rate=3e-3",
            "train.epochs=3",
            "train.batch_size=32",
            "sampling.max_new_tokens=32",
            "eval.prompts=64",
            "eval.samples_per_prompt=1",
        ],
        texts: pairs.iter().flat_map(both).collect(),
        pairs,
        held_out,
        beside: json!({}),
    })
}
