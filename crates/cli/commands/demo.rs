//! The small world that is trained on when nothing says what to train.

use crate::args::TrainArgs;
use crate::config::{Config, MethodName, ObjectiveName};
use crate::layers::Layers;
use crate::plan::Lines;
use anyhow::{Context, Result};
use rlhf_journal::write_atomic;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

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

fn settings(method: MethodName) -> &'static [&'static str] {
    match method {
        MethodName::Dpo | MethodName::Kto => DPO,
        MethodName::Sft | MethodName::Reward => FIT,
        _ => ONLINE,
    }
}

/// The world where a run is planned: a folder that goes away, for a plan writes nothing.
pub(crate) struct Staged(TempDir);

impl Staged {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        write(folder.path())?;
        Ok(Self(folder))
    }

    /// The settings of a run on it.
    pub(crate) fn layers(&self, args: &TrainArgs) -> Result<Layers> {
        layers(self.0.path(), args)
    }

    /// The same settings where the world is in the run folder.
    pub(crate) fn config_in(&self, run: &Path, config: Config) -> Result<Config> {
        config.stored_in(self.0.path())?.read_from(run)
    }

    /// The same plan where the world is in the run folder.
    pub(crate) fn say_in(&self, run: &Path, lines: &mut Lines) -> Result<()> {
        let (here, there) = (self.0.path(), std::path::absolute(run)?);
        let (here, there) = (here.display().to_string(), there.display().to_string());
        for (_, line) in lines {
            *line = line.replace(&here, &there);
        }
        Ok(())
    }
}

/// The settings of a run on the world that is written to `folder`.
pub(crate) fn layers(folder: &Path, args: &TrainArgs) -> Result<Layers> {
    let objective = args.layers()?.objective()?;
    let method = objective.method();
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
    let world = folder.join(WORLD);
    let path = |name: &str| world.join(name).display().to_string();
    layers.put(WHO, "model.path", path("model"));
    layers.put(WHO, "data.train", path(train));
    if let Some(held_out) = held_out {
        layers.put(WHO, "data.held_out", path(held_out));
    }
    if method != MethodName::Reward {
        layers.put(WHO, "reward.kind", "model");
        layers.put(WHO, "reward.folder", path("reward"));
    }
    if objective == ObjectiveName::Imitation {
        layers.put(WHO, "prior.kind", "demonstrations");
        layers.put(WHO, "prior.data", path("demonstrations.jsonl"));
    }
    args.add_to(&mut layers)?;
    Ok(layers)
}

/// Writes the world into `folder`, and says where it is.
pub(crate) fn write(folder: &Path) -> Result<PathBuf> {
    let world = folder.join(WORLD);
    for (name, bytes) in rlhf_demo::FILES {
        let path = world.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        write_atomic(&path, bytes)?;
    }
    Ok(world)
}
