//! What is said about supervised fine-tuning.

use crate::{Batch, Config, DemonstrationSource, PerStep, Sft};
use rlhf_objective::{Dataset, Error, Result, Sequences};
use rlhf_train::{
    Aim, DataPasses, Defaults, LearnsFrom, MethodSpec, OfflineSpec, PriorUse, RunShape, StepSize,
};

/// Supervised fine-tuning, as a registry lists it.
#[derive(Debug, Clone, Copy)]
pub struct SftSpec;

impl MethodSpec for SftSpec {
    type Settings = Config;

    const NAME: &'static str = "sft";
    const ABOUT: &'static str = "Supervised fine-tuning";
    const LEARNS_FROM: LearnsFrom = LearnsFrom::Demonstrations;
    const PRIOR: PriorUse = PriorUse::Nothing;

    fn defaults() -> Defaults {
        Defaults {
            beta: 0.0,
            learning_rate: 2e-5,
            epochs: 3,
            ..Defaults::default()
        }
    }

    fn check(settings: &Config, _: &RunShape) -> Result<()> {
        match settings.per_step {
            PerStep::Sequences(0) | PerStep::Tokens(0) => Err(Error::Unsupported(
                "method.per_step = 0: must be at least 1".into(),
            )),
            PerStep::Sequences(_) | PerStep::Tokens(_) => Ok(()),
        }
    }

    fn summary(_: &Config, aim: &Aim<'_>) -> String {
        format!(
            "{}: maximum likelihood of the demonstrations",
            aim.objective
        )
    }
}

impl OfflineSpec for SftSpec {
    type Data = Box<dyn Dataset>;
    type HeldOut = Sequences;
    type Learner = Sft;
    type Source = DemonstrationSource;

    fn learner(_: &Config) -> Result<Sft> {
        Ok(Sft)
    }

    fn source(
        settings: &Config,
        data: Box<dyn Dataset>,
        passes: &DataPasses,
    ) -> Result<DemonstrationSource> {
        DemonstrationSource::new(data, settings.per_step, passes.epochs, passes.seed)
    }

    fn held_out(_: &Config, data: Sequences) -> Result<Batch> {
        Batch::new(data)
    }

    fn step_size(settings: &Config) -> StepSize {
        match settings.per_step {
            PerStep::Sequences(size) => StepSize::Items(size, "sequence"),
            PerStep::Tokens(most) => StepSize::Tokens(most),
        }
    }
}
