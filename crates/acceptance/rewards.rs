//! Reward models from small networks trained here, on real preferences.

use crate::suite::{Outcome, Required, Setting, Suite, Verdict, json};
use crate::{harmless, movies, polite};
use anyhow::{Context, Result};
use rlhf_eval::wilson;
use rlhf_journal::Estimate;
use rlhf_tensor::{Rng, Stream};
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

/// Texts to learn a language from and pairs to learn a preference from, as rows of data files.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    /// The accuracy that is asked for.
    pub(crate) required: f64,
    /// The network's context in tokens, and its width.
    pub(crate) context: usize,
    pub(crate) width: usize,
    /// Settings of both runs, and of the second.
    pub(crate) reading: &'static [&'static str],
    pub(crate) fitting: &'static [&'static str],
    pub(crate) texts: Vec<Value>,
    pub(crate) pairs: Vec<Value>,
    pub(crate) held_out: Vec<Value>,
    /// What else is to be had on the held-out pairs.
    pub(crate) beside: Value,
}

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

/// Items to learn from and items held out: one of `parts` parts. The first `parts` seeds hold out
/// different ones, so what is counted on them can be added up.
pub(crate) fn fold<T>(items: Vec<T>, parts: u64, seed: u64) -> (Vec<T>, Vec<T>) {
    let (round, part) = ((seed - 1) / parts, (seed - 1) % parts);
    let mut order: Vec<u64> = (0..items.len() as u64).collect();
    Rng::new(round, Stream::Data, 0, 0).shuffle(&mut order);
    let mut sides = (Vec::new(), Vec::new());
    for (item, place) in items.into_iter().zip(order) {
        let side = match place % parts == part {
            true => &mut sides.1,
            false => &mut sides.0,
        };
        side.push(item);
    }
    sides
}

/// The better text and the worse.
pub(crate) type Pair<'a> = (&'a str, &'a str);

/// How often the better text has the higher value; a tie is half a hit.
pub(crate) fn accuracy(pairs: &[Pair<'_>], value: impl Fn(&str) -> f64) -> Estimate {
    let hit = |(better, worse): &Pair<'_>| match value(better).total_cmp(&value(worse)) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    wilson(
        pairs.iter().map(hit).sum::<f64>() / pairs.len() as f64,
        pairs.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_hold_out_different_parts() {
        let mut all: Vec<u32> = Vec::new();
        for seed in 1..=5 {
            let (train, held_out) = fold((0..103).collect(), 5, seed);
            assert_eq!(train.len() + held_out.len(), 103);
            assert!(held_out.iter().all(|item| !train.contains(item)));
            all.extend(held_out);
        }
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
    }
}
