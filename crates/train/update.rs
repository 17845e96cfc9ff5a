//! One optimizer step: the part that both loops share.

use crate::clock::Clock;
use crate::{Error, Learner, Result, Schedule, Stats};
use rlhf_objective::{Network, PerToken};
use rlhf_tensor::AdamW;
use serde::Serialize;

/// How parameters move.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Optim {
    /// The optimizer's constants.
    pub adamw: AdamW,
    /// The greatest learning rate.
    pub learning_rate: f64,
    /// What becomes of it over the run.
    pub schedule: Schedule,
    /// Gradients are scaled down to this Euclidean norm, taken over all parameters together
    /// (Pascanu et al. 2013), where they exceed it.
    pub clip: Option<f64>,
    /// The most tokens a network reads at once, training or scoring: memory, not mathematics.
    pub micro_batch_tokens: usize,
}

/// Where a step is in its run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) step: usize,
    pub(crate) total: usize,
}

/// One optimizer step on the whole of `batch`, read in micro-batches, sorted by length, whose losses
/// and gradients add up; returns the batch's statistics, with `grad_norm` before clipping. The clock
/// gets the seconds of each part of it.
pub(crate) fn update<L: Learner>(
    policy: &mut dyn Network,
    learner: &L,
    batch: &L::Batch,
    optim: &Optim,
    at: At,
    clock: &mut Clock,
) -> Result<Stats> {
    let prepared = learner.prepare(policy, batch, optim.micro_batch_tokens)?;
    let batch = prepared.as_ref().unwrap_or(batch);
    let mut stats = Stats::new();
    let parts = learner
        .sequences(batch)
        .sorted_micro_batches(optim.micro_batch_tokens, learner.group());
    for part in parts {
        let part = learner.select(batch, &part)?;
        let outputs = policy.forward(learner.sequences(&part), learner.output_spec())?;
        clock.lap("seconds/forward");
        let loss = learner.loss(&outputs, &part)?;
        let value = loss
            .value
            .to_scalar::<f32>()
            .map_err(rlhf_objective::Error::from)?;
        if !value.is_finite() {
            let values = outputs.values.as_ref().map(|values| ("value", values));
            sound([("log-prob", &outputs.log_probs)].into_iter().chain(values))?;
        }
        finite("the loss", f64::from(value))?;
        let gradients = outputs.gradients(&loss.value)?;
        clock.lap("seconds/loss");
        policy.backward(&gradients)?;
        clock.lap("seconds/backward");
        stats.absorb(&loss.stats);
    }
    for (name, value) in stats.iter() {
        finite(name, value)?;
    }
    let norm = policy.gradient_norm();
    finite("the norm of the gradient", norm)?;
    let scale = optim.clip.map_or(1.0, |most| (most / norm).min(1.0));
    let learning_rate = optim.learning_rate * optim.schedule.factor(at.step, at.total);
    policy.optimizer_step(&optim.adamw, learning_rate, scale);
    clock.lap("seconds/optimizer");
    stats.mean("grad_norm", norm, 1.0);
    stats.mean("lr", learning_rate, 1.0);
    Ok(stats)
}

pub(crate) fn finite(what: &'static str, value: f64) -> Result<()> {
    match value.is_finite() {
        true => Ok(()),
        false => Err(Error::NotFinite { what, value }),
    }
}

/// Refuses answers of the policy, called so, that are not finite.
pub(crate) fn sound<'a>(
    answers: impl IntoIterator<Item = (&'static str, &'a PerToken)>,
) -> Result<()> {
    for (what, numbers) in answers {
        if let Some(value) = numbers.to_vec()?.iter().find(|number| !number.is_finite()) {
            return Err(Error::Diverged {
                what: format!("the {what} of a response token"),
                value: f64::from(*value),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_world::{Likelihood, optim, weighted};
    use rlhf_objective::Network;
    use rlhf_policy::testing::{Bigram, sequences};
    use rlhf_tensor::Storage;

    const AT: At = At { step: 3, total: 10 };

    fn after(optim: &Optim, steps: usize) -> (Vec<f32>, Stats) {
        let mut network = Bigram::random(5, Storage::Trainable, 1);
        let batch = weighted(sequences(), &[1.0, -0.5, 2.0]);
        let mut stats = Stats::new();
        for _ in 0..steps {
            let clock = &mut Clock::new();
            stats = update(&mut network, &Likelihood, &batch, optim, AT, clock).unwrap();
        }
        let logits = network.parameter_sets()[0].weights("logits").unwrap();
        (logits.into_owned(), stats)
    }

    #[test]
    fn micro_batches_add_up_to_the_batch() {
        let (whole, stats) = after(&optim(), 5);
        let small = Optim {
            micro_batch_tokens: 1,
            ..optim()
        };
        let (parts, same) = after(&small, 5);
        for (a, b) in whole.iter().zip(&parts) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
        for ((name, a), (_, b)) in stats.iter().zip(same.iter()) {
            assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
        }
    }

    #[test]
    fn the_norm_is_reported_before_clipping() {
        let free = Optim {
            clip: None,
            ..optim()
        };
        let norm = after(&free, 1).1.get("grad_norm").unwrap();
        let clipped = Optim {
            clip: Some(norm / 100.0),
            ..optim()
        };
        assert_eq!(after(&clipped, 1).1.get("grad_norm"), Some(norm));
        let loose = Optim {
            clip: Some(norm * 2.0),
            ..optim()
        };
        assert_eq!(after(&loose, 3).0, after(&free, 3).0);
        // Adam's first step forgets the scale; later ones do not forget a change of it.
        assert_ne!(after(&clipped, 3).0, after(&free, 3).0);
    }

    #[test]
    fn a_loss_that_is_not_finite_stops_before_the_weights_move() {
        let mut network = Bigram::random(5, Storage::Trainable, 1);
        let before = network.checksums();
        let batch = weighted(sequences(), &[1.0, f32::NAN, 1.0]);
        let clock = &mut Clock::new();
        let error = update(&mut network, &Likelihood, &batch, &optim(), AT, clock).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the loss is NaN"), "{text}");
        assert_eq!(network.checksums(), before);
    }
}
