//! `rlhf model`: look at a checkpoint, fetch one, or make one.

use crate::args::{ModelCommand, SizeArgs};
use crate::output::{note, print};
use anyhow::{Result, anyhow};
use rlhf_experiment::{Session, Usage, Vocabulary};
use rlhf_lm::{Sizes, Summary};
use serde_json::json;
use std::path::Path;

pub(crate) fn run(session: &Session, command: &ModelCommand) -> Result<()> {
    match command {
        ModelCommand::Inspect { folder, json } => {
            let folder = &session.locator.model(folder)?;
            let mut summary = rlhf_lm::inspect(folder)?;
            // The chat template's too.
            match Vocabulary::load(folder) {
                Ok(vocabulary) => summary.notes = vocabulary.notes,
                Err(error) => summary.notes.push(format!("{error:#}")),
            }
            if *json {
                return print(serde_json::to_string(&summary)?);
            }
            describe(folder, &summary)
        }
        ModelCommand::Fetch { repository, json } => {
            let found = session.locator.fetch(repository)?;
            match json {
                true => print(json!({"folder": found.folder, "commit": found.commit})),
                false => print(found.folder.display()),
            }
        }
        ModelCommand::Merge { adapter, out } => {
            let folder = &session.locator.model(adapter)?;
            check_empty(out)?;
            rlhf_lm::merge(folder, out)?;
            note(format_args!("{}: merged", out.display()));
            Ok(())
        }
        ModelCommand::Init {
            config,
            out,
            architecture,
            sizes,
            seed,
        } => {
            check_empty(out)?;
            match (architecture, config) {
                (Some(name), _) => {
                    let made = rlhf_lm::init_architecture(name, &sizes_of(sizes), *seed, out);
                    made.map_err(|error| Usage(error.into()))?;
                }
                (None, Some(config)) => rlhf_lm::init(config, *seed, out)?,
                (None, None) => unreachable!("one of them is required"),
            }
            let parameters = rlhf_lm::inspect(out)?.parameters;
            note(format_args!(
                "{}: {parameters} random parameters",
                out.display()
            ));
            Ok(())
        }
    }
}

/// Refuses to write where something is.
fn check_empty(out: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(out).into_iter().flatten();
    if entries.next().is_none() {
        return Ok(());
    }
    let message = anyhow!("{} is not empty: choose another folder", out.display());
    Err(Usage(message).into())
}

fn sizes_of(sizes: &SizeArgs) -> Sizes {
    Sizes {
        vocab: sizes.vocab,
        context: sizes.context,
        width: sizes.width,
        layers: sizes.layers,
        heads: sizes.heads,
        kv_heads: sizes.kv_heads.unwrap_or(sizes.heads),
        inner: sizes.inner.unwrap_or(4 * sizes.width),
    }
}

fn describe(folder: &Path, summary: &Summary) -> Result<()> {
    let id = |id: Option<u32>| id.map_or("none".to_string(), |id| id.to_string());
    let says = |present, yes: &str, no: &str| if present { yes } else { no }.to_string();
    let gib = |bytes: u64| format!("{:.3} GiB", bytes as f64 / f64::from(1 << 30));
    let (layers, width) = (summary.layers, summary.width);
    let (heads, kv_heads) = (summary.heads, summary.kv_heads);
    let heads = if heads == kv_heads {
        format!("{heads} heads")
    } else {
        format!("{heads} heads on {kv_heads} of keys and values")
    };
    let gated = if summary.gated { ", gated" } else { "" };
    let rows = [
        ("folder", folder.display().to_string()),
        ("architecture", summary.architecture.to_string()),
        ("parameters", summary.parameters.to_string()),
        (
            "shape",
            format!(
                "{layers} layers, {heads}, width {width}, inner {}{gated}",
                summary.inner
            ),
        ),
        ("context", format!("{} tokens", summary.context)),
        ("positions", summary.positions.clone()),
        ("vocabulary", format!("{} entries", summary.vocab)),
        (
            "head",
            says(summary.tied, "tied to the embedding", "of its own"),
        ),
        ("value head", says(summary.value_head, "yes", "none")),
        (
            "eos, bos",
            format!("{}, {}", id(summary.eos), id(summary.bos)),
        ),
        ("a response ends", rlhf_experiment::stops(&summary.ends)),
        (
            "tokenizer",
            says(
                summary.tokenizer,
                "yes",
                "none: text is ids separated by blanks",
            ),
        ),
        ("stored as", summary.dtypes.join(", ")),
        (
            "memory, frozen",
            format!(
                "{}; held in bf16 {}",
                gib(summary.memory.frozen),
                gib(summary.memory.frozen_bf16)
            ),
        ),
        (
            "memory, training",
            format!("{}, activations apart", gib(summary.memory.trainable)),
        ),
    ];
    for (name, value) in rows {
        print(format_args!("{name:<17}{value}"))?;
    }
    if let Some(adapter) = &summary.adapter {
        print(format_args!(
            "{:<17}LoRA of rank {}, alpha {}, on {} layers: {} parameters over {}",
            "adapter",
            adapter.rank,
            adapter.alpha,
            adapter.layers,
            adapter.parameters,
            adapter.base.display()
        ))?;
    }
    for note in &summary.notes {
        print(format_args!("{:<17}{note}", "note"))?;
    }
    for tensor in &summary.tensors {
        print(format_args!(
            "  {:<44} {:?} {}",
            tensor.name, tensor.shape, tensor.dtype
        ))?;
    }
    Ok(())
}
