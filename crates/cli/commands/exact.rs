//! `rlhf eval --exact`: how far runs are from the optimum, where all responses can be listed.

use crate::commands::eval::{Judge, name_of, stages};
use crate::config::{BetaSetting, Config};
use crate::output::print;
use crate::progress::Busy;
use crate::wiring;
use anyhow::{Result, bail};
use rlhf_eval::{Exact, Listing, Standing};
use rlhf_lm::Heads;
use rlhf_tensor::Storage;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The most responses that are listed, over all prompts.
const MOST: usize = 1_000_000;

/// A policy of a run, measured.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) run: String,
    /// "prior", "optimum" or "policy".
    pub(crate) of: &'static str,
    /// Steps done; of a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<usize>,
    #[serde(flatten)]
    pub(crate) standing: Standing,
}

/// Measures runs and prints where they stand.
pub(crate) fn run(judge: &mut Judge, runs: &[PathBuf], json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for run in runs {
        rows.extend(of_run(judge, run)?);
    }
    if json {
        for row in &rows {
            print(serde_json::to_string(row)?)?;
        }
        return Ok(());
    }
    print(table(&rows).trim_end())
}

/// The prior of a run, all its checkpoints, and the optimum at its β.
pub(crate) fn of_run(judge: &mut Judge, run: &Path) -> Result<Vec<Row>> {
    let config = judge.comparable(run)?;
    let (mut prior, _) = wiring::prior(&config)?.load()?;
    let exact = judge.exact(&mut *prior, &config)?;
    let mut policies = Vec::new();
    for stage in stages(run, &config)? {
        let mut policy = wiring::network(&stage.path, &config, Storage::Frozen, Heads::Language)?;
        let _busy = Busy::new(format!("measuring {}, step {}", name_of(run), stage.step));
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
        standing: exact.standing(outcome, start, beta),
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

impl Judge {
    /// Every response to the judge's prompts, under a prior.
    fn exact(&mut self, prior: &mut dyn rlhf_objective::Prior, config: &Config) -> Result<Exact> {
        let all = || (0..self.vocabulary.size as u32).collect();
        let tokens: Vec<u32> = config.sampling.tokens.clone().unwrap_or_else(all);
        let stop = self.vocabulary.ends.clone();
        let decode = |ids: &[u32]| self.vocabulary.tokenizer.decode(ids);
        let length = config.sampling.max_new_tokens;
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
        let longest = self.prompts.iter().map(|prompt| prompt.ids.len()).max();
        let longest = longest.unwrap_or(0) + length;
        let batch = (config.train.tokens_per_batch / longest).max(1);
        let reward = &mut *self.reward;
        let _busy = Busy::new("listing and scoring every response");
        Ok(Exact::new(&self.prompts, &listing, prior, reward, batch)?)
    }
}

/// One line a policy; `closed` is the share of the gap between prior and optimum.
fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.run.chars().count()).max();
    let width = width.unwrap_or(0).max(3);
    let mut text = format!(
        "{:width$}  {:<10} {:>9} {:>9} {:>11} {:>9} {:>9} {:>8}\n",
        "run", "policy", "reward", "KL, nats", "best reward", "J", "gap", "closed"
    );
    for row in rows {
        let what = row
            .step
            .map_or_else(|| row.of.into(), |step| format!("step {step}"));
        let Standing {
            reward,
            kl,
            best_reward,
            priced,
        } = row.standing;
        let _ = write!(
            text,
            "{:width$}  {what:<10} {reward:>9.5} {kl:>9.5} {best_reward:>11.5}",
            row.run
        );
        let _ = match priced {
            Some(priced) => writeln!(
                text,
                " {:>9.5} {:>9.5} {:>7.2}%",
                priced.elbo,
                priced.gap,
                100.0 * priced.closed
            ),
            None => writeln!(text, " {:>9} {:>9} {:>8}", "-", "-", "-"),
        };
    }
    text
}
