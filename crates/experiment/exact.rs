//! How far runs are from the optimum, where all responses can be listed.

use crate::config::{BetaSetting, Config};
use crate::evaluation::{Judge, name_of, stages};
use crate::lengths;
use crate::networks::network;
use crate::prior::{load, prior};
use crate::progress::busy;
use anyhow::{Result, bail, ensure};
use rlhf_eval::{Exact, ExactEvaluation, Listing};
use rlhf_lm::OutputHeads;
use rlhf_tensor::Storage;
use serde::Serialize;
use std::path::Path;

/// The most responses that are listed, over all prompts.
const MOST: usize = 1_000_000;

/// A policy of a run, measured.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The name of the run.
    pub run: String,
    /// "prior", "optimum" or "policy".
    pub of: &'static str,
    /// Steps done; of a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// How far it is.
    #[serde(flatten)]
    pub evaluation: ExactEvaluation,
}

/// The prior of a run, all its checkpoints, and the optimum at its β.
pub fn of_run(judge: &mut Judge<'_>, run: &Path) -> Result<Vec<Row>> {
    let config = judge.comparable(run)?;
    let (mut prior, _) = load(prior(&config)?, &config)?;
    let exact = judge.exact(&mut *prior, &config)?;
    let mut policies = Vec::new();
    for stage in stages(run, &config)? {
        let mut policy = network(&stage.path, &config, Storage::Frozen, OutputHeads::Language)?;
        let _busy = busy(format!("measuring {}, step {}", name_of(run), stage.step));
        policies.push((stage.step, exact.measure(&mut *policy)?));
    }
    // A β that moved has no optimum to be far from: such a run is a curve on the plane.
    let beta = match config.beta {
        BetaSetting::Fixed(beta) if beta > 0.0 => Some(beta),
        _ => None,
    };
    let prior = exact.prior();
    let start = prior.unwrap_or(policies[0].1);
    let row = |of, step, outcome| Row {
        run: name_of(run),
        of,
        step,
        evaluation: exact.compare(outcome, start, beta),
    };
    let mut rows: Vec<Row> = prior
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

impl Judge<'_> {
    /// Every response to the judge's prompts, under a prior.
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
            "the longest prompt has {longest} tokens and leaves {} of the context to a response, fewer than \
             the {length} that are listed: train with fewer sampling.max_new_tokens, or leave out --exact",
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
            Some(count) if count <= MOST => {}
            _ => bail!(
                "{} tokens and {length} of them a response: the responses to {prompts} prompts are \
                 too many to list, {MOST} at most; train with fewer sampling.tokens or \
                 sampling.max_new_tokens, give fewer prompts, or leave out --exact",
                tokens.len()
            ),
        }
        let batch = (config.train.micro_batch_tokens / (longest + length)).max(1);
        let reward = &mut *self.reward;
        let _busy = busy("listing and scoring every response");
        Ok(Exact::new(&self.prompts, &listing, prior, reward, batch)?)
    }
}
