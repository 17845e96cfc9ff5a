//! The settings with which each method converges to its optimum.

use anyhow::{Context, Result, ensure};
use rlhf_train::LrSchedule;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The methods that can be trained on a tabular problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TabularMethod {
    /// PPO with one value per prefix.
    PpoKl,
    /// The policy gradient with a leave-one-out baseline.
    Rloo,
    /// The policy gradient with a moving-average baseline.
    Reinforce,
    /// The policy gradient with scores divided by their standard deviation. Its optimum is not π*.
    Grpo,
    /// Minimizes the variance of r − β·log(π/p₀).
    Vargrad,
    /// Direct preference optimization, on pairs labelled by Bradley and Terry's model.
    Dpo,
}

impl TabularMethod {
    /// All variants: name, value and description.
    pub const ALL: [(&'static str, Self, &'static str); 6] = [
        ("ppo-kl", Self::PpoKl, "PPO with one value per prefix"),
        (
            "rloo",
            Self::Rloo,
            "The policy gradient with a leave-one-out baseline",
        ),
        (
            "reinforce",
            Self::Reinforce,
            "The policy gradient with a moving-average baseline",
        ),
        (
            "grpo",
            Self::Grpo,
            "The policy gradient with scores divided by their standard deviation: its optimum is not π*",
        ),
        (
            "vargrad",
            Self::Vargrad,
            "Minimizes the variance of r − β·log(π/p₀)",
        ),
        (
            "dpo",
            Self::Dpo,
            "Direct preference optimization, on pairs labelled by Bradley and Terry's model",
        ),
    ];
}

impl fmt::Display for TabularMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, method, _)| method == self);
        f.write_str(name.map_or("", |(name, ..)| name))
    }
}

/// The length and learning rate of a run. The optimizer is AdamW without weight decay and clipping.
///
/// At π* the exact gradient is 0, and the sampled gradient is noise, which AdamW normalizes to the size of
/// any other gradient. So the learning rate must decay to 0. Then RLOO, PPO with λ = 1 and VarGrad
/// converge, because their gradient noise vanishes at π*. Whitening the advantages would rescale that noise
/// to unit size, so PPO's advantages are not whitened here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Iterations of sampling and learning; for DPO, optimizer steps.
    pub steps: usize,
    /// Responses sampled per iteration; for DPO, responses per step, two per pair.
    pub responses: usize,
    /// The learning rate at the start.
    pub learning_rate: f64,
    /// The learning rate schedule, which decays to 0.
    pub decay: LrSchedule,
    /// Passes over each iteration's responses, for PPO and VarGrad; 1 for the others.
    pub epochs: usize,
}

impl Recipe {
    /// Settings that converge on problems with tens to hundreds of responses.
    pub fn of(method: TabularMethod) -> Self {
        let recipe = |steps, responses, learning_rate, epochs| Self {
            steps,
            responses,
            learning_rate,
            decay: LrSchedule::Cosine,
            epochs,
        };
        match method {
            TabularMethod::PpoKl | TabularMethod::Vargrad => recipe(200, 1024, 0.1, 4),
            TabularMethod::Rloo | TabularMethod::Reinforce | TabularMethod::Grpo => {
                recipe(800, 1024, 0.2, 1)
            }
            TabularMethod::Dpo => recipe(800, 1024, 0.3, 1),
        }
    }

    /// Overrides settings with those of `key=value` arguments.
    pub fn with(self, sets: &[String]) -> Result<Self> {
        let mut table = toml::Table::try_from(self)?;
        for typed in sets {
            let parsed = typed.parse::<toml::Table>();
            let parsed = parsed.ok().filter(|table| table.len() == 1);
            let parsed = parsed
                .with_context(|| format!("--set {typed}: expected KEY=VALUE, as in steps=100"))?;
            table.extend(parsed);
        }
        let recipe: Self = toml::Value::Table(table)
            .try_into()
            .map_err(|error| anyhow::anyhow!("--set: {error}"))?;
        for (key, number) in [
            ("steps", recipe.steps),
            ("responses", recipe.responses.saturating_sub(1)),
            ("epochs", recipe.epochs),
        ] {
            ensure!(number > 0, "--set {key}: too small: give a larger number");
        }
        ensure!(
            recipe.learning_rate.is_finite() && recipe.learning_rate > 0.0,
            "--set learning_rate={}: must be a positive number",
            recipe.learning_rate
        );
        Ok(recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_override_the_recipe() {
        let sets = |typed: &[&str]| -> Vec<String> { typed.iter().map(|x| (*x).into()).collect() };
        let default = Recipe::of(TabularMethod::Rloo);
        let changed = default
            .with(&sets(&["steps=7", "decay=\"linear\""]))
            .unwrap();
        assert_eq!((changed.steps, changed.decay), (7, LrSchedule::Linear));
        assert_eq!(changed.responses, default.responses);
        for (typed, expected) in [
            ("step=7", "unknown field `step`"),
            ("steps", "expected KEY=VALUE"),
            ("steps=0", "--set steps: too small"),
            ("responses=1", "--set responses: too small"),
            ("learning_rate=nan", "--set learning_rate=NaN"),
        ] {
            let error = default.with(&sets(&[typed])).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
