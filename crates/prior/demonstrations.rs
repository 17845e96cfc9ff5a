//! A model fitted to demonstrations as the prior.

use crate::Smoothed;
use crate::kind::{Fit, FitSettings, PathTo, PriorContext, PriorKind, PriorPlan, invalid};
use crate::reference::frozen;
use rlhf_objective::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The default weight of the uniform distribution in a prior that is fitted before the run.
const DEFAULT_SMOOTHING: f64 = 1e-3;

/// The settings of the kind `demonstrations`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemonstrationsSettings {
    /// A checkpoint that was fitted to demonstrations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// The demonstrations to which a copy of the model is fitted before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// The weight of the uniform distribution that is mixed in at each token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// The settings of the fit.
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
            settings.smoothing.get_or_insert(DEFAULT_SMOOTHING);
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
                return invalid(
                    "prior.fit is not used with prior.model, which is fitted already: remove it, or \
                    replace prior.model by prior.data",
                );
            }
            (Some(folder), None) => frozen(Self::NAME, folder.clone()),
            (None, Some(data)) => fitted(data, context)?,
            (Some(_), Some(_)) => {
                return invalid(
                    "[prior] has both a model and data: give either a checkpoint fitted to \
                    demonstrations, or the demonstrations to fit one to",
                );
            }
            (None, None) => {
                return invalid(
                    "[prior] kind = \"demonstrations\" has no source: give demonstrations, to which a \
                    copy of the model is fitted (--prior FILE or prior.data), or a checkpoint made \
                    with `rlhf train --objective sft` (--prior FOLDER or prior.model)",
                );
            }
        };
        smoothed(plan, settings.smoothing.unwrap_or(0.0), context)
    }
}

/// The plan of a copy of the model that is fitted to demonstrations before the run. Until then
/// `folders` names the model itself, whose `config.json` is the same.
fn fitted(data: &Path, context: &dyn PriorContext) -> Result<PriorPlan> {
    let (model, fitted_folder) = (context.model()?, context.fitted());
    let description = format!(
        "demonstrations: a copy of {}, fitted to {} before the run, frozen",
        model.display(),
        data.display()
    );
    if let Some(folder) = fitted_folder.clone().filter(|folder| folder.exists()) {
        let plan = frozen(DemonstrationsKind::NAME, folder);
        return Ok(PriorPlan {
            description,
            ..plan
        });
    }
    Ok(PriorPlan {
        symbol: Some(DemonstrationsKind::NAME),
        description,
        normalized: true,
        folders: vec![model],
        load: Box::new(move |_| match fitted_folder {
            Some(folder) => invalid(format!(
                "the prior is not fitted yet: {} does not exist",
                folder.display()
            )),
            None => invalid("the prior is fitted in the run folder, and this run has none"),
        }),
    })
}

/// The plan of [`Smoothed`], if the weight is not 0.
fn smoothed(plan: PriorPlan, weight: f64, context: &dyn PriorContext) -> Result<PriorPlan> {
    if weight == 0.0 {
        return Ok(plan);
    }
    if !(weight > 0.0 && weight < 1.0) {
        return invalid(format!(
            "prior.smoothing = {weight} is not valid: it must be at least 0 and less than 1"
        ));
    }
    let (model, inner) = (context.model()?, plan.load);
    Ok(PriorPlan {
        description: format!(
            "{}; at each token {} × (this) + {weight} × (uniform), so that every token is possible",
            plan.description,
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
