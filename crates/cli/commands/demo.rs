//! The small world that `rlhf train` makes when nothing says what to train.

use crate::args::TrainArgs;
use crate::commands::train;
use crate::layers::Layers;
use crate::output::log;
use anyhow::{Context, Result};
use rlhf_demo::World;
use serde_json::json;
use std::fs;
use std::path::Path;

/// How many reviews the language is learned from.
const REVIEWS: usize = 800;

/// Settings of the aligning run that fit the world, below what the user typed.
const SETTINGS: [&str; 7] = [
    "optim.learning_rate=3e-4",
    "sampling.max_new_tokens=16",
    "sampling.rollouts=128",
    "sampling.rows=128",
    "train.iterations=40",
    "beta=0.3",
    "eval.prior_samples=1024",
];

/// Settings of the fit.
const FIT: [&str; 4] = [
    "optim.learning_rate=3e-3",
    "optim.warmup=0.1",
    "train.epochs=6",
    "train.checkpoints=1",
];

/// The settings of the aligning run, on a world in `folder` that need not be there yet.
pub(crate) fn layers(folder: &Path, args: &TrainArgs) -> Result<Layers> {
    let mut layers = Layers::new(None)?;
    for typed in SETTINGS {
        layers.set(typed)?;
    }
    let path = |name: &str| folder.join(name).display().to_string();
    layers.put("the small world", "model.path", path("sft/final"));
    layers.put("the small world", "data.train", path("prompts.jsonl"));
    if args.reward.is_none() {
        layers.put("the small world", "reward.kind", "lexicon");
        layers.put("the small world", "reward.file", path("lexicon.txt"));
    }
    args.add_to(&mut layers)?;
    Ok(layers)
}

/// Writes the world to `folder` and fits a small GPT-2 to its language.
pub(crate) fn make(folder: &Path, seed: u64) -> Result<()> {
    let world = World::generate(seed, REVIEWS);
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let write = |name: &str, content: String| {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())
    };
    let lines = |key: &str, texts: &[String]| -> String {
        texts
            .iter()
            .map(|text| format!("{}\n", json!({key: text})))
            .collect()
    };
    write("reviews.jsonl", lines("text", &world.reviews))?;
    write("prompts.jsonl", lines("prompt", &world.prompts))?;
    let lexicon = world
        .lexicon
        .iter()
        .map(|(word, value)| format!("{word}\t{value}\n"));
    write("lexicon.txt", lexicon.collect())?;
    write("config.json", World::model_config().to_string())?;
    write("tokenizer.json", World::tokenizer().to_string())?;
    let model = folder.join("model");
    rlhf_lm::init(&folder.join("config.json"), seed, &model)?;
    log(format_args!(
        "a small world in {}: {} film reviews, and a lexicon of words that please",
        folder.display(),
        world.reviews.len()
    ));

    let mut layers = Layers::new(None)?;
    layers.put("the small world", "objective", "sft");
    for typed in FIT {
        layers.set(typed)?;
    }
    layers.put("the small world", "model.path", model.display().to_string());
    layers.put(
        "the small world",
        "data.train",
        folder.join("reviews.jsonl").display().to_string(),
    );
    layers.put("the small world", "train.seed", i64::try_from(seed)?);
    train::fit(&layers.resolve()?, &folder.join("sft"))
}
