//! Policy gradients without a critic, and VarGrad: methods that compare whole responses of a prompt.
//!
//! With f(y) = r(x, y) − β·ℓ(y), ℓ(y) = log π(y|x) − log p₀(y|x), the gradient of the objective is
//! E\[(f(y) − b)·∇log π(y|x)\] for any baseline b that does not depend on y. At the optimum π*,
//! f(y) = β·log Z for every response y, so all responses to a prompt have equal f.
//!
//! | method | baseline b, or loss | optimum |
//! |---|---|---|
//! | [`Baseline::LeaveOneOut`] | the mean of the *other* responses to the prompt | π* |
//! | [`Baseline::Moving`] | a moving mean over iterations | π* |
//! | [`Baseline::Group`] | the group's mean, with scores divided by their standard deviation | π* of another β for each prompt |
//! | [`VarGrad`] | minimizes the variance of f over a group | π*, with any sampler |
//!
//! The KL penalty can also be in the loss, per token ([`KlPlacement`]); the optimum is then not π*.

#![forbid(unsafe_code)]

mod baseline;
mod config;
mod gradient;
mod groups;
mod spec;
mod vargrad;

#[cfg(test)]
mod exact_optimum_tests;
#[cfg(test)]
mod testing;

pub use baseline::{Baseline, MovingMean, group_normalized, leave_one_out};
pub use config::{GradientConfig, KlPlacement, MovingConfig, VarGradConfig};
pub use gradient::{GradientBatch, PolicyGradient};
pub use spec::{GrpoSpec, ReinforceSpec, RlooSpec, VarGradSpec};
pub use vargrad::{VarGrad, VarGradBatch};
