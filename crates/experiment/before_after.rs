//! What a run changed, for a person: the same prompts answered before and after.

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

/// How many prompts are answered.
const PROMPTS: usize = 3;

/// One response to each prompt, and its score where the run has a reward.
struct Answers {
    sequences: Sequences,
    scores: Option<Vec<Option<f32>>>,
}

/// The held-out prompts that are answered: none where the run makes no language model.
///
/// # Errors
/// If they cannot be read.
pub(crate) fn prompts(prepared: &mut Prepared) -> Result<Vec<Arc<Prompt>>> {
    if prepared.config.method.facts().is_reward_model() {
        return Ok(Vec::new());
    }
    let mut prompts = prepared.held_out_prompts()?;
    // A prompt that is listed often is shown once.
    let mut seen = HashSet::new();
    prompts.retain(|prompt| seen.insert(prompt.ids.clone()));
    prompts.truncate(PROMPTS);
    Ok(prompts)
}

/// Shows prompts answered by the model that `run` started from and by the one it made, with the same
/// random numbers, and leaves them in `before_after.jsonl`.
///
/// # Errors
/// If a model or the reward cannot be loaded, or the file cannot be written.
pub(crate) fn show(config: &Config, prompts: &[Arc<Prompt>], run: &Path) -> Result<()> {
    if prompts.is_empty() {
        return Ok(());
    }
    let start = model_path(config)?;
    let vocabulary = Vocabulary::load(start)?;
    let mut judge = match &config.reward {
        None => None,
        Some(_) => Some(reward(config, &vocabulary.tokenizer)?),
    };
    let mut answered = |folder: &Path| -> Result<Answers> {
        let sequences = answers(config, &vocabulary, folder, prompts)?;
        let scores = judge
            .as_mut()
            .map(|judge| finite_optional_scores(&mut **judge, &sequences));
        Ok(Answers {
            scores: scores.transpose()?,
            sequences,
        })
    };
    let (before, after) = (answered(start)?, answered(&run.join("final"))?);
    let mut lines = String::new();
    for (index, prompt) in prompts.iter().enumerate() {
        note(format_args!("\n{}", prompt.text));
        let mut row = json!({"prompt": prompt.text});
        for (when, answers) in [("before", &before), ("after", &after)] {
            let text = &answers.sequences.responses()[index].text;
            let opinion = answers.scores.as_ref().map(|scores| scores[index]);
            let words = match opinion {
                None => String::new(),
                Some(None) => "   (no opinion)".into(),
                Some(Some(score)) => format!("   (reward {score:.2})"),
            };
            let score = opinion.flatten();
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

fn answers(
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
