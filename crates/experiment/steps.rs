//! How many optimizer steps a run makes, and what each learns from, for its plan.

use crate::config::Config;
use crate::method::Step;
use anyhow::Result;
use rlhf_data::StreamingDataset;
use rlhf_objective::{BatchSize, Dataset};
use rlhf_train::{BatchUnit, Epochs, LearnsFrom, Updates};

/// The steps of a run on this data.
pub(crate) fn describe(config: &Config, train: &StreamingDataset) -> Result<String> {
    let count = items(config, train);
    match config.method.configured().step() {
        Step::OfIteration(updates) => Ok(online(config, updates, count)),
        Step::OfData(unit) => Ok(offline(config, train, (unit, count))),
    }
}

/// How many items a method takes its batches from: a pair is one, but two answers.
pub(crate) fn items(config: &Config, corpus: &StreamingDataset) -> usize {
    match config.method.facts().learns_from {
        LearnsFrom::UnpairedPreferences => corpus.responses(),
        LearnsFrom::Samples | LearnsFrom::Pairs | LearnsFrom::Demonstrations => corpus.count(),
    }
}

fn online(config: &Config, updates: Updates, prompts: usize) -> String {
    let iterations = config.train.iterations.unwrap_or(1);
    let rollouts = config.sampling.rollouts;
    let Updates {
        epochs,
        minibatches,
        may_stop_early,
    } = updates;
    let most = if may_stop_early { "at most " } else { "" };
    let updates = epochs * minibatches;
    let mut words = format!(
        "{}, each of {rollouts} responses and {most}{} on {}: {most}{}",
        some(iterations, "iteration"),
        some(updates, "update"),
        rollouts / minibatches,
        some(iterations * updates, "step"),
    );
    if prompts < config.prompts() {
        let these = some(prompts, "prompt");
        words += &format!("; with {these}, an iteration takes a prompt more than once");
    }
    words
}

fn offline(config: &Config, train: &StreamingDataset, (unit, count): (BatchUnit, usize)) -> String {
    let epochs = config.train.epochs.unwrap_or(1);
    let item = unit.item();
    let size = match config.train.batch_size.unwrap_or_default() {
        BatchSize::Items(size) => size,
        BatchSize::Tokens(most) => {
            let steps = Epochs::by_tokens(train, most, epochs, config.train.seed).steps();
            let (epochs, steps) = (some(epochs, "epoch"), some(steps, "step"));
            return format!("{epochs} in batches of at most {most} tokens: {steps}");
        }
    };
    // Of a file that is too large to be looked at, it is known about how many there are.
    let about = if train.sampled().is_some() {
        "about "
    } else {
        ""
    };
    let steps = Epochs::steps_of(count, size, epochs);
    let last = (count * epochs) % size.min(count.max(1));
    format!(
        "{} in batches of {}: {about}{}{}",
        some(epochs, "epoch"),
        match count < size {
            true => format!("all {}, fewer than {size}", some(count, item)),
            false => some(size, item),
        },
        some(steps, "step"),
        match last {
            0 => String::new(),
            last => format!(", {about}{last} in the last"),
        }
    )
}

/// So many of something.
fn some(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
