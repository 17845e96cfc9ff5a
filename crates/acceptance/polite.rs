//! The task `politeness`: polite and rude responses to the same instruction.

use crate::suite::read_json;
use crate::task::{Task, train_held_out_split};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The number of folds, of which one is held out.
const FOLDS: u64 = 10;

/// All rows of an instruction are in the same part of the split.
pub(crate) fn task(data: &Path, seed: u64) -> Result<Task> {
    let path = data.join("pref-polite-synthetic/instruction-data-with-preference.json");
    let rows = read_json(&path)?;
    let rows = rows
        .as_array()
        .with_context(|| path.display().to_string())?;
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let prompt = format!("{}{}", row["instruction"], row["input"]);
        groups.entry(prompt).or_default().push(row.clone());
    }
    let (train, held_out) = train_held_out_split(groups.into_values().collect(), FOLDS, seed);
    let (pairs, held_out) = (train.concat(), held_out.concat());
    let text = |row: &Value, side: &str| json!({"instruction": row["instruction"], "input": row["input"], "completion": row[side]});
    let both = |row| ["chosen", "rejected"].map(|side| text(row, side));
    Ok(Task {
        name: "politeness",
        required: 0.9,
        context: 320,
        width: 64,
        common_settings: &[
            "data.fields.prompt=instruction",
            "data.fields.separator=\"\\n\"",
        ],
        reward_settings: &[
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
        baselines: json!({}),
    })
}
