//! The sampling and optimizer settings of a run, as the libraries take them.

use crate::config::Config;
use crate::lengths::{context, max_new_tokens};
use crate::vocabulary::Vocabulary;
use anyhow::Result;
use rlhf_policy::{Draw, Sampling};
use rlhf_tensor::AdamW;
use rlhf_train::{Optim, Schedule, WarmUp};

/// The sampling settings of the run.
///
/// # Errors
/// If prompts and responses of the lengths in the settings do not fit into the context.
pub fn sampling(config: &Config, vocabulary: &Vocabulary) -> Result<Sampling> {
    Ok(Sampling {
        samples: config.sampling.samples_per_prompt,
        max_new_tokens: max_new_tokens(config, vocabulary)?,
        rows: config.sampling.rows,
        stop: vocabulary.ends.clone(),
        context: context(config, vocabulary)?,
        draw: Draw::Sample,
        seed: config.train.seed,
        step: 0,
    })
}

/// The optimizer settings of the run.
pub(crate) fn optim(config: &Config) -> Optim {
    let optim = &config.optim;
    Optim {
        adamw: AdamW {
            beta1: optim.beta1,
            beta2: optim.beta2,
            epsilon: optim.epsilon,
            weight_decay: optim.weight_decay,
        },
        learning_rate: optim.learning_rate,
        schedule: Schedule {
            decay: optim.schedule,
            warm_up: WarmUp::Fraction(optim.warmup),
        },
        clip: Some(optim.clip),
        micro_batch_tokens: config.train.micro_batch_tokens,
    }
}
