//! A model of demonstrations as the prior.

use crate::Smoothed;
use crate::kind::{Fit, FitSettings, PathTo, PriorContext, PriorKind, PriorPlan, refuse};
use crate::reference::frozen;
use rlhf_objective::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The weight of the uniform distribution in a prior that is fitted on the spot.
const SMOOTHING: f64 = 1e-3;

/// `[prior]` of demonstrations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemonstrationsSettings {
    /// A checkpoint that was fitted to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// The demonstrations that a copy of the model is fitted to, before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// The weight of the uniform distribution mixed into each token of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// How it is fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<FitSettings>,
}

/// A frozen model fitted to demonstrations: imitation-bootstrapped RL.
#[derive(Debug, Clone, Copy)]
pub struct DemonstrationsKind;

impl PriorKind for DemonstrationsKind {
    type Settings = DemonstrationsSettings;

    const NAME: &'static str = "demonstrations";
    const ABOUT: &'static str = "a frozen model of demonstrations, fitted before the run or given";
    const PATHS: &'static [(&'static str, PathTo)] =
        &[("model", PathTo::Model), ("data", PathTo::Data)];

    fn complete(settings: &mut DemonstrationsSettings) {
        if settings.data.is_some() {
            settings.fit.get_or_insert_default();
            settings.smoothing.get_or_insert(SMOOTHING);
        }
    }

    fn fit(settings: &DemonstrationsSettings) -> Option<Fit> {
        Some(Fit {
            data: settings.data.clone()?,
            settings: settings.fit.unwrap_or_default(),
        })
    }

    fn plan(settings: &DemonstrationsSettings, context: &dyn PriorContext) -> Result<PriorPlan> {
        let plan = match (&settings.model, &settings.data) {
            (Some(_), None) if settings.fit.is_some() => {
                return refuse(
                    "prior.fit means nothing to a prior that is fitted already: remove it, or give \
                     prior.data in place of prior.model",
                );
            }
            (Some(folder), None) => frozen(Self::NAME, folder.clone()),
            (None, Some(data)) => fitted(data, context)?,
            (Some(_), Some(_)) => {
                return refuse(
                    "[prior] has a model and data: give the checkpoint of demonstrations, or the file \
                     to fit one to, not both",
                );
            }
            (None, None) => {
                return refuse(
                    "[prior] kind = \"demonstrations\" has no source: give --prior FILE or prior.data, \
                     demonstrations to fit a copy of the model to; or --prior FOLDER or prior.model, a \
                     checkpoint made with `rlhf train --objective sft`",
                );
            }
        };
        smoothed(plan, settings.smoothing.unwrap_or(0.0), context)
    }
}

/// A copy of the model, fitted to demonstrations before the run. Until it is, the model stands for it
/// where headers are read.
fn fitted(data: &Path, context: &dyn PriorContext) -> Result<PriorPlan> {
    let (model, place) = (context.model()?, context.fitted());
    let words = format!(
        "demonstrations: a copy of {}, fitted to {} before the run, frozen",
        model.display(),
        data.display()
    );
    if let Some(folder) = place.clone().filter(|folder| folder.exists()) {
        let plan = frozen(DemonstrationsKind::NAME, folder);
        return Ok(PriorPlan { words, ..plan });
    }
    Ok(PriorPlan {
        symbol: Some(DemonstrationsKind::NAME),
        words,
        normalized: true,
        folders: vec![model],
        load: Box::new(move |_| match place {
            Some(folder) => refuse(format!(
                "the prior is not fitted: there is no {}",
                folder.display()
            )),
            None => refuse("the prior is fitted inside a run folder, and there is none"),
        }),
    })
}

/// The same, able to say every token, where the settings ask for it.
fn smoothed(plan: PriorPlan, weight: f64, context: &dyn PriorContext) -> Result<PriorPlan> {
    if weight == 0.0 {
        return Ok(plan);
    }
    if !(weight > 0.0 && weight < 1.0) {
        return refuse(format!(
            "prior.smoothing = {weight}: the weight of the uniform distribution, from 0 and below 1"
        ));
    }
    let (model, inner) = (context.model()?, plan.load);
    Ok(PriorPlan {
        words: format!(
            "{}; each token {} × (this) and {weight} × (uniform), so that none is forbidden",
            plan.words,
            1.0 - weight
        ),
        load: Box::new(move |networks| {
            let (prior, checksums) = inner(networks)?;
            let vocab = networks.vocab(&model)?;
            Ok((Box::new(Smoothed::new(prior, vocab, weight)?), checksums))
        }),
        ..plan
    })
}
