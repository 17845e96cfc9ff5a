//! Converts the opened data into the types that offline methods learn from.

use super::RunContext;
use crate::dataset::{Splits, all_pairs, all_unpaired_preferences, held_out_items};
use crate::lengths::context;
use anyhow::Result;
use rlhf_data::{SharedNotes, StreamingDataset};
use rlhf_dpo::{ResponseSet, UnpairedPreferences};
use rlhf_objective::{Dataset, Pairs, PairsWithPrior, Sequences};

/// The data of an offline run.
pub struct OfflineData<D, H> {
    /// The training data, from which batches are drawn.
    pub train: D,
    /// The held-out data to evaluate on at the end; `None` if nothing was held out.
    pub held_out: Option<H>,
    /// Notes about rows that are first read during training.
    pub(crate) later: SharedNotes,
    /// The held-out pairs, with which a reward model is calibrated.
    pub(crate) pairs: Option<Pairs>,
}

/// Data that can be made from the opened data of a run.
pub trait OpenData: Sized {
    /// Reads the data, and computes prior log-probs where the method needs them.
    ///
    /// # Errors
    /// If a row cannot be read, or a response has probability 0 under the prior.
    fn open(splits: Splits<StreamingDataset>, run: &RunContext<'_>) -> Result<Self>;
}

impl OpenData for OfflineData<PairsWithPrior, PairsWithPrior> {
    fn open(splits: Splits<StreamingDataset>, run: &RunContext<'_>) -> Result<Self> {
        let mut pass = run.prior_pass()?;
        let mut with_prior = |part, dataset| pass.pairs(part, all_pairs(run.config(), dataset)?);
        let held_out = if splits.held_out.count() == 0 {
            None
        } else {
            Some(with_prior("held-out", splits.held_out)?)
        };
        Ok(Self {
            train: with_prior("train", splits.train)?,
            held_out,
            later: SharedNotes::default(),
            pairs: None,
        })
    }
}

impl OpenData for OfflineData<UnpairedPreferences, UnpairedPreferences> {
    fn open(splits: Splits<StreamingDataset>, run: &RunContext<'_>) -> Result<Self> {
        let config = run.config();
        let mut pass = run.prior_pass()?;
        let context = context(config, &run.vocabulary)?;
        let mut with_prior = |part: &str, dataset| {
            let (responses, desirable) = all_unpaired_preferences(config, dataset)?;
            let beta = pass.penalty.beta().value();
            UnpairedPreferences::with_prior(
                responses,
                desirable,
                beta,
                context,
                &mut |set, sequences| match set {
                    ResponseSet::Labelled => pass.log_probs(part, sequences),
                    ResponseSet::Mismatched => {
                        pass.log_probs(&format!("{part}-mismatched"), sequences)
                    }
                },
            )
        };
        // KTO's reference point is estimated from mismatched responses, so it takes at least two.
        let held_out = match splits.held_out.responses() {
            0 | 1 => None,
            _ => Some(with_prior("held-out", splits.held_out)?),
        };
        Ok(Self {
            train: with_prior("train", splits.train)?,
            held_out,
            later: SharedNotes::default(),
            pairs: None,
        })
    }
}

impl OpenData for OfflineData<Box<dyn Dataset>, Sequences> {
    fn open(mut splits: Splits<StreamingDataset>, run: &RunContext<'_>) -> Result<Self> {
        let held_out = held_out_items(run.config(), &mut splits.held_out)?;
        Ok(Self {
            later: splits.train.step_notes(),
            train: Box::new(splits.train),
            held_out: (!held_out.is_empty()).then_some(held_out),
            pairs: None,
        })
    }
}

impl OpenData for OfflineData<Box<dyn Dataset>, Pairs> {
    fn open(mut splits: Splits<StreamingDataset>, run: &RunContext<'_>) -> Result<Self> {
        let held_out = Pairs::new(held_out_items(run.config(), &mut splits.held_out)?)?;
        let held_out = (!held_out.is_empty()).then_some(held_out);
        Ok(Self {
            later: splits.train.step_notes(),
            train: Box::new(splits.train),
            pairs: held_out.clone(),
            held_out,
        })
    }
}
