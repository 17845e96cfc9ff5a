//! Measures the distance of runs from the optimum exactly, by listing all responses.

use crate::config::{BetaSetting, Config};
use crate::evaluation::{Evaluator, name_of, start_and_checkpoints};
use crate::lengths;
use crate::networks::network;
use crate::prior::{load, prior};
use crate::progress::busy;
use crate::words::counted;
use anyhow::{Result, bail, ensure};
use rlhf_eval::{Exact, ExactEvaluation, Listing};
use rlhf_lm::OutputHeads;
use rlhf_tensor::Storage;
use serde::Serialize;
use std::path::Path;

/// The most responses that are listed, over all prompts.
const MAX_RESPONSES: usize = 1_000_000;

/// One policy: its exact reward, KL and gap to the optimum.
#[derive(Debug, Serialize)]
pub struct ExactRow {
    /// The name of the run.
    pub run: String,
    /// "prior", "optimum" or "policy".
    pub of: &'static str,
    /// The step of the checkpoint, for a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// Its reward, KL, J and gap.
    #[serde(flatten)]
    pub evaluation: ExactEvaluation,
}

/// Measures the prior of a run, all its checkpoints, and the optimum at its β.
pub fn exact(evaluator: &mut Evaluator<'_>, run: &Path) -> Result<Vec<ExactRow>> {
    let config = evaluator.comparable(run)?;
    let (mut prior, _) = load(prior(&config)?, &config)?;
    let exact = evaluator.exact(&mut *prior, &config)?;
    let mut policies = Vec::new();
    for stage in start_and_checkpoints(run, &config)? {
        let mut policy = network(&stage.path, &config, Storage::Frozen, OutputHeads::Language)?;
        let _busy = busy(format!("measuring {}, step {}", name_of(run), stage.step));
        policies.push((stage.step, exact.measure(&mut *policy)?));
    }
    // There is no single optimum for an adaptive β, or for β = 0.
    let beta = match config.beta {
        BetaSetting::Fixed(beta) if beta > 0.0 => Some(beta),
        _ => None,
    };
    let prior = exact.prior();
    let start = prior.unwrap_or(policies[0].1);
    let row = |of, step, outcome| ExactRow {
        run: name_of(run),
        of,
        step,
        evaluation: exact.compare(outcome, start, beta),
    };
    let mut rows: Vec<ExactRow> = prior
        .map(|prior| row("prior", None, prior))
        .into_iter()
        .collect();
    rows.extend(
        policies
            .into_iter()
            .map(|(step, outcome)| row("policy", Some(step), outcome)),
    );
    rows.extend(beta.map(|beta| row("optimum", None, exact.optimum(beta))));
    Ok(rows)
}

impl Evaluator<'_> {
    /// Every response to the evaluator's prompts, with its reward and prior probability.
    fn exact(&mut self, prior: &mut dyn rlhf_objective::Prior, config: &Config) -> Result<Exact> {
        let all = || (0..self.vocabulary.size as u32).collect();
        let tokens: Vec<u32> = config.sampling.tokens.clone().unwrap_or_else(all);
        let stop = self.vocabulary.ends.clone();
        let decode = |ids: &[u32]| self.vocabulary.tokenizer.decode(ids);
        let longest = self.prompts.iter().map(|prompt| prompt.ids.len()).max();
        let longest = longest.unwrap_or(0);
        let length = lengths::max_new_tokens(config, &self.vocabulary)?;
        let context = lengths::context(config, &self.vocabulary)?;
        ensure!(
            longest + length <= context + 1,
            "--exact: the longest prompt has {longest} tokens, which leaves {} of the context, but responses \
             have up to {length}: train with a smaller sampling.max_new_tokens, or omit --exact",
            (context + 1).saturating_sub(longest)
        );
        let listing = Listing {
            tokens: &tokens,
            stop: &stop,
            length,
            decode: &decode,
        };
        let prompts = self.prompts.len();
        let count = listing.count().and_then(|each| each.checked_mul(prompts));
        match count {
            Some(count) if count <= MAX_RESPONSES => {}
            _ => bail!(
                "--exact: too many responses to list, at most {MAX_RESPONSES}: responses of up to {} from a \
                 vocabulary of {}, to {}. Train with fewer sampling.tokens or a smaller \
                 sampling.max_new_tokens, give fewer prompts, or omit --exact",
                counted(length, "tokens"),
                tokens.len(),
                counted(prompts, "prompts")
            ),
        }
        let batch = (config.train.micro_batch_tokens / (longest + length)).max(1);
        let reward = &mut *self.reward;
        let _busy = busy("listing and scoring every response");
        Ok(Exact::new(&self.prompts, &listing, prior, reward, batch)?)
    }
}
