//! Two priors mixed, as settings say it.

use crate::Mixture;
use crate::kind::{PriorContext, PriorKind, PriorPlan, refuse};
use rlhf_objective::Result;
use serde::{Deserialize, Serialize};

/// `[prior]` of a mixture, without its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureSettings {
    /// Which mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<MeanName>,
    /// The weight of the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// The mean of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeanName {
    /// Of the log-probs of each token, renormalized.
    Geometric,
    /// Of the probabilities of whole responses.
    Arithmetic,
}

/// A mean of two priors.
#[derive(Debug, Clone, Copy)]
pub struct MixtureKind;

impl PriorKind for MixtureKind {
    type Settings = MixtureSettings;

    const NAME: &'static str = "mixture";
    const ABOUT: &'static str = "a geometric or arithmetic mean of two priors";
    const PARTS: &'static [&'static str] = &["first", "second"];

    fn plan(settings: &MixtureSettings, context: &dyn PriorContext) -> Result<PriorPlan> {
        let (first, second) = (part("first", context)?, part("second", context)?);
        let Some(mean) = settings.mean else {
            return refuse("a mixture has no prior.mean: \"geometric\" or \"arithmetic\"");
        };
        let weight = settings.weight.unwrap_or(0.5);
        if !(weight > 0.0 && weight < 1.0) {
            return refuse(format!(
                "prior.weight = {weight}: the weight of the second prior, between 0 and 1"
            ));
        }
        let (what, mix): (_, fn(_, _, _) -> _) = match mean {
            MeanName::Geometric => ("geometric per token", Mixture::geometric_per_token),
            MeanName::Arithmetic => (
                "arithmetic over sequences",
                Mixture::arithmetic_over_sequences,
            ),
        };
        Ok(PriorPlan {
            symbol: Some(Self::NAME),
            words: format!(
                "mixture, {what}, of {} × ({}) and {weight} × ({})",
                1.0 - weight,
                first.words,
                second.words
            ),
            normalized: true,
            folders: [first.folders.clone(), second.folders.clone()].concat(),
            load: Box::new(move |networks| {
                let (first, mut checksums) = first.load(networks)?;
                let (second, more) = second.load(networks)?;
                checksums.extend(more);
                Ok((Box::new(mix(first, second, weight)?), checksums))
            }),
        })
    }
}

fn part(key: &str, context: &dyn PriorContext) -> Result<PriorPlan> {
    match context.part(key)? {
        None => refuse(format!(
            "a mixture has no prior.{key}: give one, as in {key} = {{ kind = \"uniform\" }}"
        )),
        Some(plan) if plan.symbol.is_none() => refuse(format!(
            "prior.{key}: the counting prior is not a distribution and cannot be mixed; the uniform \
             prior can"
        )),
        Some(plan) => Ok(plan),
    }
}
