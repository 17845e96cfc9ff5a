//! The truth about what a run aims at, said before it starts.

use crate::config::{BetaSetting, Config, MethodName};
use crate::direct;
use crate::wiring;
use anyhow::Result;
use rlhf_objective::{Adaptive, LocalKl, Target};
use rlhf_reinforce::{GradientConfig, KlPlacement, MovingConfig};
use rlhf_reward::{Normalization, Rule};
use std::path::PathBuf;

/// What is maximized, over which prior, and where the maximum is: one line each.
pub(crate) fn describe(config: &Config) -> Result<Vec<(&'static str, String)>> {
    let method = config.objective.method();
    if method == MethodName::Sft {
        let objective = config.objective;
        return Ok(vec![(
            "objective",
            format!("{objective}: maximum likelihood of the demonstrations"),
        )]);
    }
    if method == MethodName::Reward {
        let objective = config.objective;
        let words = "maximum likelihood of the preferences, by Bradley and Terry's model";
        return Ok(vec![("objective", format!("{objective}: {words}"))]);
    }
    let prior = wiring::prior(config)?;
    let name = prior.name;
    let (aim, target) = match method {
        MethodName::Dpo => (direct::aim(config, name)?, direct::optimum(config, name)?),
        MethodName::Kto => (direct::aim_of_kto(config), direct::optimum_of_kto()),
        _ => (aim(config, name), optimum(config, name)),
    };
    let mut lines = vec![("objective", aim), ("prior", prior.words)];
    if let Some(rule) = &config.reward {
        let rule = toml::Value::try_from(rule)?;
        // What learns from data maximizes no reward of this run.
        lines.push(match method.online() {
            true => ("reward", rule.to_string()),
            false => ("measured", format!("by {rule}")),
        });
    }
    lines.push(("beta", price(config)?));
    lines.push(("target", target));
    Ok(lines)
}

fn aim(config: &Config, prior: Option<&str>) -> String {
    let objective = config.objective;
    let penalty = match prior {
        Some(prior) => format!("− β·KL(π ‖ {prior})"),
        None => "+ β·H(π)".into(),
    };
    format!("{objective}: maximize E[r] {penalty}, r the reward of a response")
}

/// β, and what it is once the scale of a reward model is taken out: π* depends on r/β alone.
fn price(config: &Config) -> Result<String> {
    if config.objective.method() == MethodName::Dpo && !direct::prices_kl(config)? {
        return Ok("means nothing to this loss".into());
    }
    let mut words = match config.beta {
        BetaSetting::Fixed(beta) => format!("{beta} units of the reward a nat"),
        BetaSetting::Adaptive(of) => {
            let Adaptive {
                beta: start,
                lowest,
                greatest,
                ..
            } = of.adaptive();
            let held = match of.target() {
                Target::Kl(nats) => format!("the KL at {nats}"),
                Target::Entropy(nats) => format!("the entropy at {nats}"),
            };
            format!(
                "from {start}, moved to hold {held} nats a sequence, between {lowest} and {greatest}"
            )
        }
    };
    let beta = config.beta.beta().value();
    let maximized = config
        .reward
        .iter()
        .filter(|_| config.objective.method().online());
    for (folder, scale) in maximized
        .map(|rule| scales(rule, 1.0))
        .collect::<Result<Vec<_>>>()?
        .concat()
    {
        if scale != 1.0 {
            let folder = folder.display();
            words += &format!(
                "; the scores of {folder} count {scale:.4} times, so for them β is {:.4}",
                beta / scale
            );
        }
    }
    Ok(words)
}

/// The reward models of a rule, and what their own scores are multiplied by.
fn scales(rule: &Rule, weight: f64) -> Result<Vec<(PathBuf, f64)>> {
    Ok(match rule {
        Rule::Model { folder } => {
            let gain = Normalization::load(folder)?.gain;
            vec![(folder.clone(), weight * gain)]
        }
        Rule::Sum { rules } => {
            let parts = rules.iter();
            let parts = parts.map(|part| scales(&part.rule, weight * part.weight));
            parts.collect::<Result<Vec<_>>>()?.concat()
        }
        Rule::MissingEos { rule, .. } => scales(rule, weight)?,
        _ => vec![],
    })
}

/// Where the method rests.
fn optimum(config: &Config, prior: Option<&str>) -> String {
    let weight = prior.map_or_else(String::new, |prior| format!("{prior}(y|x)·"));
    let grpo = config.objective.method() == MethodName::Grpo;
    if let (Some(kl), true) = (local(config), config.beta.beta().value() > 0.0) {
        return beside(kl, prior.unwrap_or("1"), grpo);
    }
    match config.beta {
        BetaSetting::Fixed(0.0) => {
            "π* gives each prompt only its responses of greatest reward".into()
        }
        BetaSetting::Fixed(beta) if grpo => format!(
            "not π*: π(y|x) ∝ {weight}exp(r/({beta}·σ)), σ the standard deviation of the prompt's \
             scores under π, so that each prompt has a β of its own"
        ),
        BetaSetting::Fixed(beta) => format!("π*(y|x) ∝ {weight}exp(r/{beta})"),
        BetaSetting::Adaptive(_) => {
            format!("π*(y|x) ∝ {weight}exp(r/β), which moves with β")
        }
    }
}

/// The penalty that is paid in the loss, if it is.
fn local(config: &Config) -> Option<LocalKl> {
    let placement = match config.objective.method() {
        MethodName::Rloo | MethodName::Grpo => config.method::<GradientConfig>().ok()?.kl,
        MethodName::Reinforce => config.method::<MovingConfig>().ok()?.kl,
        _ => return None,
    };
    match placement {
        KlPlacement::Loss(kl) => Some(kl),
        KlPlacement::Reward => None,
    }
}

/// Where a penalty on each token alone comes to rest.
fn beside(kl: LocalKl, prior: &str, grpo: bool) -> String {
    let rest = match kl {
        LocalKl::LocalKl | LocalKl::LocalK2 => format!("π(a|s) ∝ {prior}(a|s)·exp(Q/β)"),
        LocalKl::LocalK3 => format!("π(a|s) = β·{prior}(a|s)/(μ(s) − Q), of the forward KL"),
    };
    let scale = if grpo {
        ", divided by the spread of the prompt's scores"
    } else {
        ""
    };
    let rest = rest.replace("1(a|s)·", "").replace("·1(a|s)", "");
    format!(
        "not π*: {rest}, Q the reward to come after a under π{scale}; a token's penalty forgets \
         that the token changes the KL of later ones"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdaptiveBeta, MeanName, ObjectiveName, PriorKind, PriorSection};

    fn target(objective: ObjectiveName, beta: BetaSetting) -> String {
        let mut config = Config::defaults(objective).unwrap();
        config.model.path = Some("gpt2".into());
        config.beta = beta;
        let lines = describe(&config).unwrap();
        lines.last().unwrap().1.clone()
    }

    #[test]
    fn the_optimum_is_named() {
        use ObjectiveName::{Dpo, PpoKl, Sft};
        let fixed = BetaSetting::Fixed(0.05);
        assert_eq!(target(PpoKl, fixed), "π*(y|x) ∝ reference(y|x)·exp(r/0.05)");
        assert_eq!(target(Dpo, fixed), "π*(y|x) ∝ reference(y|x)·exp(r/0.05)");
        assert_eq!(
            target(Sft, fixed),
            "sft: maximum likelihood of the demonstrations"
        );
        assert!(target(PpoKl, BetaSetting::Fixed(0.0)).contains("greatest reward"));
        let adaptive = BetaSetting::Adaptive(AdaptiveBeta {
            start: 0.2,
            target_kl: Some(6.0),
            target_entropy: None,
            horizon: 1e4,
            min: None,
            max: None,
        });
        assert!(target(PpoKl, adaptive).contains("moves with β"));
    }

    #[test]
    fn a_penalty_in_the_loss_has_another_target() {
        use ObjectiveName::{Grpo, Reinforce, Rloo};
        for (objective, kl, prior, expected) in [
            (
                Rloo,
                "local-k2",
                PriorKind::Reference,
                "not π*: π(a|s) ∝ reference(a|s)·exp(Q/β)",
            ),
            (
                Rloo,
                "local-kl",
                PriorKind::Counting,
                "not π*: π(a|s) ∝ exp(Q/β)",
            ),
            (
                Reinforce,
                "local-k3",
                PriorKind::Counting,
                "not π*: π(a|s) = β/(μ(s) − Q)",
            ),
            (
                Grpo,
                "local-k3",
                PriorKind::Reference,
                "divided by the spread",
            ),
            (
                Rloo,
                "reward",
                PriorKind::Reference,
                "π*(y|x) ∝ reference(y|x)·exp(r/0.05)",
            ),
        ] {
            let mut config = Config::defaults(objective).unwrap();
            config.model.path = Some("gpt2".into());
            config.method.insert("kl".into(), kl.into());
            config.prior = PriorSection::of(prior);
            let line = describe(&config).unwrap().pop().unwrap().1;
            assert!(line.contains(expected), "{line}");
        }
    }

    fn with(objective: ObjectiveName, prior: PriorSection) -> Result<Vec<String>> {
        let mut config = Config::defaults(objective)?;
        config.model.path = Some("gpt2".into());
        config.prior = prior;
        Ok(describe(&config)?
            .into_iter()
            .map(|(_, line)| line)
            .collect())
    }

    #[test]
    fn every_prior_says_what_it_makes_of_the_objective() {
        use ObjectiveName::{Grpo, PpoKl, Rloo};
        let lines = with(PpoKl, PriorSection::of(PriorKind::Counting)).unwrap();
        assert!(lines[0].contains("maximize E[r] + β·H(π)"), "{lines:?}");
        assert_eq!(lines[3], "π*(y|x) ∝ exp(r/0.05)");
        let lines = with(Rloo, PriorSection::of(PriorKind::Uniform)).unwrap();
        assert_eq!(lines[3], "π*(y|x) ∝ uniform(y|x)·exp(r/0.05)");
        let lines = with(Grpo, PriorSection::of(PriorKind::Reference)).unwrap();
        assert!(lines[3].starts_with("not π*: π(y|x) ∝ reference(y|x)·exp(r/(0.05·σ))"));
        let mut fitted = PriorSection {
            data: Some("demos.jsonl".into()),
            ..PriorSection::of(PriorKind::Demonstrations)
        };
        fitted.complete();
        let lines = with(PpoKl, fitted.clone()).unwrap();
        let words = "demonstrations: a copy of gpt2, fitted to demos.jsonl before the run, frozen; \
                     each token 0.999 × (this) and 0.001 × (uniform)";
        assert!(lines[1].starts_with(words), "{lines:?}");
        assert_eq!(lines[3], "π*(y|x) ∝ demonstrations(y|x)·exp(r/0.05)");
        let part = |kind| Some(Box::new(PriorSection::of(kind)));
        let mixture = PriorSection {
            mean: Some(MeanName::Geometric),
            weight: Some(0.25),
            first: part(PriorKind::Reference),
            second: part(PriorKind::Uniform),
            ..PriorSection::of(PriorKind::Mixture)
        };
        let lines = with(PpoKl, mixture.clone()).unwrap();
        let words =
            "mixture, geometric per token, of 0.75 × (reference: gpt2, frozen) and 0.25 × (un";
        assert!(lines[1].starts_with(words), "{lines:?}");
        for (prior, expected) in [
            (PriorSection::of(PriorKind::Demonstrations), "has no source"),
            (PriorSection::of(PriorKind::Mixture), "no prior.first"),
            (
                PriorSection {
                    second: part(PriorKind::Counting),
                    ..mixture.clone()
                },
                "prior.second: the counting prior is not a distribution",
            ),
            (
                PriorSection {
                    weight: Some(1.0),
                    ..mixture
                },
                "prior.weight = 1",
            ),
            (
                PriorSection {
                    model: Some("demos".into()),
                    ..fitted.clone()
                },
                "has a model and data",
            ),
            (
                PriorSection {
                    smoothing: Some(1.0),
                    ..fitted
                },
                "prior.smoothing = 1",
            ),
            (
                PriorSection {
                    smoothing: Some(0.1),
                    ..PriorSection::of(PriorKind::Uniform)
                },
                "prior.smoothing means nothing to a prior of kind \"uniform\"",
            ),
            (
                PriorSection {
                    model: Some("gpt2".into()),
                    ..PriorSection::of(PriorKind::Counting)
                },
                "prior.model means nothing to a prior of kind \"counting\"",
            ),
        ] {
            let error = with(PpoKl, prior).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// π* depends on r/β alone: a scale of the reward is a scale of β, and is said.
    #[test]
    fn beta_is_said_in_units_of_a_reward_model_too() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            Normalization::path(folder.path()),
            r#"{"gain": 0.25, "bias": 1.0}"#,
        )
        .unwrap();
        let model = Rule::Model {
            folder: folder.path().into(),
        };
        let mut config = Config::defaults(ObjectiveName::PpoKl).unwrap();
        config.model.path = Some("gpt2".into());
        let beta_with = |rule: Rule, config: &mut Config| {
            config.reward = Some(rule);
            let lines = describe(config).unwrap();
            let line = lines.into_iter().find(|(name, _)| *name == "beta");
            line.unwrap().1
        };
        let line = beta_with(model.clone(), &mut config);
        assert!(
            line.ends_with("count 0.2500 times, so for them β is 0.2000"),
            "{line}"
        );
        let length = Rule::Length { per_token: 1.0 };
        let part = |weight, rule| rlhf_reward::Weighted { weight, rule };
        let rules = vec![part(2.0, model), part(1.0, length.clone())];
        let line = beta_with(Rule::Sum { rules }, &mut config);
        assert!(
            line.ends_with("count 0.5000 times, so for them β is 0.1000"),
            "{line}"
        );
        assert_eq!(
            beta_with(length, &mut config),
            "0.05 units of the reward a nat"
        );
    }
}
