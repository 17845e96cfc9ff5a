//! The state of a method, saved with each checkpoint and given back.

use crate::online_tests::relative;
use crate::test_world::{
    Gradient, Likelihood, TABLE, Twos, Weighted, settings, train_for, weighted,
};
use crate::{Ended, Error, Learner, Loss, Method, Result, State, Stats};
use rlhf_objective::{Beta, KlPenalty, Outputs, Scored, Sequences};
use rlhf_tensor::Rng;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::Path;

const NEVER: usize = usize::MAX;

/// The policy gradient with the mean of all returns so far as the baseline.
#[derive(Default)]
struct Remembering(Kept);

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Kept {
    iterations: usize,
    /// The mean return of each iteration.
    means: Vec<f32>,
}

impl Learner for Remembering {
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

impl Method for Remembering {
    type State = Kept;

    fn batches(
        &mut self,
        scored: Scored,
        _: &mut KlPenalty,
        _: Rng,
    ) -> rlhf_objective::Result<Vec<Weighted>> {
        let returns = scored.rewards.sums()?.to_vec()?;
        let n = returns.len() as f32;
        let Kept { iterations, means } = &mut self.0;
        *iterations += 1;
        means.push(returns.iter().sum::<f32>() / n);
        let baseline = means.iter().sum::<f32>() / *iterations as f32;
        let weights: Vec<f32> = returns.iter().map(|x| (x - baseline) / n).collect();
        Ok(vec![weighted(scored.rollouts.sequences, &weights)])
    }

    fn after_step(&mut self, _: &Stats) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn state(&self) -> Kept {
        self.0.clone()
    }

    fn load_state(&mut self, state: Kept) {
        self.0 = state;
    }
}

fn run(folder: &Path, method: &mut impl Method, stop: usize, resume: bool) -> Result<Ended> {
    let settings = (&settings(), Beta::Fixed(0.1));
    train_for(
        Box::new(Twos),
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
fn a_resumed_run_has_the_state_of_its_checkpoint() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut method = Remembering::default();
    let ended = run(whole.path(), &mut method, NEVER, false);
    assert_eq!(ended.unwrap(), Ended::Done);
    assert_eq!((method.0.iterations, method.0.means.len()), (6, 6));
    let ended = run(parts.path(), &mut Remembering::default(), 4, false);
    assert_eq!(ended.unwrap(), Ended::Interrupted);
    // What the method holds before is none of the run's business.
    let mut other = Remembering(Kept {
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
fn the_state_of_another_method_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &mut Remembering::default(), 2, false).unwrap();
    let error = run(folder.path(), &mut Gradient, NEVER, true).unwrap_err();
    assert!(matches!(error, Error::MethodState(_)), "{error}");
    let said = error.to_string();
    assert!(said.contains("the state of another method"), "{said}");
}

/// As `rlhf train --objective reinforce` wrote it before states had types.
const EARLIER: &str = r#"{
  "step": 2,
  "beta": {
    "fixed": 0.3
  },
  "memory": 0.07770125577103065
}"#;

#[test]
fn an_earlier_checkpoint_is_read() {
    let state: State = serde_json::from_str(EARLIER).unwrap();
    assert_eq!(state.step, 2);
    assert_eq!(state.beta, Some(Beta::Fixed(0.3)));
    assert_eq!(
        state.of_method::<Option<f64>>().unwrap(),
        Some(0.077_701_255_771_030_65)
    );
    let now = serde_json::to_string_pretty(&state).unwrap();
    assert_eq!(now, EARLIER.replace("\"memory\"", "\"state\""));
    // And where the method kept nothing.
    let none: State = serde_json::from_str(r#"{"step": 3, "beta": null, "memory": null}"#).unwrap();
    none.of_method::<()>().unwrap();
    let oldest: State = serde_json::from_str(r#"{"step": 3, "beta": null}"#).unwrap();
    assert_eq!(none, oldest);
}
