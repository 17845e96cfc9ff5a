//! The online loop, which learns from the policy's own samples.

use crate::clock::Clock;
use crate::metrics::{fraction_cut_off, fraction_out_of_context, log_samples, measure};
use crate::run::StepResult;
use crate::scored_responses::{scored_responses, uncompared};
use crate::state::to_json;
use crate::update::{At, check_finite, check_finite_outputs, update};
use crate::{Ended, Epochs, Error, Method, Optim, Result, Run, Stats};
use rlhf_objective::{Beta, Bound, Dataset, Network, Objective, Observed, finite_optional_scores};
use rlhf_policy::{Networks, Sampling, sample, score};
use rlhf_tensor::{Rng, Stream};
use serde::Serialize;

/// The settings of an online run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Online {
    /// The number of iterations, each of sampling and updates.
    pub iterations: usize,
    /// The number of prompts of each iteration. They are taken in random order, which is drawn again when all
    /// have been used. No prompt occurs twice in an iteration if there are enough.
    pub prompts: usize,
    /// The settings of sampling. Its seed is the run's; its step is set to the iteration.
    pub sampling: Sampling,
    /// The settings of the optimizer. The learning rate is constant within an iteration.
    pub optim: Optim,
    /// How many responses of each iteration go to `samples.jsonl`.
    pub log_samples: usize,
}

/// The prompts of a run, and how tokens are decoded to text.
pub struct Prompts<'a> {
    /// All prompts, of which each iteration reads its own.
    pub prompts: &'a mut dyn Dataset,
    /// The text of a response's tokens.
    pub decode: &'a dyn Fn(&[u32]) -> String,
}

/// Trains `policy` with `method` to maximize `objective`. Each iteration: take prompts, sample responses,
/// run the policy and the prior on them, turn scores and KL into rewards, make the method's batches, update
/// on each.
///
/// # Errors
/// If there are no prompts, a role of the method has no network, the target of an adaptive β does not match
/// the prior, a forward pass or the reward fails, a number is not finite, or the run folder cannot be
/// written. The last checkpoint is then complete.
pub fn online<M: Method>(
    policy: &mut Networks,
    objective: &mut Objective,
    method: &mut M,
    prompts: Prompts<'_>,
    settings: &Online,
    run: &mut Run<'_>,
) -> Result<Ended> {
    let order = prompt_order(prompts.prompts.count(), settings)?;
    policy.check_roles(M::ROLES)?;
    objective.penalty().check()?;
    if let Some(beta) = &run.start.beta {
        objective.penalty().resume_beta(beta);
    }
    method.load_state(run.start.method_state()?);
    let Online {
        sampling, optim, ..
    } = settings;
    let total = settings.iterations;
    run.execute(policy, total, |policy, journal, step| {
        let mut clock = Clock::new();
        let batch = prompts.prompts.read(order.items(step))?;
        let sampling_of_step = Sampling {
            step: step as u64,
            ..sampling.clone()
        };
        let sampled = sample(
            &mut *policy.decoder()?,
            batch.prompts(),
            &sampling_of_step,
            prompts.decode,
        )?;
        clock.end_phase("seconds/sample");

        let prior = objective.penalty().prior();
        let rollouts = score(
            policy,
            prior,
            sampled,
            optim.micro_batch_tokens,
            method.group(),
        )?;
        // Checked before the reward is called on samples of a policy that has diverged.
        let values = rollouts.values.as_ref().map(|values| ("value", values));
        let outputs = [
            ("log-prob", &rollouts.log_probs),
            ("entropy", &rollouts.entropy),
        ];
        check_finite_outputs(outputs.into_iter().chain(values))?;
        let scores = finite_optional_scores(objective.reward(), &rollouts.sequences)?;
        if step + 1 == total {
            objective.reward().finish()?;
        }
        let beta = objective.penalty().beta().value();
        let mut metrics = measure(&rollouts, &scores, beta)?;
        if !sampling.stop.is_empty() {
            // Without stop tokens every response has the maximum length, and none is cut off.
            metrics.insert("completions/clipped_ratio", fraction_cut_off(&rollouts));
            let full = fraction_out_of_context(&rollouts, sampling.max_new_tokens);
            metrics.insert("completions/context_ratio", full);
        }
        for (name, value) in &metrics {
            check_finite(name, *value)?;
        }
        log_samples(journal, step, (&rollouts, &scores), settings.log_samples)?;
        let (episodes, tokens) = (rollouts.sequences.len(), rollouts.sequences.tokens());
        let remaining = scored_responses(rollouts, &scores, method.min_responses_per_prompt())?;
        metrics.extend(uncompared(&scores, remaining.as_ref()));
        let scored =
            remaining.map(|(rollouts, scores)| objective.rewards_from_scores(rollouts, scores));
        clock.end_phase("seconds/score");

        let rng = Rng::new(sampling.seed, Stream::Minibatch, step as u64, 0);
        let batches = match scored.transpose()? {
            Some(scored) => method.batches(scored, objective.penalty(), rng)?,
            // Without any score there is no update.
            None => Vec::new(),
        };
        let mut updates = Stats::new();
        let mut parts = Clock::new();
        for batch in batches {
            let stats = update(
                policy,
                method,
                &batch,
                optim,
                At { step, total },
                &mut parts,
            )?;
            updates.absorb(&stats.as_unit_mean());
            if method.after_step(&stats).is_break() {
                break;
            }
        }
        metrics.extend(updates.iter());
        objective.observe(Observed {
            kl: metrics["objective/kl"],
            entropy: metrics["objective/entropy"],
            episodes,
        });
        let beta = *objective.penalty().beta();
        if beta.target().is_some() {
            metrics.insert("objective/beta_bound", at_bound(&beta));
        }
        let responses = settings.prompts * sampling.samples;
        metrics.insert("episode", ((step + 1) * responses) as f64);
        clock.end_phase("seconds/update");
        Ok(StepResult {
            metrics,
            seconds: clock
                .into_seconds()
                .into_iter()
                .chain(parts.into_seconds())
                .collect(),
            tokens,
            beta: Some(beta),
            method: to_json(&method.state())?,
        })
    })
}

/// −1 if β has reached its lower bound, 1 if it has reached its upper bound, else 0.
fn at_bound(beta: &Beta) -> f64 {
    match beta.bound() {
        Some(Bound::Lowest) => -1.0,
        Some(Bound::Greatest) => 1.0,
        None => 0.0,
    }
}

/// The prompts of each iteration.
pub(crate) fn prompt_order(prompts: usize, settings: &Online) -> Result<Epochs> {
    if prompts == 0 || settings.prompts == 0 {
        return Err(Error::Empty("there are no prompts to sample from"));
    }
    let Online {
        iterations,
        prompts: size,
        ..
    } = *settings;
    Ok(Epochs::filled(
        prompts,
        size,
        iterations,
        settings.sampling.seed,
    ))
}
