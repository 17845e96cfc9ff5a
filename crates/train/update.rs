//! One optimizer step, which both loops use.

use crate::clock::Clock;
use crate::{Error, Learner, Result, Schedule, Stats};
use rlhf_objective::{Network, PerToken};
use rlhf_tensor::AdamW;
use serde::Serialize;

/// The settings of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Optim {
    /// The constants of AdamW.
    pub adamw: AdamW,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// The learning rate schedule.
    pub schedule: Schedule,
    /// Gradient clipping: if the Euclidean norm of the gradient over all parameters exceeds this, the
    /// gradient is scaled down to it (Pascanu et al. 2013).
    pub clip: Option<f64>,
    /// The maximum number of network tokens of a micro-batch, in training and scoring. It changes memory,
    /// not results.
    pub micro_batch_tokens: usize,
}

/// The position of a step in its run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) step: usize,
    pub(crate) total: usize,
}

/// One optimizer step on `batch`, cut into micro-batches by length, whose losses and gradients add up.
/// Returns the batch's statistics, with `grad_norm` before clipping. `clock` measures the phases.
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
        clock.end_phase("seconds/forward");
        let loss = learner.loss(&outputs, &part)?;
        let value = loss
            .value
            .to_scalar::<f32>()
            .map_err(rlhf_objective::Error::from)?;
        if !value.is_finite() {
            let values = outputs.values.as_ref().map(|values| ("value", values));
            check_finite_outputs([("log-prob", &outputs.log_probs)].into_iter().chain(values))?;
        }
        check_finite("the loss", f64::from(value))?;
        let gradients = outputs.gradients(&loss.value)?;
        clock.end_phase("seconds/loss");
        policy.backward(&gradients)?;
        clock.end_phase("seconds/backward");
        stats.absorb(&loss.stats);
    }
    for (name, value) in stats.iter() {
        check_finite(name, value)?;
    }
    let norm = policy.gradient_norm();
    check_finite("the norm of the gradient", norm)?;
    let scale = optim.clip.map_or(1.0, |max| (max / norm).min(1.0));
    let learning_rate = optim.learning_rate * optim.schedule.factor(at.step, at.total);
    policy.optimizer_step(&optim.adamw, learning_rate, scale);
    clock.end_phase("seconds/optimizer");
    stats.mean("grad_norm", norm, 1.0);
    stats.mean("lr", learning_rate, 1.0);
    Ok(stats)
}

pub(crate) fn check_finite(what: &'static str, value: f64) -> Result<()> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(Error::NotFinite { what, value })
    }
}

/// Checks that the named outputs of the policy are finite.
pub(crate) fn check_finite_outputs<'a>(
    outputs: impl IntoIterator<Item = (&'static str, &'a PerToken)>,
) -> Result<()> {
    for (what, numbers) in outputs {
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
    fn micro_batches_give_the_same_step_as_the_batch() {
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
    fn the_gradient_norm_is_reported_before_clipping() {
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
        // Adam's first step does not depend on the scale of the gradient; later ones do, through the moments.
        assert_ne!(after(&clipped, 3).0, after(&free, 3).0);
    }

    #[test]
    fn a_loss_that_is_not_finite_leaves_the_weights_unchanged() {
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
