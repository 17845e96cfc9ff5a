//! Trains and evaluates with a custom reward: `cargo run --release --example own_reward`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use rlhf::experiment::{Registry, Session};
use rlhf::lm::Tokenizer;
use rlhf::objective::{NoSettings, PerSeq, Result, Reward, Sequences};
use rlhf::reward::RewardKind;

/// The reward is −1 for each token of a response.
struct Short;

impl Reward for Short {
    fn score(&mut self, s: &Sequences) -> Result<PerSeq> {
        let lengths = s.responses().iter().map(|y| y.ids.len() as f32);
        PerSeq::from_vec(lengths.map(|length| -length).collect())
    }
}

impl RewardKind for Short {
    type Settings = NoSettings;
    const NAME: &'static str = "short";
    const ABOUT: &'static str = "-1 for each token";
    fn reward(_: &NoSettings, _: &Tokenizer) -> Result<Box<dyn Reward>> {
        Ok(Box::new(Self))
    }
}

fn main() -> anyhow::Result<()> {
    let session = Session::new(Registry::default().reward::<Short>());
    let folder = tempfile::tempdir()?;
    let mut settings = session.small_world(folder.path(), "rloo")?;
    settings.set("reward={ kind = \"short\" }")?;
    settings.set("train.iterations=10")?;
    let points = session.fit_and_measure(&settings, &folder.path().join("run"))?;
    print!("{}", rlhf::report::table(&points));
    Ok(())
}
