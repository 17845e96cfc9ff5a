//! A pretrained model as the prior.

use crate::Frozen;
use crate::kind::{PathTo, PriorContext, PriorKind, PriorPlan};
use rlhf_objective::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The settings of the kind `reference`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceSettings {
    /// Its checkpoint; by default the model that the policy starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
}

/// A frozen pretrained model: the KL of RLHF.
#[derive(Debug, Clone, Copy)]
pub struct ReferenceKind;

impl PriorKind for ReferenceKind {
    type Settings = ReferenceSettings;

    const NAME: &'static str = "reference";
    const ABOUT: &'static str = "a frozen model, by default the one that the policy starts from";
    const PATHS: &'static [(&'static str, PathTo)] = &[("model", PathTo::Model)];

    fn plan(settings: &ReferenceSettings, context: &dyn PriorContext) -> Result<PriorPlan> {
        let folder = match &settings.model {
            Some(folder) => folder.clone(),
            None => context.model()?,
        };
        Ok(frozen(Self::NAME, folder))
    }
}

/// The plan of a frozen network, written `symbol` in formulas.
pub(crate) fn frozen(symbol: &'static str, folder: PathBuf) -> PriorPlan {
    PriorPlan {
        symbol: Some(symbol),
        description: format!("{symbol}: {}, frozen", folder.display()),
        normalized: true,
        folders: vec![folder.clone()],
        load: Box::new(move |networks| {
            let prior = Frozen::new(networks.network(&folder)?)?;
            let checksums = prior.checksums();
            Ok((Box::new(prior), vec![checksums]))
        }),
    }
}
