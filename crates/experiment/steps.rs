//! Describes the optimizer steps of a run, for its plan.

use crate::config::Config;
use crate::method::Step;
use crate::words::counted;
use anyhow::Result;
use rlhf_data::StreamingDataset;
use rlhf_objective::{BatchSize, Dataset};
use rlhf_train::{BatchUnit, Epochs, LearnsFrom, Updates};

/// The optimizer steps of a run on these data, in words.
pub(crate) fn describe(config: &Config, train: &StreamingDataset) -> Result<String> {
    let count = items(config, train);
    match config.method.configured().step() {
        Step::OfIteration(updates) => Ok(online(config, updates, count)),
        Step::OfData(unit) => Ok(offline(config, train, (unit, count))),
    }
}

/// The number of items that batches are drawn from. For unpaired preferences that is the number of
/// responses, of which a pair has two.
pub(crate) fn items(config: &Config, dataset: &StreamingDataset) -> usize {
    match config.method.facts().learns_from {
        LearnsFrom::UnpairedPreferences => dataset.responses(),
        LearnsFrom::Samples | LearnsFrom::Pairs | LearnsFrom::Demonstrations => dataset.count(),
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
        counted(iterations, "iterations"),
        counted(updates, "updates"),
        rollouts / minibatches,
        counted(iterations * updates, "steps"),
    );
    if prompts < config.prompts() {
        let prompts = counted(prompts, "prompts");
        words += &format!("; with {prompts}, an iteration uses a prompt more than once");
    }
    words
}

fn offline(config: &Config, train: &StreamingDataset, (unit, count): (BatchUnit, usize)) -> String {
    let epochs = config.train.epochs.unwrap_or(1);
    let items = format!("{}s", unit.item());
    let size = match config.train.batch_size.unwrap_or_default() {
        BatchSize::Items(size) => size,
        BatchSize::Tokens(most) => {
            let steps = Epochs::by_tokens(train, most, epochs, config.train.seed).steps();
            let (epochs, steps) = (counted(epochs, "epochs"), counted(steps, "steps"));
            return format!("{epochs} in batches of at most {most} tokens: {steps}");
        }
    };
    // The number of items of a file that is only sampled is an estimate.
    let about = if train.sampled().is_some() {
        "about "
    } else {
        ""
    };
    let steps = Epochs::steps_of(count, size, epochs);
    let last = (count * epochs) % size.min(count.max(1));
    format!(
        "{} in batches of {}: {about}{}{}",
        counted(epochs, "epochs"),
        if count < size {
            format!("all {}, fewer than {size}", counted(count, &items))
        } else {
            counted(size, &items)
        },
        counted(steps, "steps"),
        match last {
            0 => String::new(),
            last => format!(", {about}{last} in the last"),
        }
    )
}
