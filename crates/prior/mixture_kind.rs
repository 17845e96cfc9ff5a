//! The kind `mixture`: its settings and its construction.

use crate::Mixture;
use crate::kind::{PriorContext, PriorKind, PriorPlan, invalid};
use rlhf_objective::Result;
use serde::{Deserialize, Serialize};

/// The settings of the kind `mixture`, without its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureSettings {
    /// Which mean is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<MeanName>,
    /// The weight of the second prior.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// The mean of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeanName {
    /// The normalized geometric mean of the probabilities of each token.
    Geometric,
    /// The arithmetic mean of the probabilities of whole responses.
    Arithmetic,
}

/// The kind `mixture`.
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
            return invalid("prior.mean is missing: set it to \"geometric\" or \"arithmetic\"");
        };
        let weight = settings.weight.unwrap_or(0.5);
        if !(weight > 0.0 && weight < 1.0) {
            return invalid(format!(
                "prior.weight = {weight} is not valid: it must be between 0 and 1, both excluded"
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
            description: format!(
                "mixture, {what}, of {} × ({}) and {weight} × ({})",
                1.0 - weight,
                first.description,
                second.description
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
        None => invalid(format!(
            "prior.{key} is missing: give a prior, as in {key} = {{ kind = \"uniform\" }}"
        )),
        Some(plan) if plan.symbol.is_none() => invalid(format!(
            "prior.{key}: the counting prior cannot be mixed, because it is not a distribution. Use \
            the uniform prior"
        )),
        Some(plan) => Ok(plan),
    }
}
