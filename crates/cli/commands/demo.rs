//! The small world that is trained on when nothing says what to train.

use crate::args::TrainArgs;
use crate::config::{MethodName, ObjectiveName};
use crate::layers::Layers;
use anyhow::{Context, Result};
use rlhf_journal::write_atomic;
use std::fs;
use std::path::Path;

/// Who set these, for a message about a setting that makes no sense.
const WHO: &str = "the small world";

/// What fits every method that samples.
const ONLINE: &[&str] = &[
    "beta=0.3",
    "sampling.max_new_tokens=24",
    "sampling.rollouts=128",
    "sampling.rows=128",
    "optim.learning_rate=5e-4",
    "train.iterations=60",
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

fn settings(method: MethodName) -> &'static [&'static str] {
    match method {
        MethodName::Dpo | MethodName::Kto => DPO,
        MethodName::Sft | MethodName::Reward => FIT,
        _ => ONLINE,
    }
}

/// The settings of a run on the world in `folder`, which need not be there yet.
pub(crate) fn layers(folder: &Path, args: &TrainArgs) -> Result<Layers> {
    let method = args.objective.unwrap_or(ObjectiveName::PpoKl).method();
    let mut layers = Layers::new(None)?;
    for typed in settings(method).iter().chain(EVAL) {
        layers.set(typed)?;
    }
    let (train, held_out) = match method {
        MethodName::Dpo | MethodName::Kto | MethodName::Reward => {
            ("pairs.jsonl", Some("held_out_pairs.jsonl"))
        }
        MethodName::Sft => ("reviews.jsonl", None),
        _ => ("prompts.jsonl", Some("held_out.jsonl")),
    };
    let path = |name: &str| folder.join(name).display().to_string();
    layers.put(WHO, "model.path", path("model"));
    layers.put(WHO, "data.train", path(train));
    if let Some(held_out) = held_out {
        layers.put(WHO, "data.held_out", path(held_out));
    }
    if args.reward.is_none() && method != MethodName::Reward {
        layers.put(WHO, "reward.kind", "model");
        layers.put(WHO, "reward.folder", path("reward"));
    }
    if args.objective == Some(ObjectiveName::Imitation) {
        layers.put(WHO, "prior.kind", "demonstrations");
        layers.put(WHO, "prior.data", path("demonstrations.jsonl"));
    }
    args.add_to(&mut layers)?;
    Ok(layers)
}

/// Writes the world to `folder`.
pub(crate) fn write(folder: &Path) -> Result<()> {
    for (name, bytes) in rlhf_demo::FILES {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        write_atomic(&path, bytes)?;
    }
    Ok(())
}
