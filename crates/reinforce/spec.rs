//! The registry entries of RLOO, GRPO, REINFORCE and VarGrad: defaults, checks, help and optima.

use crate::{
    Baseline, GradientConfig, KlPlacement, MovingConfig, PolicyGradient, VarGrad, VarGradConfig,
};
use rlhf_objective::{Beta, LocalKl, Result};
use rlhf_train::{Defaults, MethodSpec, ObjectiveTerms, OnlineSpec, RunShape, Updates};

/// The defaults of methods that compare the responses to a prompt.
fn group_defaults() -> Defaults {
    Defaults {
        samples_per_prompt: 4,
        ..Defaults::default()
    }
}

/// The registry entry of RLOO: the baseline is the mean of the other responses to the prompt.
#[derive(Debug, Clone, Copy)]
pub struct RlooSpec;

impl MethodSpec for RlooSpec {
    type Settings = GradientConfig;

    const NAME: &'static str = "rloo";
    const ABOUT: &'static str =
        "The policy gradient with the mean of the prompt's other responses as baseline";
    const MIN_RESPONSES_PER_PROMPT: usize = 2;

    fn defaults() -> Defaults {
        group_defaults()
    }

    fn optimum(settings: &GradientConfig, terms: &ObjectiveTerms<'_>) -> String {
        local_optimum(settings.kl, terms, "").unwrap_or_else(|| terms.optimum())
    }
}

impl OnlineSpec for RlooSpec {
    type Method = PolicyGradient;

    fn method(settings: &GradientConfig) -> Result<PolicyGradient> {
        PolicyGradient::new(Baseline::LeaveOneOut, settings.kl)
    }
}

/// The registry entry of GRPO: scores are normalized within their group.
#[derive(Debug, Clone, Copy)]
pub struct GrpoSpec;

impl MethodSpec for GrpoSpec {
    type Settings = GradientConfig;

    const NAME: &'static str = "grpo";
    const ABOUT: &'static str =
        "The policy gradient with scores divided by the standard deviation of their group";
    const MIN_RESPONSES_PER_PROMPT: usize = 2;

    fn defaults() -> Defaults {
        group_defaults()
    }

    fn optimum(settings: &GradientConfig, terms: &ObjectiveTerms<'_>) -> String {
        let scale = ", divided by the standard deviation of the prompt's scores";
        if let Some(local) = local_optimum(settings.kl, terms, scale) {
            return local;
        }
        match terms.beta {
            Beta::Fixed(beta) if *beta > 0.0 => format!(
                "not π*: π(y|x) ∝ {}exp(r/({beta}·σ)), σ the standard deviation of the prompt's \
                 scores under π: another β for each prompt",
                terms.weight()
            ),
            _ => terms.optimum(),
        }
    }
}

impl OnlineSpec for GrpoSpec {
    type Method = PolicyGradient;

    fn method(settings: &GradientConfig) -> Result<PolicyGradient> {
        PolicyGradient::new(Baseline::Group, settings.kl)
    }
}

/// The registry entry of REINFORCE with a moving baseline.
#[derive(Debug, Clone, Copy)]
pub struct ReinforceSpec;

impl MethodSpec for ReinforceSpec {
    type Settings = MovingConfig;

    const NAME: &'static str = "reinforce";
    const ABOUT: &'static str = "The policy gradient with a moving baseline";

    fn check(settings: &MovingConfig, _: &RunShape) -> Result<()> {
        settings.check()
    }

    fn optimum(settings: &MovingConfig, terms: &ObjectiveTerms<'_>) -> String {
        local_optimum(settings.kl, terms, "").unwrap_or_else(|| terms.optimum())
    }
}

impl OnlineSpec for ReinforceSpec {
    type Method = PolicyGradient;

    fn method(settings: &MovingConfig) -> Result<PolicyGradient> {
        let MovingConfig { decay, kl } = *settings;
        PolicyGradient::new(Baseline::Moving { decay }, kl)
    }
}

/// The registry entry of VarGrad.
#[derive(Debug, Clone, Copy)]
pub struct VarGradSpec;

impl MethodSpec for VarGradSpec {
    type Settings = VarGradConfig;

    const NAME: &'static str = "vargrad";
    const ABOUT: &'static str =
        "Minimizes the variance of r − β·log(π/prior) among the responses to a prompt";
    const ALLOWS_ZERO_BETA: bool = false;
    const MIN_RESPONSES_PER_PROMPT: usize = 2;

    fn defaults() -> Defaults {
        group_defaults()
    }

    fn check(settings: &VarGradConfig, run: &RunShape) -> Result<()> {
        settings.check()?;
        RunShape::check_minibatches(settings.minibatches, run.prompts, "prompts")
    }
}

impl OnlineSpec for VarGradSpec {
    type Method = VarGrad;

    fn method(settings: &VarGradConfig) -> Result<VarGrad> {
        VarGrad::new(*settings)
    }

    fn updates(settings: &VarGradConfig) -> Updates {
        Updates {
            epochs: settings.epochs,
            minibatches: settings.minibatches,
            may_stop_early: false,
        }
    }
}

/// The optimum under a per-token KL penalty in the loss; `None` where the KL is in the reward, or
/// β is 0. `scale` describes a scaling of Q.
fn local_optimum(kl: KlPlacement, terms: &ObjectiveTerms<'_>, scale: &str) -> Option<String> {
    let KlPlacement::Loss(kl) = kl else {
        return None;
    };
    if terms.beta.value() == 0.0 {
        return None;
    }
    let policy = match (kl, terms.prior) {
        (LocalKl::LocalKl | LocalKl::LocalK2, Some(prior)) => {
            format!("π(a|s) ∝ {prior}(a|s)·exp(Q/β)")
        }
        (LocalKl::LocalKl | LocalKl::LocalK2, None) => "π(a|s) ∝ exp(Q/β)".into(),
        (LocalKl::LocalK3, Some(prior)) => {
            format!("π(a|s) = β·{prior}(a|s)/(μ(s) − Q), of the forward KL")
        }
        (LocalKl::LocalK3, None) => "π(a|s) = β/(μ(s) − Q), of the forward KL".into(),
    };
    Some(format!(
        "not π*: {policy}, Q the expected reward after a under π{scale}; a per-token penalty \
        ignores that a token changes the KL of later tokens"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_optima_depend_on_the_placement_of_the_kl() {
        let beta = Beta::Fixed(0.05);
        let terms = |prior| ObjectiveTerms {
            objective: "x",
            beta: &beta,
            prior,
        };
        let (reference, counting) = (terms(Some("reference")), terms(None));
        let gradient = |kl| GradientConfig { kl };
        let moving = |kl| MovingConfig {
            kl,
            ..MovingConfig::default()
        };
        let loss = KlPlacement::Loss;
        for (line, expected) in [
            (
                RlooSpec::optimum(&gradient(loss(LocalKl::LocalK2)), &reference),
                "not π*: π(a|s) ∝ reference(a|s)·exp(Q/β)",
            ),
            (
                RlooSpec::optimum(&gradient(loss(LocalKl::LocalKl)), &counting),
                "not π*: π(a|s) ∝ exp(Q/β)",
            ),
            (
                ReinforceSpec::optimum(&moving(loss(LocalKl::LocalK3)), &counting),
                "not π*: π(a|s) = β/(μ(s) − Q)",
            ),
            (
                GrpoSpec::optimum(&gradient(loss(LocalKl::LocalK3)), &reference),
                "divided by the standard deviation",
            ),
            (
                RlooSpec::optimum(&gradient(KlPlacement::Reward), &reference),
                "π*(y|x) ∝ reference(y|x)·exp(r/0.05)",
            ),
            (
                GrpoSpec::optimum(&gradient(KlPlacement::Reward), &reference),
                "not π*: π(y|x) ∝ reference(y|x)·exp(r/(0.05·σ))",
            ),
        ] {
            assert!(line.contains(expected), "{line}");
        }
    }
}
