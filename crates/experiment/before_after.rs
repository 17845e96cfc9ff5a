//! Sample responses of the model before and after a run, side by side, in `before_after.jsonl`.

use crate::config::Config;
use crate::networks::{model_path, network};
use crate::notes::note;
use crate::prepared::Prepared;
use crate::reward::reward;
use crate::sampling::sampling;
use crate::vocabulary::Vocabulary;
use anyhow::Result;
use rlhf_journal::write_atomic;
use rlhf_lm::OutputHeads;
use rlhf_objective::{Prompt, Sequences, finite_optional_scores};
use rlhf_policy::{Sampling, sample};
use rlhf_tensor::Storage;
use serde_json::json;
use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// The number of prompts that are shown.
const PROMPTS: usize = 3;

/// One response to each prompt, and its score where the run has a reward.
struct ScoredResponses {
    sequences: Sequences,
    scores: Option<Vec<Option<f32>>>,
}

/// The held-out prompts to show; none where the run trains a reward model.
///
/// # Errors
/// If they cannot be read.
pub(crate) fn prompts(prepared: &mut Prepared) -> Result<Vec<Arc<Prompt>>> {
    if prepared.config.method.facts().is_reward_model() {
        return Ok(Vec::new());
    }
    let mut prompts = prepared.held_out_prompts()?;
    // Repeated prompts are shown once.
    let mut seen = HashSet::new();
    prompts.retain(|prompt| seen.insert(prompt.ids.clone()));
    prompts.truncate(PROMPTS);
    Ok(prompts)
}

/// Samples a response to each prompt from the starting model and from the trained one in `run`, with the
/// same seed; notes both and writes them to `before_after.jsonl`.
///
/// # Errors
/// If a model or the reward cannot be loaded, or the file cannot be written.
pub(crate) fn show(config: &Config, prompts: &[Arc<Prompt>], run: &Path) -> Result<()> {
    if prompts.is_empty() {
        return Ok(());
    }
    let start = model_path(config)?;
    let vocabulary = Vocabulary::load(start)?;
    let mut reward = match &config.reward {
        None => None,
        Some(_) => Some(reward(config, &vocabulary.tokenizer)?),
    };
    let mut respond = |folder: &Path| -> Result<ScoredResponses> {
        let sequences = sample_responses(config, &vocabulary, folder, prompts)?;
        let scores = reward
            .as_mut()
            .map(|reward| finite_optional_scores(&mut **reward, &sequences));
        Ok(ScoredResponses {
            scores: scores.transpose()?,
            sequences,
        })
    };
    let (before, after) = (respond(start)?, respond(&run.join("final"))?);
    let mut lines = String::new();
    for (index, prompt) in prompts.iter().enumerate() {
        note(format_args!("\n{}", prompt.text));
        let mut row = json!({"prompt": prompt.text});
        for (when, responses) in [("before", &before), ("after", &after)] {
            let text = &responses.sequences.responses()[index].text;
            let score = responses.scores.as_ref().map(|scores| scores[index]);
            let words = match score {
                None => String::new(),
                Some(None) => "   (no score)".into(),
                Some(Some(score)) => format!("   (reward {score:.2})"),
            };
            let score = score.flatten();
            note(format_args!("  {when:<6} … {text}{words}"));
            row[when] = json!({"response": text, "score": score});
        }
        writeln!(lines, "{row}")?;
    }
    note("");
    Ok(write_atomic(
        &run.join("before_after.jsonl"),
        lines.as_bytes(),
    )?)
}

fn sample_responses(
    config: &Config,
    vocabulary: &Vocabulary,
    folder: &Path,
    prompts: &[Arc<Prompt>],
) -> Result<Sequences> {
    let mut model = network(folder, config, Storage::Frozen, OutputHeads::Language)?;
    let sampling = Sampling {
        samples: 1,
        seed: config.eval.seed,
        ..sampling(config, vocabulary)?
    };
    let decode = |ids: &[u32]| vocabulary.tokenizer.decode(ids);
    Ok(sample(&mut *model.decoder()?, prompts, &sampling, &decode)?.sequences)
}
