//! Runs that end with an error: the last finished step is saved, and a resumed run gives the same bytes as an
//! uninterrupted one.

use crate::test_world::{
    Gradient, Likelihood, RecordingObserver, ShareOfToken2, TABLE, Weighted, optim, settings,
    start_or_resume,
};
use crate::test_world::{train_for, weighted};
use crate::{Ended, Epochs, Error, Interrupt, Learner, Loss, Method, Result, Run, Source, Stats};
use crate::{offline, online_tests::relative};
use rlhf_objective::{
    Adaptive, Beta, KlPenalty, Outputs, PerSeq, PerToken, Reward, Scored, Sequences, Target,
};
use rlhf_policy::testing::sequences;
use rlhf_tensor::Rng;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

const NEVER: usize = usize::MAX;
const ADAPTIVE: Beta = Beta::Adaptive(Adaptive {
    beta: 0.1,
    target: Target::Kl(0.5),
    horizon: 100.0,
    lowest: 1e-4,
    greatest: 100.0,
});

/// [`ShareOfToken2`], which returns an error or a given score in call number `at`.
struct FaultyReward {
    calls: usize,
    at: usize,
    score: Option<f32>,
}

impl Reward for FaultyReward {
    fn score(&mut self, s: &Sequences) -> rlhf_objective::Result<PerSeq> {
        self.calls += 1;
        if self.calls != self.at {
            return ShareOfToken2.score(s);
        }
        let broken = rlhf_objective::Error::Unsupported("the endpoint answered 500".into());
        let score = self.score.ok_or(broken)?;
        PerSeq::from_vec(vec![score; s.len()])
    }
}

fn faulty(at: usize, score: Option<f32>) -> Box<FaultyReward> {
    let calls = 0;
    Box::new(FaultyReward { calls, at, score })
}

fn run(
    folder: &Path,
    reward: Box<FaultyReward>,
    method: &mut impl Method,
    resume: bool,
) -> Result<Ended> {
    let settings = (&settings(), ADAPTIVE);
    train_for(reward, method, &TABLE, folder, settings, NEVER, resume).0
}

fn steps(folder: &Path) -> Vec<usize> {
    let all = rlhf_journal::checkpoints(folder).unwrap();
    all.iter().map(|checkpoint| checkpoint.step).collect()
}

/// The end of the message of an error that leaves a checkpoint.
fn complete(folder: &Path, step: usize) -> String {
    let path = folder.join(format!("checkpoints/step-{step}"));
    format!("; {} is complete: continue with --resume", path.display())
}

#[test]
fn a_reward_that_fails_leaves_a_checkpoint_of_the_step_before() {
    let uninterrupted = tempfile::tempdir().unwrap();
    run(
        uninterrupted.path(),
        faulty(NEVER, None),
        &mut Gradient,
        false,
    )
    .unwrap();
    // Checkpoints are due after 4 and 6 steps. A score of NaN is a failure of the reward too.
    for (at, score) in [(3, None), (4, Some(f32::NAN)), (5, None), (6, None)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let error = run(folder, faulty(at, score), &mut Gradient, false).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with(&format!("in step {at} of 6: the ")),
            "{message}"
        );
        assert!(message.ends_with(&complete(folder, at - 1)), "{message}");
        let ended = run(folder, faulty(NEVER, None), &mut Gradient, true);
        assert_eq!(ended.unwrap(), Ended::Done);
        if at != 5 {
            fs::remove_dir_all(folder.join(format!("checkpoints/step-{}", at - 1))).unwrap();
        }
        assert!(relative(folder) == relative(uninterrupted.path()), "{at}");
    }
}

#[test]
fn a_reward_that_fails_in_the_first_step_leaves_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = run(folder, faulty(1, None), &mut Gradient, false).unwrap_err();
    assert!(
        first
            .to_string()
            .ends_with("; no checkpoint was written yet"),
        "{first}"
    );
    assert!(steps(folder).is_empty());
    // If a resumed run fails in its first step, the checkpoint that it resumed from is kept.
    fs::remove_dir_all(folder).unwrap();
    run(folder, faulty(3, None), &mut Gradient, false).unwrap_err();
    let before = relative(folder);
    let again = run(folder, faulty(1, None), &mut Gradient, true).unwrap_err();
    assert!(again.to_string().ends_with(&complete(folder, 2)), "{again}");
    assert!(relative(folder) == before);
}

/// An infinite loss stops the run before the optimizer step.
#[test]
fn an_infinite_loss_leaves_a_checkpoint_of_the_step_before() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let error = run(folder, faulty(3, Some(f32::MAX)), &mut Gradient, false).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("in step 3 of 6: the loss is "),
        "{message}"
    );
    assert!(message.ends_with(&complete(folder, 2)), "{message}");
    assert_eq!(steps(folder), [2]);
}

/// [`Gradient`] with two updates per iteration. The loss of the second is NaN in a given iteration.
struct TwoUpdates(usize);

impl Learner for TwoUpdates {
    type Batch = Weighted;

    fn sequences<'a>(&self, batch: &'a Weighted) -> &'a Sequences {
        Gradient.sequences(batch)
    }

    fn select(&self, batch: &Weighted, responses: &[usize]) -> rlhf_objective::Result<Weighted> {
        Gradient.select(batch, responses)
    }

    fn loss(&self, outputs: &Outputs, batch: &Weighted) -> rlhf_objective::Result<Loss> {
        Gradient.loss(outputs, batch)
    }
}

impl Method for TwoUpdates {
    type State = ();

    fn batches(
        &mut self,
        scored: Scored,
        penalty: &mut KlPenalty,
        rng: Rng,
    ) -> rlhf_objective::Result<Vec<Weighted>> {
        self.0 = self.0.saturating_sub(1);
        let mut both = Gradient.batches(scored.clone(), penalty, rng.clone())?;
        both.extend(Gradient.batches(scored, penalty, rng)?);
        if self.0 == 0 {
            let last = &mut both[1].weights;
            let none = vec![f32::NAN; last.to_vec()?.len()];
            *last = PerToken::from_vec(none, last.offsets())?;
        }
        Ok(both)
    }

    fn after_step(&mut self, _: &Stats) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn state(&self) {}

    fn load_state(&mut self, (): ()) {}
}

#[test]
fn a_policy_that_a_failed_step_has_changed_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let error = run(folder, faulty(NEVER, None), &mut TwoUpdates(6), false).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("in step 6 of 6: the loss is NaN: "),
        "{message}"
    );
    let lost = format!(
        "the steps after the last checkpoint are lost{}",
        complete(folder, 4)
    );
    assert!(message.ends_with(&lost), "{message}");
    assert_eq!(steps(folder), [4]);
    assert!(
        folder
            .join("checkpoints/step-4/optimizer.safetensors")
            .exists()
    );
}

/// If weights diverge, their checkpoint is not written, the one before keeps its optimizer's state, and the
/// error names it.
#[test]
fn a_policy_that_diverges_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, faulty(5, None), &mut Gradient, false).unwrap_err();
    let mut steep = settings();
    steep.optim.learning_rate = 1e39;
    let reward = faulty(NEVER, None);
    let (ended, _) = train_for(
        reward,
        &mut Gradient,
        &TABLE,
        folder,
        (&steep, ADAPTIVE),
        NEVER,
        true,
    );
    let message = ended.unwrap_err().to_string();
    assert!(
        message.starts_with("in step 6 of 6: ") && message.contains("has diverged"),
        "{message}"
    );
    let last = folder.join("checkpoints/step-4");
    let left = format!("; the last checkpoint before it is {}", last.display());
    assert!(message.ends_with(&left), "{message}");
    assert_eq!(steps(folder), [4]);
    assert!(last.join("optimizer.safetensors").exists());
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, faulty(3, None), &mut Gradient, false).unwrap_err();
    let error = {
        let (mut policy, start, mut journal) = start_or_resume(&TABLE, folder, true);
        assert_eq!(start.step, 2);
        // A file is in the place of the folder of step 4.
        fs::write(folder.join("checkpoints/step-4.tmp"), "in the way").unwrap();
        let mut observer = observer();
        let flag = observer.flag.clone();
        let mut run = running(&mut journal, &mut observer, &flag, start);
        let mut source = Rows {
            order: Epochs::new(&[1; 3], 2, 5, 1),
            bad: NEVER,
        };
        offline(&mut policy, &Likelihood, &mut source, &optim(), &mut run).unwrap_err()
    };
    let message = error.to_string();
    assert!(message.starts_with("in step 4 of 8: "), "{message}");
    assert!(message.contains("step-4.tmp: "), "{message}");
    assert!(message.ends_with(&complete(folder, 2)), "{message}");
    assert!(
        folder
            .join("checkpoints/step-2/optimizer.safetensors")
            .exists()
    );
}

/// Batches of three rows. The batch of step `bad` is an error.
struct Rows {
    order: Epochs,
    bad: usize,
}

impl Source for Rows {
    type Batch = Weighted;

    fn steps(&self) -> usize {
        self.order.steps()
    }

    fn batch(&mut self, step: usize) -> rlhf_objective::Result<Weighted> {
        if step == self.bad {
            let message = "pairs.jsonl:3: there is no `chosen`".into();
            return Err(rlhf_objective::Error::Unsupported(message));
        }
        let items = self.order.items(step);
        let weights = vec![1.0; items.len()];
        Ok(weighted(sequences().select(items), &weights))
    }
}

fn observer() -> RecordingObserver {
    RecordingObserver {
        metrics: vec![],
        stop_after: NEVER,
        flag: Arc::new(Interrupt::new()),
    }
}

fn running<'a>(
    journal: &'a mut rlhf_journal::Journal,
    observer: &'a mut RecordingObserver,
    interrupt: &'a Interrupt,
    start: crate::State,
) -> Run<'a> {
    Run {
        journal,
        observer,
        interrupt,
        start,
        save_every: Some(4),
    }
}

fn rows(folder: &Path, bad: usize, resume: bool) -> Result<Ended> {
    let (mut policy, start, mut journal) = start_or_resume(&TABLE, folder, resume);
    let mut observer = observer();
    let flag = observer.flag.clone();
    let mut run = running(&mut journal, &mut observer, &flag, start);
    let order = Epochs::new(&[1; 3], 2, 5, 1);
    offline(
        &mut policy,
        &Likelihood,
        &mut Rows { order, bad },
        &optim(),
        &mut run,
    )
}

#[test]
fn resuming_with_fewer_steps_than_are_done_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    rows(folder, 6, false).unwrap_err();
    let (mut policy, start, mut journal) = start_or_resume(&TABLE, folder, true);
    assert_eq!(start.step, 6);
    let (mut observer, order) = (observer(), Epochs::new(&[1; 3], 2, 1, 1));
    let flag = observer.flag.clone();
    let mut run = running(&mut journal, &mut observer, &flag, start);
    let mut source = Rows { order, bad: NEVER };
    let error = offline(&mut policy, &Likelihood, &mut source, &optim(), &mut run).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("the run has done 6 steps, but its settings and data now give only 2"),
        "{message}"
    );
    assert!(!folder.join("final").exists());
}

#[test]
fn a_row_that_cannot_be_read_leaves_a_checkpoint_of_the_step_before() {
    let uninterrupted = tempfile::tempdir().unwrap();
    rows(uninterrupted.path(), NEVER, false).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let error = rows(folder, 6, false).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Stopped {
                step: 7,
                total: 8,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().ends_with(&complete(folder, 6)), "{error}");
    assert_eq!(steps(folder), [4, 6]);
    assert_eq!(rows(folder, NEVER, true).unwrap(), Ended::Done);
    fs::remove_dir_all(folder.join("checkpoints/step-6")).unwrap();
    assert!(relative(folder) == relative(uninterrupted.path()));
}
