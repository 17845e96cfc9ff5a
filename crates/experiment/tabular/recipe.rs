//! The settings with which each method arrives.

use anyhow::{Context, Result, ensure};
use rlhf_train::LrSchedule;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What can be trained on a problem that is solved exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TabularMethod {
    /// PPO with a value a prefix.
    PpoKl,
    /// The policy gradient, each response compared with the others.
    Rloo,
    /// The policy gradient with a moving baseline.
    Reinforce,
    /// The policy gradient with scores measured in their spread: its target is not π*.
    Grpo,
    /// The least variance of reward minus KL.
    Vargrad,
    /// Direct preference optimization, on pairs labelled by Bradley and Terry's model.
    Dpo,
}

impl TabularMethod {
    /// All of them, with their names and what they are.
    pub const ALL: [(&'static str, Self, &'static str); 6] = [
        ("ppo-kl", Self::PpoKl, "PPO with a value a prefix"),
        (
            "rloo",
            Self::Rloo,
            "The policy gradient, each response compared with the others",
        ),
        (
            "reinforce",
            Self::Reinforce,
            "The policy gradient with a moving baseline",
        ),
        (
            "grpo",
            Self::Grpo,
            "The policy gradient with scores measured in their spread: its target is not π*",
        ),
        (
            "vargrad",
            Self::Vargrad,
            "The least variance of reward minus KL",
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

/// How long and how fast. The optimizer is AdamW without decay of weights and without clipping.
///
/// At π* the exact gradient is 0, and what is left of a sampled one is noise, which AdamW makes as
/// large as any other gradient. So the learning rate must go to 0: then RLOO, PPO with λ = 1 and
/// VarGrad arrive, because their own noise goes to 0 as they do. Whitened advantages would blow up
/// that noise to unit size, so ppo's are left raw here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Iterations of sampling and learning; optimizer steps of dpo.
    pub steps: usize,
    /// Responses drawn in each iteration, or read in each step of dpo, two a pair.
    pub responses: usize,
    /// The learning rate at the start.
    pub learning_rate: f64,
    /// How it goes to 0.
    pub decay: LrSchedule,
    /// Passes over each iteration's responses, of ppo and vargrad; 1 for the others.
    pub epochs: usize,
}

impl Recipe {
    /// What is known to arrive on problems of tens to hundreds of responses.
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

    /// The same with `key=value` laid over it.
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
            ensure!(number > 0, "--set {key}: too small");
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
    fn settings_are_laid_over_the_recipe() {
        let sets = |typed: &[&str]| -> Vec<String> { typed.iter().map(|x| (*x).into()).collect() };
        let own = Recipe::of(TabularMethod::Rloo);
        let other = own.with(&sets(&["steps=7", "decay=\"linear\""])).unwrap();
        assert_eq!((other.steps, other.decay), (7, LrSchedule::Linear));
        assert_eq!(other.responses, own.responses);
        for (typed, expected) in [
            ("step=7", "unknown field `step`"),
            ("steps", "expected KEY=VALUE"),
            ("steps=0", "--set steps: too small"),
            ("responses=1", "--set responses: too small"),
            ("learning_rate=nan", "--set learning_rate=NaN"),
        ] {
            let error = own.with(&sets(&[typed])).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
