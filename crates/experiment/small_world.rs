//! The built-in demo that `rlhf train` uses if no model and no data are given.

use crate::catalog::Catalog;
use crate::layers::Layers;
use crate::method::Objective;
use anyhow::{Context, Result};
use rlhf_journal::write_atomic;
use rlhf_train::{LearnsFrom, PriorUse};
use std::fs;
use std::path::{Path, PathBuf};

/// The source of these settings in error messages.
const SOURCE: &str = "the built-in demo";

/// The folder of the demo's files.
const WORLD: &str = "world";

/// Settings for online methods.
const ONLINE: &[&str] = &[
    "beta=0.3",
    "sampling.max_new_tokens=24",
    "sampling.rollouts=128",
    "sampling.rows=128",
    "optim.learning_rate=5e-4",
    "train.iterations=60",
    "train.checkpoints=10",
];

/// Settings for preference pairs with a prior.
const DPO: &[&str] = &[
    "beta=1.0",
    "sampling.max_new_tokens=24",
    "optim.learning_rate=2e-4",
    "train.epochs=2",
];

/// Settings for supervised fine-tuning and reward models.
const FIT: &[&str] = &["optim.learning_rate=1e-3", "train.epochs=4"];

/// Settings of the evaluation.
const EVAL: &[&str] = &["eval.prompts=64", "eval.prior_samples=1024"];

/// The settings for a method that learns from this and uses the prior like this.
fn settings(learns_from: LearnsFrom, prior: PriorUse) -> &'static [&'static str] {
    match (learns_from, prior) {
        (LearnsFrom::Samples, _) => ONLINE,
        (_, PriorUse::Penalty) => DPO,
        (_, PriorUse::Nothing | PriorUse::Scale) => FIT,
    }
}

/// The settings of an objective on the demo in `folder`.
///
/// # Errors
/// If a setting is malformed.
pub fn layers(catalog: &Catalog, folder: &Path, objective: &Objective) -> Result<Layers> {
    let method = objective.method();
    let facts = method.facts();
    let mut layers = Layers::new(catalog, None)?;
    for typed in settings(facts.learns_from, facts.prior).iter().chain(EVAL) {
        layers.set(typed)?;
    }
    let (train, held_out) = match facts.learns_from {
        LearnsFrom::Pairs | LearnsFrom::UnpairedPreferences => {
            ("pairs.jsonl", Some("held_out_pairs.jsonl"))
        }
        LearnsFrom::Demonstrations => ("reviews.jsonl", None),
        LearnsFrom::Samples => ("prompts.jsonl", Some("held_out.jsonl")),
    };
    let world = folder.join(WORLD);
    let path = |name: &str| world.join(name).display().to_string();
    layers.put(SOURCE, "objective", objective.preset.name);
    layers.put(SOURCE, "model.path", path("model"));
    layers.put(SOURCE, "data.train", path(train));
    if let Some(held_out) = held_out {
        layers.put(SOURCE, "data.held_out", path(held_out));
    }
    if !facts.is_reward_model() {
        layers.put(SOURCE, "reward.kind", "model");
        layers.put(SOURCE, "reward.folder", path("reward"));
    }
    if objective.preset.prior == "demonstrations" {
        layers.put(SOURCE, "prior.kind", "demonstrations");
        layers.put(SOURCE, "prior.data", path("demonstrations.jsonl"));
    }
    Ok(layers)
}

/// The folder of the demo's files inside `folder`.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join(WORLD)
}

/// Writes the demo's files into `folder`; returns the folder that holds them.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let world = folder.join(WORLD);
    for (name, bytes) in rlhf_demo::FILES {
        let path = world.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        write_atomic(&path, bytes)?;
    }
    Ok(world)
}
