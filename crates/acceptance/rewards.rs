//! The suites `rewards` and `harmless`: reward models trained from small networks on real preferences.

use crate::suite::{Outcome, Required, Suite, SuiteContext, Verdict, read_json};
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

/// A suite of its own, because it takes longer.
pub(crate) const HARMLESS: Suite = Suite {
    name: "harmless",
    about: "held-out accuracy of a small reward model on harmlessness pairs labelled by people",
    run: |context| fit_tasks(context, &[harmless::task]),
};

fn run(context: &SuiteContext<'_>) -> Result<Outcome> {
    fit_tasks(context, &[movies::task, polite::task])
}

/// Builds a task from the data folder and a seed.
type BuildTask = fn(&Path, u64) -> Result<Task>;

fn fit_tasks(context: &SuiteContext<'_>, tasks: &[BuildTask]) -> Result<Outcome> {
    let data = context.data()?;
    let mut outcome = Outcome::default();
    for task in tasks {
        let (mut correct, mut pairs, mut requirement) = (0.0, 0, None);
        for seed in 1..=u64::from(context.seeds) {
            let task = task(data, seed)?;
            let row = task.fit(data, context, seed)?;
            let items = row["pairs"].as_u64().context("pairs")? as usize;
            correct += row["accuracy"]["value"].as_f64().context("accuracy")? * items as f64;
            pairs += items;
            outcome.rows.push(row);
            requirement = Some((task.name, task.required));
        }
        let (name, required) = requirement.context("there are no seeds")?;
        outcome.verdicts.push(Verdict {
            name: format!("{name}: accuracy on {pairs} held-out pairs"),
            required: Required::AtLeast(required),
            reached: wilson(correct / pairs as f64, pairs),
        });
    }
    Ok(outcome)
}

/// The tokenizer files by their names in a checkpoint folder, and the id of the end-of-text token.
const TOKENIZER: [(&str, &str); 2] = [
    ("vocab.json", "gpt2-bpe/tiny/gpt2-tiny-vocab.json"),
    ("merges.txt", "gpt2-bpe/tiny/gpt2-tiny-merges.txt"),
];
const EOS: u32 = 4999;

impl Task {
    /// Trains a new network on the texts, then a reward model on the pairs; returns the metrics on
    /// the held-out pairs.
    fn fit(&self, data: &Path, context: &SuiteContext<'_>, seed: u64) -> Result<Value> {
        let folder = tempfile::tempdir_in(context.scratch)?;
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
        let config = json!({"model_type": "gpt2", "vocab_size": EOS + 1, "n_layer": 2, "n_head": 4,
            "n_positions": self.context, "n_embd": self.width, "bos_token_id": EOS,
            "eos_token_id": EOS});
        fs::write(folder.join("config.json"), config.to_string())?;
        rlhf_lm::init(&folder.join("config.json"), seed, &folder.join("init"))?;

        let shared = [format!("train.seed={seed}"), "train.checkpoints=1".into()];
        let language = [
            "objective=sft".into(),
            format!("model.path={}", path("init")),
            format!("data.train={}", path("texts.jsonl")),
            "data.held_out_fraction=0.02".into(),
            "optim.learning_rate=2e-3".into(),
            "train.epochs=2".into(),
        ];
        let owned =
            |settings: &[&str]| settings.iter().map(ToString::to_string).collect::<Vec<_>>();
        let common = owned(self.common_settings);
        let settings = [&shared[..], &language, &common].concat();
        context.session.fit_with(&settings, &folder.join("sft"))?;
        let preference = [
            "objective=reward".into(),
            format!("model.path={}", path("sft/final")),
            format!("data.train={}", path("pairs.jsonl")),
            format!("data.held_out={}", path("held_out.jsonl")),
        ];
        let reward = owned(self.reward_settings);
        let settings = [&shared[..], &preference, &common, &reward].concat();
        context
            .session
            .fit_with(&settings, &folder.join("reward"))?;

        let found = read_json(&folder.join("reward/held_out.json"))?;
        let calibration = read_json(&folder.join("reward/calibration.json"))?;
        let mut row = json!({"task": self.name, "seed": seed, "pairs": found["items"],
            "accuracy": found["numbers"]["accuracy"], "confidence": found["numbers"]["confidence"],
            "loss": found["numbers"]["loss"], "calibration": calibration});
        let baselines = self.baselines.as_object().into_iter().flatten();
        for (name, number) in baselines {
            row[name] = number.clone();
        }
        Ok(row)
    }
}
