//! How many optimizer steps a run makes, and what each learns from, for its plan.

use crate::config::{Config, MethodName};
use anyhow::Result;
use rlhf_data::Corpus;
use rlhf_objective::Items;
use rlhf_sft::PerStep;
use rlhf_train::Epochs;

/// The steps of a run on this data.
pub(crate) fn describe(config: &Config, train: &Corpus) -> Result<String> {
    let method = config.objective.method();
    let count = items(method, train);
    match method.online() {
        true => online(config, count),
        false => offline(config, train, count),
    }
}

/// How many items a method takes its batches from: a pair is one, but two answers.
pub(crate) fn items(method: MethodName, corpus: &Corpus) -> usize {
    match method {
        MethodName::Kto => corpus.responses(),
        _ => corpus.count(),
    }
}

fn online(config: &Config, prompts: usize) -> Result<String> {
    let iterations = config.train.iterations.unwrap_or(1);
    let rollouts = config.sampling.rollouts;
    let (epochs, minibatches, most) = match config.objective.method() {
        MethodName::Ppo => {
            let method: rlhf_ppo::Config = config.method()?;
            let most = if method.target_kl.is_some() {
                "at most "
            } else {
                ""
            };
            (method.epochs, method.minibatches, most)
        }
        MethodName::Vargrad => {
            let method: rlhf_reinforce::VarGradConfig = config.method()?;
            (method.epochs, method.minibatches, "")
        }
        _ => (1, 1, ""),
    };
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
    Ok(words)
}

fn offline(config: &Config, train: &Corpus, count: usize) -> Result<String> {
    let epochs = config.train.epochs.unwrap_or(1);
    let (size, item) = match config.objective.method() {
        MethodName::Kto => {
            let method: rlhf_dpo::KtoConfig = config.method()?;
            (method.answers_per_step, "answer")
        }
        MethodName::Sft => {
            let method: rlhf_sft::Config = config.method()?;
            match method.per_step {
                PerStep::Sequences(size) => (size, "sequence"),
                PerStep::Tokens(most) => {
                    let steps = method.per_step.steps(train, epochs, config.train.seed)?;
                    let (epochs, steps) = (some(epochs, "epoch"), some(steps, "step"));
                    return Ok(format!(
                        "{epochs} in batches of at most {most} tokens: {steps}"
                    ));
                }
            }
        }
        _ => (config.train.batch_pairs.unwrap_or(1), "pair"),
    };
    // Of a file that is too large to be looked at, it is known about how many there are.
    let about = if train.sampled().is_some() {
        "about "
    } else {
        ""
    };
    let steps = Epochs::steps_of(count, size, epochs);
    let last = (count * epochs) % size.min(count.max(1));
    Ok(format!(
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
    ))
}

/// So many of something.
fn some(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
