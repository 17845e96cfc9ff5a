//! Tests that the state of a method is saved in checkpoints and restored.

use crate::online_tests::relative;
use crate::test_world::{
    Gradient, Likelihood, ShareOfToken2, TABLE, Weighted, settings, train_for, weighted,
};
use crate::{Ended, Error, Learner, Loss, Method, Result, State, Stats};
use rlhf_objective::{Beta, KlPenalty, Outputs, Scored, Sequences};
use rlhf_tensor::Rng;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::Path;

const NEVER: usize = usize::MAX;

/// Policy gradient with the mean of all returns so far as the baseline.
#[derive(Default)]
struct RunningMean(RunningMeanState);

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct RunningMeanState {
    iterations: usize,
    /// The mean return of each iteration.
    means: Vec<f32>,
}

impl Learner for RunningMean {
    type Batch = Weighted;

    fn sequences<'a>(&self, batch: &'a Weighted) -> &'a Sequences {
        Likelihood.sequences(batch)
    }

    fn select(&self, batch: &Weighted, responses: &[usize]) -> rlhf_objective::Result<Weighted> {
        Likelihood.select(batch, responses)
    }

    fn loss(&self, outputs: &Outputs, batch: &Weighted) -> rlhf_objective::Result<Loss> {
        Likelihood.loss(outputs, batch)
    }
}

impl Method for RunningMean {
    type State = RunningMeanState;

    fn batches(
        &mut self,
        scored: Scored,
        _: &mut KlPenalty,
        _: Rng,
    ) -> rlhf_objective::Result<Vec<Weighted>> {
        let returns = scored.rewards.sums()?.to_vec()?;
        let n = returns.len() as f32;
        let RunningMeanState { iterations, means } = &mut self.0;
        *iterations += 1;
        means.push(returns.iter().sum::<f32>() / n);
        let baseline = means.iter().sum::<f32>() / *iterations as f32;
        let weights: Vec<f32> = returns.iter().map(|x| (x - baseline) / n).collect();
        Ok(vec![weighted(scored.rollouts.sequences, &weights)])
    }

    fn after_step(&mut self, _: &Stats) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn state(&self) -> RunningMeanState {
        self.0.clone()
    }

    fn load_state(&mut self, state: RunningMeanState) {
        self.0 = state;
    }
}

fn run(folder: &Path, method: &mut impl Method, stop: usize, resume: bool) -> Result<Ended> {
    let settings = (&settings(), Beta::Fixed(0.1));
    train_for(
        Box::new(ShareOfToken2),
        method,
        &TABLE,
        folder,
        settings,
        stop,
        resume,
    )
    .0
}

#[test]
fn a_resumed_run_restores_the_state_of_its_checkpoint() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut method = RunningMean::default();
    let ended = run(whole.path(), &mut method, NEVER, false);
    assert_eq!(ended.unwrap(), Ended::Done);
    assert_eq!((method.0.iterations, method.0.means.len()), (6, 6));
    let ended = run(parts.path(), &mut RunningMean::default(), 4, false);
    assert_eq!(ended.unwrap(), Ended::Interrupted);
    // The state of the method before the run is replaced.
    let mut other = RunningMean(RunningMeanState {
        iterations: 9,
        means: vec![1e3],
    });
    run(parts.path(), &mut other, NEVER, true).unwrap();
    assert_eq!(other.0, method.0);
    assert!(relative(parts.path()) == relative(whole.path()));
    // A run from the start begins with the default.
    let again = tempfile::tempdir().unwrap();
    run(again.path(), &mut other, NEVER, false).unwrap();
    assert!(relative(again.path()) == relative(whole.path()));
}

#[test]
fn the_state_of_another_method_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &mut RunningMean::default(), 2, false).unwrap();
    let error = run(folder.path(), &mut Gradient, NEVER, true).unwrap_err();
    assert!(matches!(error, Error::MethodState(_)), "{error}");
    let message = error.to_string();
    assert!(message.contains("the state of another method"), "{message}");
}

/// A `trainer.json` of `rlhf train --objective reinforce` from before states had types.
const EARLIER_VERSION: &str = r#"{
  "step": 2,
  "beta": {
    "fixed": 0.3
  },
  "memory": 0.07770125577103065
}"#;

#[test]
fn a_checkpoint_of_an_earlier_version_is_parsed() {
    let state: State = serde_json::from_str(EARLIER_VERSION).unwrap();
    assert_eq!(state.step, 2);
    assert_eq!(state.beta, Some(Beta::Fixed(0.3)));
    assert_eq!(
        state.method_state::<Option<f64>>().unwrap(),
        Some(0.077_701_255_771_030_65)
    );
    let now = serde_json::to_string_pretty(&state).unwrap();
    assert_eq!(now, EARLIER_VERSION.replace("\"memory\"", "\"state\""));
    // A method without state.
    let none: State = serde_json::from_str(r#"{"step": 3, "beta": null, "memory": null}"#).unwrap();
    none.method_state::<()>().unwrap();
    let oldest: State = serde_json::from_str(r#"{"step": 3, "beta": null}"#).unwrap();
    assert_eq!(none, oldest);
}
