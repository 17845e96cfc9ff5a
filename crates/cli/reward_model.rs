//! What is done with a reward model once it is fitted: its scores are scaled.

use crate::config::Config;
use crate::output::log;
use crate::progress::Busy;
use crate::run::sampling;
use crate::wiring::{self, Vocabulary};
use anyhow::Result;
use rlhf_journal::write_atomic;
use rlhf_lm::{Backend, inspect};
use rlhf_objective::Prompt;
use rlhf_policy::{Sampling, sample};
use rlhf_reward::{Learned, Normalization};
use std::path::Path;
use std::sync::Arc;

/// Scales the model's scores to mean 0 and deviation 1 over responses of the prior to `prompts`, in
/// `reward.json` beside it.
pub(crate) fn normalize(
    config: &Config,
    vocabulary: &Vocabulary,
    prompts: &[Arc<Prompt>],
    folder: &Path,
) -> Result<()> {
    let plan = wiring::prior(config)?;
    let mut language = !plan.folders.is_empty();
    for folder in &plan.folders {
        language &= !inspect(folder)?.reward_model;
    }
    if !language {
        log("the scores are not scaled: no language model to sample from; give --prior");
        return Ok(());
    }
    let (mut prior, _) = plan.load()?;
    let _busy = Busy::new("drawing from the prior to scale the scores");
    let sampling = sampling(config, vocabulary)?;
    let sampling = Sampling {
        samples: config.eval.samples_per_prompt,
        seed: config.eval.seed,
        ..sampling
    };
    let prompts = &prompts[..prompts.len().min(config.eval.prompts)];
    let decode = |ids: &[u32]| vocabulary.tokenizer.decode(ids);
    let mut decoder = prior.decoder()?;
    let samples = sample(&mut *decoder, prompts, &sampling, &decode)?.sequences;
    let mut learned = Learned::load(folder, Backend::F32)?;
    let scale = Normalization::of(&learned.raw(&samples)?)?;
    log(format_args!(
        "scores are scaled by {:.4}·score {:+.4}: mean 0 and deviation 1 over {} samples of the prior",
        scale.gain,
        scale.bias,
        samples.len()
    ));
    Ok(write_atomic(
        &Normalization::path(folder),
        scale.to_json().as_bytes(),
    )?)
}
