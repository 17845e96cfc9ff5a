//! What is said about the methods of this folder.

use crate::{
    Baseline, GradientConfig, KlPlacement, MovingConfig, PolicyGradient, VarGrad, VarGradConfig,
};
use rlhf_objective::{Beta, LocalKl, Result};
use rlhf_train::{Defaults, MethodSpec, ObjectiveTerms, OnlineSpec, RunShape, Updates};

/// What compares the responses to a prompt draws four of them.
fn several() -> Defaults {
    Defaults {
        samples_per_prompt: 4,
        ..Defaults::default()
    }
}

/// RLOO: each response is compared with the others to its prompt.
#[derive(Debug, Clone, Copy)]
pub struct RlooSpec;

impl MethodSpec for RlooSpec {
    type Settings = GradientConfig;

    const NAME: &'static str = "rloo";
    const ABOUT: &'static str =
        "The policy gradient, each response compared with the others to its prompt";
    const MIN_RESPONSES_PER_PROMPT: usize = 2;

    fn defaults() -> Defaults {
        several()
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

/// GRPO: scores are measured in the spread of their group.
#[derive(Debug, Clone, Copy)]
pub struct GrpoSpec;

impl MethodSpec for GrpoSpec {
    type Settings = GradientConfig;

    const NAME: &'static str = "grpo";
    const ABOUT: &'static str =
        "The policy gradient with scores measured in the spread of their group";
    const MIN_RESPONSES_PER_PROMPT: usize = 2;

    fn defaults() -> Defaults {
        several()
    }

    fn optimum(settings: &GradientConfig, terms: &ObjectiveTerms<'_>) -> String {
        let scale = ", divided by the spread of the prompt's scores";
        if let Some(local) = local_optimum(settings.kl, terms, scale) {
            return local;
        }
        match terms.beta {
            Beta::Fixed(beta) if *beta > 0.0 => format!(
                "not π*: π(y|x) ∝ {}exp(r/({beta}·σ)), σ the standard deviation of the prompt's \
                 scores under π, so that each prompt has a β of its own",
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

/// REINFORCE with a moving baseline.
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

/// VarGrad.
#[derive(Debug, Clone, Copy)]
pub struct VarGradSpec;

impl MethodSpec for VarGradSpec {
    type Settings = VarGradConfig;

    const NAME: &'static str = "vargrad";
    const ABOUT: &'static str =
        "The least variance of reward minus KL among the responses to a prompt";
    const ALLOWS_ZERO_BETA: bool = false;
    const MIN_RESPONSES_PER_PROMPT: usize = 2;

    fn defaults() -> Defaults {
        several()
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

/// Where a penalty on each token alone comes to rest; `None` where the KL is paid in the reward, or not
/// at all. `scale` is what else is done to Q.
fn local_optimum(kl: KlPlacement, terms: &ObjectiveTerms<'_>, scale: &str) -> Option<String> {
    let KlPlacement::Loss(kl) = kl else {
        return None;
    };
    if terms.beta.value() == 0.0 {
        return None;
    }
    let rest = match (kl, terms.prior) {
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
        "not π*: {rest}, Q the reward to come after a under π{scale}; a token's penalty forgets \
         that the token changes the KL of later ones"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_in_the_loss_has_another_target() {
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
                "divided by the spread",
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
