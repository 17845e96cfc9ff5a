//! The declaration of the method `reward`, which fits a reward model.

use crate::{BradleyTerry, BradleyTerryConfig, PairBatch, PairSource};
use rlhf_objective::{Dataset, Pairs, Result};
use rlhf_train::{
    DataPasses, Defaults, LearnsFrom, MethodSpec, ObjectiveTerms, OfflineSpec, PriorUse, RowField,
    RunShape,
};

/// The method `reward`.
#[derive(Debug, Clone, Copy)]
pub struct BradleyTerrySpec;

impl MethodSpec for BradleyTerrySpec {
    type Settings = BradleyTerryConfig;

    const NAME: &'static str = "reward";
    const ABOUT: &'static str = "A reward model, fitted to preference pairs";
    const LEARNS_FROM: LearnsFrom = LearnsFrom::Pairs;
    const PRIOR: PriorUse = PriorUse::Scale;
    const ROW_FIELDS: &'static [RowField] = &[RowField::Margin, RowField::Label];

    fn defaults() -> Defaults {
        Defaults {
            beta: 0.0,
            warmup: 0.1,
            ..Defaults::default()
        }
    }

    fn check(settings: &BradleyTerryConfig, _: &RunShape) -> Result<()> {
        settings.check()
    }

    fn summary(_: &BradleyTerryConfig, terms: &ObjectiveTerms<'_>) -> String {
        format!(
            "{}: maximum likelihood of the preferences under the Bradley–Terry model",
            terms.objective
        )
    }
}

impl OfflineSpec for BradleyTerrySpec {
    type Data = Box<dyn Dataset>;
    type HeldOut = Pairs;
    type Learner = BradleyTerry;
    type Source = PairSource;

    fn learner(settings: &BradleyTerryConfig) -> Result<BradleyTerry> {
        BradleyTerry::new(settings)
    }

    fn source(
        settings: &BradleyTerryConfig,
        data: Box<dyn Dataset>,
        passes: &DataPasses,
    ) -> Result<PairSource> {
        let size = passes.items(Self::BATCH_UNIT)?;
        PairSource::new(data, settings, size, passes.epochs, passes.seed)
    }

    fn held_out(settings: &BradleyTerryConfig, data: Pairs) -> Result<PairBatch> {
        PairBatch::new(data, settings)
    }
}
