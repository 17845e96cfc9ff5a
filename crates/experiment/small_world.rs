//! The small world that is trained on when nothing says what to train.

use crate::catalog::Catalog;
use crate::layers::Layers;
use crate::method::Objective;
use anyhow::{Context, Result};
use rlhf_journal::write_atomic;
use rlhf_train::{LearnsFrom, PriorUse};
use std::fs;
use std::path::{Path, PathBuf};

/// Who set these, for a message about a setting that makes no sense.
const WHO: &str = "the small world";

/// The folder that holds the world.
const WORLD: &str = "world";

/// What fits every method that samples.
const ONLINE: &[&str] = &[
    "beta=0.3",
    "sampling.max_new_tokens=24",
    "sampling.rollouts=128",
    "sampling.rows=128",
    "optim.learning_rate=5e-4",
    "train.iterations=60",
    "train.checkpoints=10",
];

/// What fits preference pairs.
const DPO: &[&str] = &[
    "beta=1.0",
    "sampling.max_new_tokens=24",
    "optim.learning_rate=2e-4",
    "train.epochs=2",
];

/// What fits the other preparations.
const FIT: &[&str] = &["optim.learning_rate=1e-3", "train.epochs=4"];

/// How a run is measured.
const EVAL: &[&str] = &["eval.prompts=64", "eval.prior_samples=1024"];

/// What fits a method that learns from this, with or without a prior.
fn settings(learns_from: LearnsFrom, prior: PriorUse) -> &'static [&'static str] {
    match (learns_from, prior) {
        (LearnsFrom::Samples, _) => ONLINE,
        (_, PriorUse::Penalty) => DPO,
        (_, PriorUse::Nothing | PriorUse::Scale) => FIT,
    }
}

/// The settings of a run on the world that is written to `folder`.
///
/// # Errors
/// If a setting cannot be given.
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
    layers.put(WHO, "objective", objective.preset.name);
    layers.put(WHO, "model.path", path("model"));
    layers.put(WHO, "data.train", path(train));
    if let Some(held_out) = held_out {
        layers.put(WHO, "data.held_out", path(held_out));
    }
    if !facts.is_reward_model() {
        layers.put(WHO, "reward.kind", "model");
        layers.put(WHO, "reward.folder", path("reward"));
    }
    if objective.preset.prior == "demonstrations" {
        layers.put(WHO, "prior.kind", "demonstrations");
        layers.put(WHO, "prior.data", path("demonstrations.jsonl"));
    }
    Ok(layers)
}

/// Writes the world into `folder`, and says where it is.
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
