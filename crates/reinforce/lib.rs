//! Policy gradients without a critic, and VarGrad: methods that compare whole responses.
//!
//! With f(y) = r(x, y) − β·ℓ(y), ℓ(y) = log π(y|x) − log p₀(y|x), the gradient of the objective is
//! E\[(f(y) − b)·∇log π(y|x)\] for any b that does not depend on y. A response of the optimum π* has
//! f(y) = β·log Z whatever it is: there, what is compared is equal.
//!
//! | method | b, or what is done | at rest |
//! |---|---|---|
//! | [`Baseline::LeaveOneOut`] | the mean of the *other* responses to the prompt | π* |
//! | [`Baseline::Moving`] | a moving mean over iterations | π* |
//! | [`Baseline::Group`] | the group's mean, the score divided by its standard deviation | β differs by prompt |
//! | [`VarGrad`] | minimizes the variance of f over a group | π*, from any sampler |
//!
//! Policy gradients can also pay the KL in the loss, token by token ([`KlPlacement`]); then they rest
//! elsewhere.

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
