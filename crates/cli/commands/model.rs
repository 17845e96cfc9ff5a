//! `rlhf model`: look at a checkpoint, fetch one, make one, or translate one to or from GGUF.

use crate::args::ModelCommand;
use crate::output::{note, print};
use anyhow::{Result, anyhow};
use rlhf_experiment::{Session, Usage, Vocabulary};
use rlhf_gguf::Translated;
use rlhf_lm::Summary;
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
        ModelCommand::Init { config, out, seed } => {
            refuse_full(out)?;
            rlhf_lm::init(config, *seed, out)?;
            let parameters = rlhf_lm::inspect(out)?.parameters;
            note(format_args!(
                "{}: {parameters} random parameters",
                out.display()
            ));
            Ok(())
        }
        ModelCommand::Export { folder, file, kind } => {
            let folder = &session.locator.model(folder)?;
            say(file, &rlhf_gguf::export(folder, file, *kind)?);
            Ok(())
        }
        ModelCommand::Import { file, out } => {
            refuse_full(out)?;
            say(out, &rlhf_gguf::import(file, out)?);
            Ok(())
        }
    }
}

/// Refuses to write into a folder that holds something.
fn refuse_full(out: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(out).into_iter().flatten();
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            let message = anyhow!("{} is not empty: choose another folder", out.display());
            Err(Usage(message).into())
        }
    }
}

/// Says what was translated, and what was left out.
fn say(out: &Path, translated: &Translated) {
    let (name, count) = (translated.architecture, translated.parameters);
    note(format_args!(
        "{}: {name}, {count} parameters",
        out.display()
    ));
    for text in &translated.notes {
        note(format_args!("{}: {text}", out.display()));
    }
}

fn describe(folder: &Path, summary: &Summary) -> Result<()> {
    let id = |id: Option<u32>| id.map_or("none".to_string(), |id| id.to_string());
    let says = |present, yes: &str, no: &str| if present { yes } else { no }.to_string();
    let gib = |bytes: u64| format!("{:.3} GiB", bytes as f64 / f64::from(1 << 30));
    let (layers, heads, width) = (summary.layers, summary.heads, summary.width);
    let rows = [
        ("folder", folder.display().to_string()),
        ("architecture", summary.architecture.to_string()),
        ("parameters", summary.parameters.to_string()),
        (
            "shape",
            format!(
                "{layers} layers, {heads} heads, width {width}, inner {}",
                summary.inner
            ),
        ),
        ("context", format!("{} tokens", summary.context)),
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
