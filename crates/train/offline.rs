//! The offline loop, over a fixed data set: supervised fine-tuning, preferences, reward models.

use crate::clock::Clock;
use crate::run::StepResult;
use crate::update::{At, update};
use crate::{Ended, Learner, Optim, Result, Run, Source};
use rlhf_policy::Networks;
use serde_json::Value;

/// Trains `policy` with `learner` on the batches of `source`, with one optimizer step per batch.
///
/// # Errors
/// If a role of the learner has no network, a batch cannot be made, a forward pass fails, a loss or gradient
/// is not finite, or the run folder cannot be written. The last checkpoint is then complete.
pub fn offline<L: Learner, S: Source<Batch = L::Batch>>(
    policy: &mut Networks,
    learner: &L,
    source: &mut S,
    optim: &Optim,
    run: &mut Run<'_>,
) -> Result<Ended> {
    policy.check_roles(L::ROLES)?;
    let total = source.steps();
    run.execute(policy, total, |policy, _, step| {
        let mut clock = Clock::new();
        let batch = source.batch(step)?;
        let stats = update(
            policy,
            learner,
            &batch,
            optim,
            At { step, total },
            &mut clock,
        )?;
        let sequences = learner.sequences(&batch);
        Ok(StepResult {
            metrics: stats.iter().collect(),
            seconds: clock.into_seconds(),
            tokens: sequences.network_tokens(0..sequences.len()),
            beta: None,
            method: Value::Null,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_world::{
        Likelihood, RecordingObserver, TABLE, Weighted, optim, start_or_resume, weighted,
    };
    use crate::{Epochs, Interrupt};
    use rlhf_policy::testing::sequences;
    use std::path::Path;
    use std::sync::Arc;

    struct Three(Epochs);

    impl Source for Three {
        type Batch = Weighted;
        fn steps(&self) -> usize {
            self.0.steps()
        }
        fn batch(&mut self, step: usize) -> rlhf_objective::Result<Weighted> {
            let items = self.0.items(step);
            let weights = vec![1.0; items.len()];
            Ok(weighted(sequences().select(items), &weights))
        }
    }

    fn train(folder: &Path, epochs: usize, stop_after: usize, resume: bool) -> Result<Ended> {
        let mut source = Three(Epochs::new(&[1; 3], 2, epochs, 1));
        let (mut policy, start, mut journal) = start_or_resume(&TABLE, folder, resume);
        let flag = Arc::new(Interrupt::new());
        let mut observer = RecordingObserver {
            metrics: vec![],
            stop_after,
            flag: flag.clone(),
        };
        let mut run = Run {
            journal: &mut journal,
            observer: &mut observer,
            interrupt: &flag,
            start,
            save_every: None,
        };
        offline(&mut policy, &Likelihood, &mut source, &optim(), &mut run)
    }

    #[test]
    fn the_loss_falls_and_a_resumed_run_gives_the_same_bytes() {
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(
            train(whole.path(), 20, usize::MAX, false).unwrap(),
            Ended::Done
        );
        let stopped = train(parts.path(), 20, 7, false).unwrap();
        assert_eq!(stopped, Ended::Interrupted);
        assert_eq!(
            train(parts.path(), 20, usize::MAX, true).unwrap(),
            Ended::Done
        );
        for file in [
            "metrics.jsonl",
            "final/bigram.f32",
            "checkpoints/step-30/optimizer.safetensors",
        ] {
            let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
            assert!(read(whole.path()) == read(parts.path()), "{file}");
        }
        let rows = rlhf_journal::metrics(whole.path()).unwrap();
        // Three steps of two items are two epochs.
        let loss = |passes: usize| -> f64 {
            let steps = rows[3 * passes..3 * passes + 3].iter();
            steps.map(|row| row.values["loss"]).sum()
        };
        assert!(loss(9) < 0.8 * loss(0), "{} {}", loss(0), loss(9));
    }

    #[test]
    fn an_empty_data_set_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = train(folder.path(), 0, usize::MAX, false).unwrap_err();
        assert!(error.to_string().contains("empty"), "{error}");
    }
}
