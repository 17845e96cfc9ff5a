//! The loop that learns from the policy's own samples.

use crate::clock::Clock;
use crate::judged::{judged, uncompared};
use crate::metrics::{cut_off, log_samples, measure, out_of_context};
use crate::run::Done;
use crate::state::json_of;
use crate::update::{At, finite, sound, update};
use crate::{Ended, Epochs, Error, Method, Optim, Result, Run, Stats};
use rlhf_objective::{Beta, Bound, Dataset, Network, Objective, Observed, finite_optional_scores};
use rlhf_policy::{Networks, Sampling, sample, score};
use rlhf_tensor::{Rng, Stream};
use serde::Serialize;

/// The settings of an online run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Online {
    /// Iterations of sampling and learning.
    pub iterations: usize,
    /// Prompts in each, always as many: drawn in a new random order every time all have been used, and
    /// none twice in an iteration where there are enough.
    pub prompts: usize,
    /// How responses are drawn. Its seed is the run's; its step is set to the iteration.
    pub sampling: Sampling,
    /// How parameters move; the learning rate is the same within an iteration.
    pub optim: Optim,
    /// How many responses of each iteration go to `samples.jsonl`.
    pub log_samples: usize,
}

/// Where prompts come from, and how responses become text.
pub struct Prompts<'a> {
    /// All prompts; an iteration reads its own.
    pub prompts: &'a mut dyn Dataset,
    /// The text of a response's tokens.
    pub decode: &'a dyn Fn(&[u32]) -> String,
}

/// Moves `policy` with `method` towards the maximum of `objective`. Each iteration: draw prompts,
/// sample responses, score them in one batched pass, turn scores and KL into rewards, cut them into
/// the method's batches, update.
///
/// # Errors
/// If there are no prompts, the method needs a role that no network plays, an adaptive β holds what its prior does not give, something cannot be read, a number is not finite, or the run folder
/// cannot be written. The last checkpoint is then whole.
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
    method.load_state(run.start.of_method()?);
    let Online {
        sampling, optim, ..
    } = settings;
    let total = settings.iterations;
    run.drive(policy, total, |policy, journal, step| {
        let mut clock = Clock::new();
        let read = prompts.prompts.read(order.items(step))?;
        let chosen = read.prompts();
        let of_step = Sampling {
            step: step as u64,
            ..sampling.clone()
        };
        let sampled = sample(&mut *policy.decoder()?, chosen, &of_step, prompts.decode)?;
        clock.lap("seconds/sample");

        let prior = objective.penalty().prior();
        let rollouts = score(
            policy,
            prior,
            sampled,
            optim.micro_batch_tokens,
            method.group(),
        )?;
        // Before a reward is asked about what a spoiled policy drew.
        let values = rollouts.values.as_ref().map(|values| ("value", values));
        let answers = [
            ("log-prob", &rollouts.log_probs),
            ("entropy", &rollouts.entropy),
        ];
        sound(answers.into_iter().chain(values))?;
        let opinions = finite_optional_scores(objective.reward(), &rollouts.sequences)?;
        if step + 1 == total {
            objective.reward().finish()?;
        }
        let beta = objective.penalty().beta().value();
        let mut metrics = measure(&rollouts, &opinions, beta)?;
        if !sampling.stop.is_empty() {
            // Where nothing ends a response but its length, none is cut off.
            metrics.insert("completions/clipped_ratio", cut_off(&rollouts));
            let full = out_of_context(&rollouts, sampling.max_new_tokens);
            metrics.insert("completions/context_ratio", full);
        }
        for (name, value) in &metrics {
            finite(name, *value)?;
        }
        log_samples(journal, step, (&rollouts, &opinions), settings.log_samples)?;
        let (episodes, tokens) = (rollouts.sequences.len(), rollouts.sequences.tokens());
        let judged = judged(rollouts, &opinions, method.least_responses())?;
        metrics.extend(uncompared(&opinions, judged.as_ref()));
        let scored =
            judged.map(|(rollouts, scores)| objective.rewards_from_scores(rollouts, scores));
        clock.lap("seconds/score");

        let rng = Rng::new(sampling.seed, Stream::Minibatch, step as u64, 0);
        let batches = match scored.transpose()? {
            Some(scored) => method.batches(scored, objective.penalty(), rng)?,
            // Nothing is learned where the reward has no opinion of anything.
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
            updates.absorb(&stats.as_item());
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
        clock.lap("seconds/update");
        Ok(Done {
            metrics,
            seconds: clock.laps().into_iter().chain(parts.laps()).collect(),
            tokens,
            beta: Some(beta),
            method: json_of(&method.state())?,
        })
    })
}

/// −1 where β has reached its lowest value, 1 where it has reached its greatest.
fn at_bound(beta: &Beta) -> f64 {
    match beta.bound() {
        Some(Bound::Lowest) => -1.0,
        Some(Bound::Greatest) => 1.0,
        None => 0.0,
    }
}

/// Which prompts each iteration takes.
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
