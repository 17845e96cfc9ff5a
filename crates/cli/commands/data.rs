//! `rlhf data`: look at a data set.

use crate::args::CheckArgs;
use crate::config::Config;
use crate::dataset;
use crate::layers::Layers;
use crate::output::{Usage, print};
use crate::resolve;
use crate::wiring::Vocabulary;
use anyhow::{Context, Result, ensure};
use rlhf_data::{Chat, Check, Limits, OnBadRow, Report, Template};
use rlhf_tensor::{Rng, Stream};
use std::sync::Arc;

pub(crate) fn check(args: &CheckArgs) -> Result<()> {
    let config = settings(args).map_err(Usage)?;
    let data = &config.data;
    let mut check = Check {
        fields: data.fields.clone(),
        chat: Chat::Contents,
        vocabulary: None,
        limits: None,
    };
    if let Some(model) = &args.model {
        let vocabulary = Vocabulary::load(&resolve::model(model)?)?;
        let limits = Limits {
            prompt: data.max_prompt_tokens.unwrap_or(usize::MAX),
            completion: data.max_completion_tokens.unwrap_or(usize::MAX),
            ..Limits::context(vocabulary.context)
        };
        check.chat = dataset::settings(data, &vocabulary, limits)?.chat;
        check.vocabulary = Some(vocabulary.tokens());
        check.limits = Some(limits);
    } else if let Some(path) = &data.chat_template {
        let folder = path.parent().unwrap_or(path);
        check.chat = Chat::Template(Arc::new(Template::from_file(path, folder)?));
    }
    let source = dataset::source(data, &resolve::data(&args.data)?, data.split.as_deref())?;
    let mut rng = Rng::new(config.train.seed, Stream::Data, 0, 0);
    let mut report = check.run(&source, &mut |below| rng.below(below))?;
    if args.no_preview {
        report.preview.clear();
    }
    show(args, &report)?;
    ensure!(
        report.shape.is_some(),
        "no row has a shape to train on: name its fields with --set data.fields.prompt=… and so on"
    );
    let unusable = report.unusable();
    ensure!(
        unusable == 0 || data.on_bad_row == OnBadRow::Skip,
        "{unusable} of {} rows cannot be used: mend them, or leave them out with \
         --set data.on_bad_row=skip",
        report.rows
    );
    Ok(())
}

fn settings(args: &CheckArgs) -> Result<Config> {
    let mut layers = Layers::new(args.config.as_deref())?;
    for typed in &args.set {
        layers.set(typed)?;
    }
    layers.resolve()
}

fn show(args: &CheckArgs, report: &Report) -> Result<()> {
    if args.json {
        return print(serde_json::to_string(report).context("cannot write the report")?);
    }
    for (name, text) in report.lines() {
        print(format_args!("{name:<12}{text}"))?;
    }
    Ok(())
}
