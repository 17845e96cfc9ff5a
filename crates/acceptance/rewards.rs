//! Reward models from small networks trained here, on real preferences.

use crate::suite::{Outcome, Required, Setting, Suite, Verdict, json};
use crate::task::Task;
use crate::{harmless, movies, polite};
use anyhow::{Context, Result};
use rlhf_eval::wilson;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub(crate) const SUITE: Suite = Suite {
    name: "rewards",
    about: "held-out accuracy of small reward models on real preference pairs",
    run,
};

/// Apart from the others, because it takes longer.
pub(crate) const HARMLESS: Suite = Suite {
    name: "harmless",
    about: "held-out accuracy of a small reward model on which of two answers people found harmless",
    run: |setting| judge(setting, &[harmless::task]),
};

fn run(setting: &Setting<'_>) -> Result<Outcome> {
    judge(setting, &[movies::task, polite::task])
}

/// The task of a seed, from the folder of real data.
type Make = fn(&Path, u64) -> Result<Task>;

fn judge(setting: &Setting<'_>, tasks: &[Make]) -> Result<Outcome> {
    let data = setting.data()?;
    let mut outcome = Outcome::default();
    for task in tasks {
        let (mut right, mut pairs, mut claim) = (0.0, 0, None);
        for seed in 1..=u64::from(setting.seeds) {
            let task = task(data, seed)?;
            let row = task.fit(data, setting, seed)?;
            let items = row["pairs"].as_u64().context("pairs")? as usize;
            right += row["accuracy"]["value"].as_f64().context("accuracy")? * items as f64;
            pairs += items;
            outcome.rows.push(row);
            claim = Some((task.name, task.required));
        }
        let (name, required) = claim.context("no seed")?;
        outcome.verdicts.push(Verdict {
            name: format!("{name}: accuracy on {pairs} held-out pairs"),
            required: Required::AtLeast(required),
            reached: wilson(right / pairs as f64, pairs),
        });
    }
    Ok(outcome)
}

/// The tokenizer's files under their names in a checkpoint, and its last id, the end of a text.
const TOKENIZER: [(&str, &str); 2] = [
    ("vocab.json", "gpt2-bpe/tiny/gpt2-tiny-vocab.json"),
    ("merges.txt", "gpt2-bpe/tiny/gpt2-tiny-merges.txt"),
];
const END: u32 = 4999;

impl Task {
    /// Fits a new network to the texts, then a reward model to the pairs; answers its numbers on
    /// the held-out ones.
    fn fit(&self, data: &Path, setting: &Setting<'_>, seed: u64) -> Result<Value> {
        let folder = tempfile::tempdir_in(setting.scratch)?;
        let folder = folder.path();
        let path = |name: &str| folder.join(name).display().to_string();
        for (name, rows) in [
            ("texts.jsonl", &self.texts),
            ("pairs.jsonl", &self.pairs),
            ("held_out.jsonl", &self.held_out),
        ] {
            let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
            fs::write(folder.join(name), lines)?;
        }
        for (name, file) in TOKENIZER {
            let from = data.join(file);
            fs::copy(&from, folder.join(name)).with_context(|| from.display().to_string())?;
        }
        let config = json!({"model_type": "gpt2", "vocab_size": END + 1, "n_layer": 2, "n_head": 4,
            "n_positions": self.context, "n_embd": self.width, "bos_token_id": END,
            "eos_token_id": END});
        fs::write(folder.join("config.json"), config.to_string())?;
        rlhf_lm::init(&folder.join("config.json"), seed, &folder.join("init"))?;

        let both = [format!("train.seed={seed}"), "train.checkpoints=1".into()];
        let language = [
            "objective=sft".into(),
            format!("model.path={}", path("init")),
            format!("data.train={}", path("texts.jsonl")),
            "data.held_out_fraction=0.02".into(),
            "optim.learning_rate=2e-3".into(),
            "train.epochs=2".into(),
        ];
        let fixed =
            |settings: &[&str]| settings.iter().map(ToString::to_string).collect::<Vec<_>>();
        let reading = fixed(self.reading);
        let settings = [&both[..], &language, &reading].concat();
        setting.session.fit_with(&settings, &folder.join("sft"))?;
        let preference = [
            "objective=reward".into(),
            format!("model.path={}", path("sft/final")),
            format!("data.train={}", path("pairs.jsonl")),
            format!("data.held_out={}", path("held_out.jsonl")),
        ];
        let fitting = fixed(self.fitting);
        let settings = [&both[..], &preference, &reading, &fitting].concat();
        setting
            .session
            .fit_with(&settings, &folder.join("reward"))?;

        let found = json(&folder.join("reward/held_out.json"))?;
        let calibration = json(&folder.join("reward/calibration.json"))?;
        let mut row = json!({"task": self.name, "seed": seed, "pairs": found["items"],
            "accuracy": found["numbers"]["accuracy"], "confidence": found["numbers"]["confidence"],
            "loss": found["numbers"]["loss"], "calibration": calibration});
        let others = self.beside.as_object().into_iter().flatten();
        for (name, number) in others {
            row[name] = number.clone();
        }
        Ok(row)
    }
}
