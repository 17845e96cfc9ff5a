//! `rlhf data`: look at a data set.

use crate::args::CheckArgs;
use crate::output::print;
use anyhow::{Context, Result, ensure};
use rlhf_data::{
    Chat, Check, ItemKind, Labels, Limits, OnBadRow, Report, SoftLabels, Template,
    UnusedFieldReader,
};
use rlhf_experiment::{
    Config, Session, Usage, Vocabulary, data_source, least_of, max_new_tokens, readers,
    reward_needs, row_settings,
};
use rlhf_tensor::{Rng, Stream};
use rlhf_train::LearnsFrom;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) fn check(session: &Session, args: &CheckArgs) -> Result<()> {
    let mut config = settings(session, args).map_err(Usage)?;
    let model = model(session, args, &config)?;
    let mut check = checked(args, &config)?;
    let vocabulary = model.as_deref().map(Vocabulary::load).transpose()?;
    if let (Some(model), Some(vocabulary)) = (model, &vocabulary) {
        config.model.path = Some(model);
        let limits = limits(args, &config, vocabulary)?;
        check.chat = row_settings(&config.data, vocabulary, limits)?.chat;
        check.vocabulary = Some(vocabulary.tokens());
        check.limits = Some(limits);
    } else if let Some(path) = &config.data.chat_template {
        let folder = path.parent().unwrap_or(path);
        check.chat = Chat::Template(Arc::new(Template::from_file(path, folder)?));
    }
    let data = &config.data;
    let path = session.locator.data(&args.data)?;
    let source = data_source(data, &path, data.split.as_deref(), vocabulary.as_ref())?;
    let mut rng = Rng::new(config.train.seed, Stream::Data, 0, 0);
    let mut report = check.run(&source, &mut |below| rng.below(below))?;
    if let (Some(vocabulary), true) = (&vocabulary, args.config.is_some()) {
        report.remarks.extend(least_of(&config, vocabulary)?);
    }
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
    let (left, least) = report.usable_and_required();
    ensure!(
        left >= least,
        "{left} of {} rows are left to train on, and it takes {least} at least: what the others lack is \
         said above",
        report.rows
    );
    Ok(())
}

/// The checkpoint that was given, or that of the config file where it is on this machine.
fn model(session: &Session, args: &CheckArgs, config: &Config) -> Result<Option<PathBuf>> {
    let of_config = config.model.path.as_ref().filter(|path| path.exists());
    match args.model.as_ref().or(of_config) {
        Some(model) => Ok(Some(session.locator.model(model)?)),
        None => Ok(None),
    }
}

/// What rows must be like, whatever the checkpoint: by what they hold, or, with a config file, by what its
/// objective wants of them.
fn checked(args: &CheckArgs, config: &Config) -> Result<Check> {
    let (data, facts) = (&config.data, config.method.facts());
    let of_config = args.config.is_some();
    Ok(Check {
        fields: data.fields.clone(),
        chat: Chat::Contents,
        vocabulary: None,
        limits: None,
        kind: (of_config && facts.online()).then_some(ItemKind::Prompts),
        labels: Labels {
            values: data.label.clone(),
            annotators: data.annotators,
            soft: if of_config && facts.learns_from == LearnsFrom::UnpairedPreferences {
                SoftLabels::Refused
            } else {
                SoftLabels::Allowed
            },
        },
        pairs_of: (data.pairs, data.min_margin),
        requirements: reward_needs(config)?,
        // Without a config file nobody knows whether there will be a reward.
        readers: match of_config {
            true => readers(config),
            false => UnusedFieldReader::Reward,
        },
    })
}

/// The greatest lengths: those of a run with these settings, or, where there is no config file, what the
/// checkpoint reads.
fn limits(args: &CheckArgs, config: &Config, vocabulary: &Vocabulary) -> Result<Limits> {
    match args.config.is_some() || config.sampling.max_new_tokens.is_some() {
        true => rlhf_experiment::limits(config, vocabulary),
        false => Ok(Limits {
            prompt: config.data.max_prompt_tokens.unwrap_or(usize::MAX),
            completion: config.data.max_completion_tokens.unwrap_or(usize::MAX),
            response: max_new_tokens(config, vocabulary)?,
            ..Limits::context(vocabulary.context)
        }),
    }
}

fn settings(session: &Session, args: &CheckArgs) -> Result<Config> {
    let mut layers = session.layers(args.config.as_deref())?;
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
