//! Trains and evaluates a custom method: `cargo run --release --example own_method`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use rlhf::experiment::{Registry, Session};
use rlhf::objective::{KlPenalty, NoSettings, Outputs, PerSeq, Result, Scored, Sequences};
use rlhf::tensor::Rng;
use rlhf::train::{Learner, Loss, Method, MethodSpec, OnlineSpec, Stats};

/// The policy gradient without a baseline. Its loss is minus the mean over responses of f(y)·log π(y|x),
/// where f is the reward minus the KL penalty.
struct Plain;

impl Learner for Plain {
    type Batch = (Sequences, PerSeq);
    fn sequences<'a>(&self, batch: &'a Self::Batch) -> &'a Sequences {
        &batch.0
    }
    fn select(&self, (s, f): &Self::Batch, responses: &[usize]) -> Result<Self::Batch> {
        Ok((s.select(responses), f.select(responses)?))
    }
    fn loss(&self, outputs: &Outputs, (_, f): &Self::Batch) -> Result<Loss> {
        let weighted = (outputs.log_probs.sums()?.values() * f.values())?;
        let (value, stats) = (weighted.sum_all()?.neg()?, Stats::new());
        Ok(Loss { value, stats })
    }
}

impl Method for Plain {
    type State = ();
    fn state(&self) {}
    fn load_state(&mut self, (): ()) {}
    fn batches(&mut self, scored: Scored, _: &mut KlPenalty, _: Rng) -> Result<Vec<Self::Batch>> {
        let (s, sums) = (scored.rollouts.sequences, scored.rewards.sums()?.to_vec()?);
        let shares = sums.iter().map(|f| f / s.len() as f32).collect();
        Ok(vec![(s, PerSeq::from_vec(shares)?)])
    }
}

impl MethodSpec for Plain {
    type Settings = NoSettings;
    const NAME: &'static str = "plain";
    const ABOUT: &'static str = "The policy gradient without a baseline";
}

impl OnlineSpec for Plain {
    type Method = Self;
    fn method(_: &NoSettings) -> Result<Self> {
        Ok(Self)
    }
}

fn main() -> anyhow::Result<()> {
    let session = Session::new(Registry::default().online::<Plain>());
    let folder = tempfile::tempdir()?;
    let mut settings = session.small_world(folder.path(), "plain")?;
    settings.set("train.iterations=10")?;
    let points = session.fit_and_measure(&settings, &folder.path().join("run"))?;
    print!("{}", rlhf::report::table(&points));
    Ok(())
}
