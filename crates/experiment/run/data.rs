//! What methods learn from, as they want it.

use super::RunContext;
use crate::dataset::{Parts, all_pairs, all_unpaired_preferences, some_held_out};
use crate::lengths::context;
use anyhow::Result;
use rlhf_data::{SharedNotes, StreamingDataset};
use rlhf_dpo::{ResponseSet, UnpairedPreferences};
use rlhf_objective::{Dataset, Pairs, PairsWithPrior, Sequences};

/// The data of an offline run.
pub struct OfflineData<D, H> {
    /// What its batches are made of.
    pub train: D,
    /// What it is measured on at the end, where anything was held out.
    pub held_out: Option<H>,
    /// What is noted of rows that are read by later steps.
    pub(crate) later: SharedNotes,
    /// The held-out pairs, for who measures them otherwise too.
    pub(crate) pairs: Option<Pairs>,
}

/// Data that the settings of a run give.
pub trait OpenData: Sized {
    /// Takes them from the data that were opened.
    ///
    /// # Errors
    /// If a row cannot be read, or the prior does not know a response.
    fn open(parts: Parts<StreamingDataset>, run: &RunContext<'_>) -> Result<Self>;
}

/// Nothing is read by later steps.
fn nothing_later() -> SharedNotes {
    SharedNotes::default()
}

impl OpenData for OfflineData<PairsWithPrior, PairsWithPrior> {
    fn open(parts: Parts<StreamingDataset>, run: &RunContext<'_>) -> Result<Self> {
        let mut pass = run.prior_pass()?;
        let mut with_prior = |part, corpus| pass.pairs(part, all_pairs(run.config(), corpus)?);
        let held_out = match parts.held_out.count() == 0 {
            true => None,
            false => Some(with_prior("held-out", parts.held_out)?),
        };
        Ok(Self {
            train: with_prior("train", parts.train)?,
            held_out,
            later: nothing_later(),
            pairs: None,
        })
    }
}

impl OpenData for OfflineData<UnpairedPreferences, UnpairedPreferences> {
    fn open(parts: Parts<StreamingDataset>, run: &RunContext<'_>) -> Result<Self> {
        let config = run.config();
        let mut pass = run.prior_pass()?;
        let context = context(config, &run.vocabulary)?;
        let mut with_prior = |part: &str, corpus| {
            let (answers, liked) = all_unpaired_preferences(config, corpus)?;
            let beta = pass.penalty.beta().value();
            UnpairedPreferences::with_prior(answers, liked, beta, context, &mut |of, sequences| {
                match of {
                    ResponseSet::Labelled => pass.log_probs(part, sequences),
                    ResponseSet::Mismatched => {
                        pass.log_probs(&format!("{part}-mismatched"), sequences)
                    }
                }
            })
        };
        // One answer alone has no other to say where its reference point is.
        let held_out = match parts.held_out.responses() {
            0 | 1 => None,
            _ => Some(with_prior("held-out", parts.held_out)?),
        };
        Ok(Self {
            train: with_prior("train", parts.train)?,
            held_out,
            later: nothing_later(),
            pairs: None,
        })
    }
}

impl OpenData for OfflineData<Box<dyn Dataset>, Sequences> {
    fn open(mut parts: Parts<StreamingDataset>, run: &RunContext<'_>) -> Result<Self> {
        let held_out = some_held_out(run.config(), &mut parts.held_out)?;
        Ok(Self {
            later: parts.train.step_notes(),
            train: Box::new(parts.train),
            held_out: (!held_out.is_empty()).then_some(held_out),
            pairs: None,
        })
    }
}

impl OpenData for OfflineData<Box<dyn Dataset>, Pairs> {
    fn open(mut parts: Parts<StreamingDataset>, run: &RunContext<'_>) -> Result<Self> {
        let held_out = Pairs::new(some_held_out(run.config(), &mut parts.held_out)?)?;
        let held_out = (!held_out.is_empty()).then_some(held_out);
        Ok(Self {
            later: parts.train.step_notes(),
            train: Box::new(parts.train),
            pairs: held_out.clone(),
            held_out,
        })
    }
}
