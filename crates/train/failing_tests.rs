//! Runs that an error ends: what is whole in memory is saved, and a resumed run is the uninterrupted one.

use crate::test_world::{
    Gradient, Likelihood, Seen, TABLE, Twos, Weighted, begun, optim, settings,
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

/// [`Twos`], but something else the so manieth time that it is asked.
struct Faulty {
    asked: usize,
    at: usize,
    score: Option<f32>,
}

impl Reward for Faulty {
    fn score(&mut self, s: &Sequences) -> rlhf_objective::Result<PerSeq> {
        self.asked += 1;
        if self.asked != self.at {
            return Twos.score(s);
        }
        let broken = rlhf_objective::Error::Unsupported("the endpoint answered 500".into());
        let score = self.score.ok_or(broken)?;
        PerSeq::from_vec(vec![score; s.len()])
    }
}

fn faulty(at: usize, score: Option<f32>) -> Box<Faulty> {
    let asked = 0;
    Box::new(Faulty { asked, at, score })
}

fn run(
    folder: &Path,
    reward: Box<Faulty>,
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

/// The end of the error that leaves a checkpoint.
fn whole(folder: &Path, step: usize) -> String {
    let path = folder.join(format!("checkpoints/step-{step}"));
    format!("; {} is whole: continue with --resume", path.display())
}

#[test]
fn a_reward_that_fails_leaves_the_policy_of_the_step_before() {
    let uninterrupted = tempfile::tempdir().unwrap();
    run(
        uninterrupted.path(),
        faulty(NEVER, None),
        &mut Gradient,
        false,
    )
    .unwrap();
    // Checkpoints are due after 4 and 6 steps. A score that is no number is a failure of the reward too.
    for (at, score) in [(3, None), (4, Some(f32::NAN)), (5, None), (6, None)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let error = run(folder, faulty(at, score), &mut Gradient, false).unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with(&format!("in step {at} of 6: the ")),
            "{said}"
        );
        assert!(said.ends_with(&whole(folder, at - 1)), "{said}");
        let ended = run(folder, faulty(NEVER, None), &mut Gradient, true);
        assert_eq!(ended.unwrap(), Ended::Done);
        if at != 5 {
            fs::remove_dir_all(folder.join(format!("checkpoints/step-{}", at - 1))).unwrap();
        }
        assert!(relative(folder) == relative(uninterrupted.path()), "{at}");
    }
}

#[test]
fn a_reward_that_fails_at_once_leaves_nothing_to_save() {
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
    // And where a resumed run fails in its first step, the checkpoint that it started from is there.
    fs::remove_dir_all(folder).unwrap();
    run(folder, faulty(3, None), &mut Gradient, false).unwrap_err();
    let before = relative(folder);
    let again = run(folder, faulty(1, None), &mut Gradient, true).unwrap_err();
    assert!(again.to_string().ends_with(&whole(folder, 2)), "{again}");
    assert!(relative(folder) == before);
}

/// A loss that is too large for its numbers stops the run before anything is learned from it.
#[test]
fn a_reward_beyond_all_numbers_is_none_of_the_policys_doing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let error = run(folder, faulty(3, Some(f32::MAX)), &mut Gradient, false).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("in step 3 of 6: the loss is "), "{said}");
    assert!(said.ends_with(&whole(folder, 2)), "{said}");
    assert_eq!(steps(folder), [2]);
}

/// [`Gradient`] in two updates an iteration, of which the second is none from some iteration on.
struct Twice(usize);

impl Learner for Twice {
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

impl Method for Twice {
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
fn a_policy_that_a_step_has_begun_to_change_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let error = run(folder, faulty(NEVER, None), &mut Twice(6), false).unwrap_err();
    let said = error.to_string();
    assert!(
        said.starts_with("in step 6 of 6: the loss is NaN: "),
        "{said}"
    );
    let lost = format!(
        "what came after the last checkpoint is lost{}",
        whole(folder, 4)
    );
    assert!(said.ends_with(&lost), "{said}");
    assert_eq!(steps(folder), [4]);
    assert!(
        folder
            .join("checkpoints/step-4/optimizer.safetensors")
            .exists()
    );
}

/// Weights that grow without bounds after some steps: their checkpoint is not written, the one before
/// keeps its optimizer, and the error names it.
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
    let said = ended.unwrap_err().to_string();
    assert!(
        said.starts_with("in step 6 of 6: ") && said.contains("has diverged"),
        "{said}"
    );
    let last = folder.join("checkpoints/step-4");
    let left = format!("; the last checkpoint before it is {}", last.display());
    assert!(said.ends_with(&left), "{said}");
    assert_eq!(steps(folder), [4]);
    assert!(last.join("optimizer.safetensors").exists());
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, faulty(3, None), &mut Gradient, false).unwrap_err();
    let error = {
        let (mut policy, start, mut journal) = begun(&TABLE, folder, true);
        assert_eq!(start.step, 2);
        // Where step 4's is made there is something that is no folder.
        fs::write(folder.join("checkpoints/step-4.tmp"), "in the way").unwrap();
        let mut seen = seen();
        let flag = seen.flag.clone();
        let mut run = running(&mut journal, &mut seen, &flag, start);
        let mut source = Rows {
            order: Epochs::new(&[1; 3], 2, 5, 1),
            bad: NEVER,
        };
        offline(&mut policy, &Likelihood, &mut source, &optim(), &mut run).unwrap_err()
    };
    let said = error.to_string();
    assert!(said.starts_with("in step 4 of 8: "), "{said}");
    assert!(said.contains("step-4.tmp: "), "{said}");
    assert!(said.ends_with(&whole(folder, 2)), "{said}");
    assert!(
        folder
            .join("checkpoints/step-2/optimizer.safetensors")
            .exists()
    );
}

/// Three rows, of which the batch of step `bad` cannot be read.
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

fn seen() -> Seen {
    Seen {
        metrics: vec![],
        stop_after: NEVER,
        flag: Arc::new(Interrupt::new()),
    }
}

fn running<'a>(
    journal: &'a mut rlhf_journal::Journal,
    seen: &'a mut Seen,
    interrupt: &'a Interrupt,
    start: crate::State,
) -> Run<'a> {
    Run {
        journal,
        observer: seen,
        interrupt,
        start,
        save_every: Some(4),
    }
}

fn rows(folder: &Path, bad: usize, resume: bool) -> Result<Ended> {
    let (mut policy, start, mut journal) = begun(&TABLE, folder, resume);
    let mut seen = seen();
    let flag = seen.flag.clone();
    let mut run = running(&mut journal, &mut seen, &flag, start);
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
fn a_run_that_is_longer_than_its_settings_ask_for_now_is_not_taken_for_finished() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    rows(folder, 6, false).unwrap_err();
    let (mut policy, start, mut journal) = begun(&TABLE, folder, true);
    assert_eq!(start.step, 6);
    let (mut seen, order) = (seen(), Epochs::new(&[1; 3], 2, 1, 1));
    let flag = seen.flag.clone();
    let mut run = running(&mut journal, &mut seen, &flag, start);
    let mut source = Rows { order, bad: NEVER };
    let error = offline(&mut policy, &Likelihood, &mut source, &optim(), &mut run).unwrap_err();
    let said = error.to_string();
    assert!(
        said.starts_with("6 steps are done, and settings and data ask for 2 now"),
        "{said}"
    );
    assert!(!folder.join("final").exists());
}

#[test]
fn a_row_that_cannot_be_read_later_leaves_what_was_learned_from_the_others() {
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
    assert!(error.to_string().ends_with(&whole(folder, 6)), "{error}");
    assert_eq!(steps(folder), [4, 6]);
    assert_eq!(rows(folder, NEVER, true).unwrap(), Ended::Done);
    fs::remove_dir_all(folder.join("checkpoints/step-6")).unwrap();
    assert!(relative(folder) == relative(uninterrupted.path()));
}
