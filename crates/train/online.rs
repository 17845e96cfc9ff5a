//! The loop that learns from the policy's own samples.

use crate::metrics::{log_samples, measure};
use crate::run::{Done, Metrics};
use crate::update::{At, update};
use crate::{Ended, Epochs, Error, Method, Optim, Result, Run, Stats};
use rlhf_objective::{Network, Objective, Prompt};
use rlhf_policy::{ActorCritic, Sampling, sample, score};
use rlhf_tensor::{Rng, Stream};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// The settings of an online run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Online {
    /// Iterations of sampling and learning.
    pub iterations: usize,
    /// Prompts in each, drawn in a new random order every time all have been used.
    pub prompts: usize,
    /// How responses are drawn. Its seed is the run's; its step is set to the iteration.
    pub sampling: Sampling,
    /// How parameters move; the learning rate is the same within an iteration.
    pub optim: Optim,
    /// How many responses of each iteration go to `samples.jsonl`.
    pub log_samples: usize,
}

/// Where prompts come from, and how responses become text.
#[derive(Clone, Copy)]
pub struct Prompts<'a> {
    /// All prompts.
    pub prompts: &'a [Arc<Prompt>],
    /// The text of a response's tokens.
    pub decode: &'a dyn Fn(&[u32]) -> String,
}

/// Moves `policy` with `method` towards the maximum of `objective`. Each iteration: draw prompts,
/// sample responses, score them in one batched pass, turn scores and KL into rewards, cut them into
/// the method's batches, update.
///
/// # Errors
/// If there are no prompts, something cannot be read, a number is not finite, or the run folder
/// cannot be written. The last checkpoint is then whole.
pub fn online<M: Method>(
    policy: &mut ActorCritic,
    objective: &mut Objective,
    method: &mut M,
    prompts: Prompts<'_>,
    settings: &Online,
    run: &mut Run<'_>,
) -> Result<Ended> {
    let order = prompt_order(prompts.prompts.len(), settings)?;
    if let Some(beta) = run.start.beta {
        objective.penalty().set_beta(beta);
    }
    let Online {
        sampling, optim, ..
    } = settings;
    let total = settings.iterations;
    run.drive(policy, total, |policy, journal, step| {
        let mut clock = Clock::new();
        let items = order.items(step).iter();
        let chosen: Vec<_> = items
            .map(|i| prompts.prompts[i % prompts.prompts.len()].clone())
            .collect();
        let of_step = Sampling {
            step: step as u64,
            ..sampling.clone()
        };
        let sampled = sample(&mut *policy.decoder()?, &chosen, &of_step, prompts.decode)?;
        clock.lap("seconds/sample");

        let prior = objective.penalty().prior();
        let rollouts = score(
            policy,
            prior,
            sampled,
            optim.tokens_per_batch,
            method.group(),
        )?;
        let scored = objective.rewards(rollouts)?;
        let mut metrics = measure(&scored)?;
        log_samples(journal, step, &scored, settings.log_samples)?;
        let (episodes, tokens) = (
            scored.rollouts.sequences.len(),
            scored.rollouts.sequences.tokens(),
        );
        clock.lap("seconds/score");

        let rng = Rng::new(sampling.seed, Stream::Minibatch, step as u64, 0);
        let mut updates = Stats::new();
        for batch in method.batches(scored, objective.penalty(), rng)? {
            let stats = update(policy, method, &batch, optim, At { step, total })?;
            updates.absorb(&stats.as_item());
            if method.after_step(&stats).is_break() {
                break;
            }
        }
        metrics.extend(updates.iter());
        objective.observe(metrics["objective/kl"], episodes);
        let before: usize = (0..=step).map(|step| order.items(step).len()).sum();
        metrics.insert("episode", (before * sampling.samples) as f64);
        clock.lap("seconds/update");
        Ok(Done {
            metrics,
            seconds: clock.laps,
            tokens,
            beta: Some(*objective.penalty().beta()),
        })
    })
}

/// Which prompts each iteration takes. An iteration never mixes two passes over the data, so where
/// there are fewer prompts than it takes, a pass goes over each several times.
fn prompt_order(prompts: usize, settings: &Online) -> Result<Epochs> {
    if prompts == 0 || settings.prompts == 0 {
        return Err(Error::Empty("there are no prompts to sample from"));
    }
    let items = prompts * settings.prompts.div_ceil(prompts);
    let passes = settings
        .iterations
        .div_ceil(items.div_ceil(settings.prompts));
    let costs = vec![1; items];
    Ok(Epochs::new(
        &costs,
        settings.prompts,
        passes,
        settings.sampling.seed,
    ))
}

/// Seconds by phase.
struct Clock {
    since: Instant,
    laps: Metrics,
}

impl Clock {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            laps: Metrics::new(),
        }
    }

    fn lap(&mut self, phase: &'static str) {
        self.laps.insert(phase, self.since.elapsed().as_secs_f64());
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{settings, train};
    use rlhf_objective::Beta;
    use std::path::Path;

    const NEVER: usize = usize::MAX;

    /// Every byte below a folder but the timing, which the seed does not determine.
    fn bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(bytes(&path));
            } else if !path.ends_with("timing.jsonl") {
                found.push((path.display().to_string(), std::fs::read(path).unwrap()));
            }
        }
        found.sort();
        found
    }

    /// The same, with paths relative to the folder.
    fn relative(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let root = folder.display().to_string();
        let all = bytes(folder).into_iter();
        all.map(|(path, bytes)| (path.replace(&root, ""), bytes))
            .collect()
    }

    #[test]
    fn starts_at_the_prior_exactly() {
        for tokens_per_batch in [1000, 9] {
            let folder = tempfile::tempdir().unwrap();
            let mut settings = settings();
            settings.optim.tokens_per_batch = tokens_per_batch;
            let (ended, seen) = train(folder.path(), &settings, Beta::Fixed(0.1), NEVER, false);
            assert_eq!(ended.unwrap(), Ended::Done);
            let first = &seen.metrics[0];
            assert_eq!(first["objective/kl"], 0.0);
            assert_eq!(first["objective/kl_k1"], 0.0);
            assert_eq!(first["objective/rlhf_reward"], first["objective/scores"]);
            assert!(seen.metrics[5]["objective/kl"] > 0.0);
            assert_eq!(seen.metrics[5]["episode"], 96.0);
            for metrics in &seen.metrics {
                assert_eq!(metrics["log_ratio_max"], 0.0);
                assert!(metrics["sampling/log_prob_gap"] < 1e-5);
            }
        }
    }

    #[test]
    fn the_reward_rises() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Online {
            iterations: 150,
            ..settings()
        };
        let (ended, seen) = train(folder.path(), &settings, Beta::Fixed(0.02), NEVER, false);
        ended.unwrap();
        let mean = |range: std::ops::Range<usize>| {
            let n = range.len() as f64;
            seen.metrics[range]
                .iter()
                .map(|m| m["objective/rlhf_reward"])
                .sum::<f64>()
                / n
        };
        assert!(
            mean(140..150) > mean(0..10) + 0.2,
            "{} {}",
            mean(0..10),
            mean(140..150)
        );
    }

    #[test]
    fn resumed_is_uninterrupted_byte_for_byte() {
        let beta = Beta::Adaptive {
            beta: 0.1,
            target_kl: 0.5,
            horizon: 100.0,
        };
        let whole = tempfile::tempdir().unwrap();
        train(whole.path(), &settings(), beta, NEVER, false)
            .0
            .unwrap();
        for stop in [1, 3, 4, 5] {
            let parts = tempfile::tempdir().unwrap();
            let (ended, _) = train(parts.path(), &settings(), beta, stop, false);
            assert_eq!(ended.unwrap(), Ended::Interrupted);
            assert!(!parts.path().join("final").exists());
            let (ended, _) = train(parts.path(), &settings(), beta, NEVER, true);
            assert_eq!(ended.unwrap(), Ended::Done);
            if stop != 4 {
                let extra = parts.path().join(format!("checkpoints/step-{stop}"));
                std::fs::remove_dir_all(extra).unwrap();
            }
            assert!(
                relative(parts.path()) == relative(whole.path()),
                "stopped after {stop}"
            );
        }
    }

    #[test]
    fn the_thread_count_changes_no_byte() {
        let run = |threads| {
            let folder = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                train(folder.path(), &settings(), Beta::Fixed(0.1), NEVER, false)
                    .0
                    .unwrap();
            });
            relative(folder.path())
        };
        assert!(run(1) == run(2));
    }

    #[test]
    fn a_number_that_is_not_finite_ends_the_run_and_spoils_no_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings();
        // Warms up to an overflow: the first steps are harmless.
        settings.optim.learning_rate = 1e39;
        settings.iterations = 8;
        let (ended, _) = train(folder.path(), &settings, Beta::Fixed(0.1), NEVER, false);
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("step 1"), "{error}");
        assert_eq!(rlhf_journal::checkpoints(folder.path()).unwrap(), []);
        assert!(!folder.path().join("final").exists());
    }

    #[test]
    fn few_prompts_are_gone_over_again() {
        let settings = Online {
            prompts: 10,
            iterations: 7,
            ..settings()
        };
        let order = prompt_order(4, &settings).unwrap();
        assert!(order.steps() >= 7);
        assert_eq!(order.items(0).len(), 10);
        assert!(prompt_order(0, &settings).is_err());
        assert!(prompt_order(729, &settings).unwrap().steps() >= 7);
    }
}
