//! The registry entry of supervised fine-tuning.

use crate::{Batch, DemonstrationSource, Sft};
use rlhf_objective::{Dataset, NoSettings, Result, Sequences};
use rlhf_train::{
    BatchUnit, DataPasses, Defaults, LearnsFrom, MethodSpec, ObjectiveTerms, OfflineSpec, PriorUse,
};

/// The registry entry of supervised fine-tuning.
#[derive(Debug, Clone, Copy)]
pub struct SftSpec;

impl MethodSpec for SftSpec {
    type Settings = NoSettings;

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

    fn summary(_: &NoSettings, terms: &ObjectiveTerms<'_>) -> String {
        format!(
            "{}: maximize the likelihood of the demonstrations",
            terms.objective
        )
    }
}

impl OfflineSpec for SftSpec {
    const BATCH_UNIT: BatchUnit = BatchUnit::ItemsOrTokens("response");

    type Data = Box<dyn Dataset>;
    type HeldOut = Sequences;
    type Learner = Sft;
    type Source = DemonstrationSource;

    fn learner(_: &NoSettings) -> Result<Sft> {
        Ok(Sft)
    }

    fn source(
        _: &NoSettings,
        data: Box<dyn Dataset>,
        passes: &DataPasses,
    ) -> Result<DemonstrationSource> {
        DemonstrationSource::new(data, passes.batch_size, passes.epochs, passes.seed)
    }

    fn held_out(_: &NoSettings, data: Sequences) -> Result<Batch> {
        Batch::new(data)
    }
}
