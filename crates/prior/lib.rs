//! The priors p₀. Methods use them through [`Prior`](rlhf_objective::Prior) only.
//!
//! | prior | −KL(π ‖ p₀) |
//! |---|---|
//! | [`Counting`] | the entropy of the response |
//! | [`Uniform`] | the entropy of the response − its length · log V |
//! | [`Frozen`] | minus the KL to a frozen model, pretrained or fitted to demonstrations |
//! | [`Mixture`] | minus the KL to a mean of two priors |
//! | [`Smoothed`] | minus the KL to a prior mixed with the uniform distribution at every token |

#![forbid(unsafe_code)]

mod constant_weight;
mod counting;
mod demonstrations;
mod frozen;
mod kind;
mod kinds;
mod mean;
mod mixture;
mod mixture_decoder;
mod mixture_kind;
mod reference;
mod smoothed;
mod uniform;

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod exact_optimum_tests;

pub use counting::{Counting, CountingKind};
pub use demonstrations::{DemonstrationsKind, DemonstrationsSettings};
pub use frozen::Frozen;
pub use kind::{
    Fit, FitSettings, FrozenNetworks, Load, Loaded, PathTo, PriorContext, PriorKind, PriorKinds,
    PriorPlan,
};
pub use kinds::add_all;
pub use mixture::Mixture;
pub use mixture_kind::{MeanName, MixtureKind, MixtureSettings};
pub use reference::{ReferenceKind, ReferenceSettings};
pub use smoothed::Smoothed;
pub use uniform::{Uniform, UniformKind};

/// A pretrained model as the prior: the KL of RLHF.
pub type Reference = Frozen;

/// A model fitted to demonstrations as the prior: imitation-bootstrapped RL.
pub type Demonstrations = Frozen;
