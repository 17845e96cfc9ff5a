//! What a run is going to do, from its settings, its data and the headers of its checkpoints.

use crate::config::{Config, Critic, MethodName, ObjectiveName};
use crate::output::log;
use crate::prior_fit;
use crate::target;
use crate::wiring::{self, Parts, Vocabulary};
use anyhow::{Result, ensure};
use rlhf_lm::inspect;
use serde_json::{Map, Value};

/// Named lines, in order.
pub(crate) type Lines = Vec<(&'static str, String)>;

/// Opens everything but the weights, and says what would be done with it.
pub(crate) fn plan(config: &Config) -> Result<Lines> {
    let vocabulary = Vocabulary::load(wiring::model_path(config)?)?;
    if config.objective != ObjectiveName::Sft {
        wiring::prior(config)?.check(vocabulary.size)?;
        prior_fit::check(config, &vocabulary)?;
    }
    let rereading = wiring::rereading(config, &vocabulary.tokenizer)?;
    if config.reward.is_some() {
        wiring::reward(config, &vocabulary.tokenizer)?;
    }
    let mut lines = target::describe(config)?;
    lines.extend(rereading.map(|words| ("judges", words)));
    lines.push(("data", data(config, &vocabulary)?));
    lines.push(("steps", steps(config)?));
    lines.push(("memory", memory(config)?));
    Ok(lines)
}

/// Prints lines for a person.
pub(crate) fn show(lines: &Lines) {
    for (name, line) in lines {
        log(format_args!("{name:<11}{line}"));
    }
}

/// The same as JSON.
pub(crate) fn json(lines: &Lines) -> Value {
    let fields = lines
        .iter()
        .map(|(name, line)| ((*name).to_string(), line.as_str().into()));
    Value::Object(Map::from_iter(fields))
}

fn data(config: &Config, vocabulary: &Vocabulary) -> Result<String> {
    fn counted<T>(parts: &Parts<T>, count: fn(&T) -> usize) -> (usize, usize) {
        (count(&parts.train), count(&parts.held_out))
    }
    let (what, (train, held_out)) = match config.objective.method() {
        MethodName::Dpo | MethodName::Reward => (
            "pairs",
            counted(
                &wiring::pairs(config, vocabulary)?,
                rlhf_objective::Pairs::len,
            ),
        ),
        MethodName::Kto => {
            let opinions = wiring::opinions(config, vocabulary)?;
            ensure!(
                opinions.train.1.len() > 1,
                "the data file leaves fewer than 2 answers to train on: kto compares each with \
                 another's prompt"
            );
            ("answers", counted(&opinions, |part| part.1.len()))
        }
        MethodName::Sft => (
            "demonstrations",
            counted(
                &wiring::demonstrations(config, vocabulary)?,
                rlhf_objective::Sequences::len,
            ),
        ),
        _ => (
            "prompts",
            counted(&wiring::prompts(config, vocabulary)?, Vec::len),
        ),
    };
    ensure!(
        train > 0,
        "the data file leaves no {what} to train on: lower data.held_out_fraction"
    );
    Ok(format!("{train} {what} to train on, {held_out} held out"))
}

fn steps(config: &Config) -> Result<String> {
    let epochs = config.train.epochs.unwrap_or(1);
    let online = |updates: usize| {
        let iterations = config.train.iterations.unwrap_or(1);
        let rollouts = config.sampling.rollouts;
        format!("{iterations} iterations of {rollouts} responses, {updates} updates each")
    };
    Ok(match config.objective.method() {
        MethodName::Ppo => {
            let method: rlhf_ppo::Config = config.method()?;
            online(method.epochs * method.minibatches)
        }
        MethodName::Vargrad => {
            let method: rlhf_reinforce::VarGradConfig = config.method()?;
            online(method.epochs * method.minibatches)
        }
        MethodName::Rloo | MethodName::Reinforce | MethodName::Grpo => online(1),
        MethodName::Dpo | MethodName::Reward => {
            let pairs = config.train.batch_pairs.unwrap_or(1);
            format!("{epochs} epochs in batches of {pairs} pairs")
        }
        MethodName::Kto => {
            let method: rlhf_dpo::KtoConfig = config.method()?;
            let answers = method.answers_per_step;
            format!("{epochs} epochs in batches of {answers} answers")
        }
        MethodName::Sft => {
            let method: rlhf_sft::Config = config.method()?;
            let size = match method.per_step {
                rlhf_sft::PerStep::Sequences(number) => format!("{number} sequences"),
                rlhf_sft::PerStep::Tokens(number) => format!("{number} tokens"),
            };
            format!("{epochs} epochs in batches of {size}")
        }
    })
}

fn memory(config: &Config) -> Result<String> {
    let model = inspect(wiring::model_path(config)?)?;
    let networks = if config.model.critic == Some(Critic::Separate) {
        2
    } else {
        1
    };
    let mut bytes = networks * model.memory.trainable;
    if config.objective != ObjectiveName::Sft {
        for folder in wiring::prior(config)?.folders {
            bytes += inspect(&folder)?.memory.frozen;
        }
    }
    Ok(format!(
        "{:.2} GiB for weights, gradients and moments of {} parameters, activations apart",
        bytes as f64 / f64::from(1 << 30),
        model.parameters
    ))
}
