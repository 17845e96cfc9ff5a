//! Trains with a custom prior: `cargo run --release --example own_prior`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use rlhf::experiment::{Registry, Session};
use rlhf::objective::{LogDist, NoSettings, PerToken, Prior, Result, Sequences};
use rlhf::prior::{PriorContext, PriorKind, PriorPlan};

/// Token 0 has probability 1/2; the other tokens share the rest equally.
struct Half(Vec<f32>);

impl Prior for Half {
    fn log_probs(&mut self, s: &Sequences) -> Result<PerToken> {
        let ids = s.responses().iter().flat_map(|y| &y.ids);
        PerToken::from_vec(ids.map(|id| self.0[*id as usize]).collect(), s.offsets())
    }
    fn log_dist(&mut self, _: &Sequences, rows: std::ops::Range<usize>) -> Result<LogDist<'_>> {
        LogDist::of_log_probs(self.0.repeat(rows.len()), self.0.len())
    }
}

impl PriorKind for Half {
    type Settings = NoSettings;
    const NAME: &'static str = "half";
    const ABOUT: &'static str = "token 0 with probability 1/2";
    fn plan(_: &NoSettings, run: &dyn PriorContext) -> Result<PriorPlan> {
        Ok(PriorPlan::over_vocabulary("half", run.model()?, |vocab| {
            let other = (0.5 / (vocab - 1) as f32).ln();
            Self(
                (0..vocab)
                    .map(|id| if id == 0 { 0.5f32.ln() } else { other })
                    .collect(),
            )
        }))
    }
}

fn main() -> anyhow::Result<()> {
    let session = Session::new(Registry::default().prior::<Half>());
    let folder = tempfile::tempdir()?;
    let mut settings = session.small_world(folder.path(), "ppo-kl")?;
    settings.set("prior={ kind = \"half\" }")?;
    settings.set("train.iterations=10")?;
    let points = session.fit_and_measure(&settings, &folder.path().join("run"))?;
    print!("{}", rlhf::report::table(&points));
    Ok(())
}
