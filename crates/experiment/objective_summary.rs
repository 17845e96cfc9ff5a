//! The truth about what a run aims at, said before it starts.

use crate::config::Config;
use crate::prior::prior;
use anyhow::Result;
use rlhf_reward::{Normalization, Rule};
use rlhf_train::{ObjectiveTerms, PriorUse};
use std::path::PathBuf;

/// What is maximized, over which prior, and where the maximum is: one line each.
pub(crate) fn describe(config: &Config) -> Result<Vec<(&'static str, String)>> {
    let method = config.method.configured();
    let beta = config.beta.beta();
    let terms = |prior| ObjectiveTerms {
        objective: &config.objective,
        beta: &beta,
        prior,
    };
    if method.facts().prior != PriorUse::Penalty {
        return Ok(vec![("objective", method.summary(&terms(None)))]);
    }
    let prior = prior(config)?;
    let terms = terms(prior.symbol);
    let mut lines = vec![
        ("objective", method.summary(&terms)),
        ("prior", prior.words),
    ];
    if let Some(rule) = &config.reward {
        let rule = toml::Value::try_from(rule)?;
        // What learns from data maximizes no reward of this run.
        lines.push(match config.online() {
            true => ("reward", rule.to_string()),
            false => ("measured", format!("by {rule}")),
        });
    }
    lines.push(("beta", price(config, method.describe_beta(&terms))?));
    lines.push(("target", method.optimum(&terms)));
    Ok(lines)
}

/// β, and what it is once the scale of a reward model is taken out: π* depends on r/β alone.
fn price(config: &Config, mut words: String) -> Result<String> {
    let beta = config.beta.beta().value();
    let maximized = config.reward.iter().filter(|_| config.online());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdaptiveBeta, BetaSetting, PriorSection};
    use crate::registry::Registry;

    fn defaults(objective: &str) -> Config {
        let registry = Registry::default();
        let catalog = registry.catalog();
        let objective = catalog.methods.objective(objective).unwrap();
        Config::defaults(&objective, &catalog.priors).unwrap()
    }

    /// `[prior]` of these settings, or why it is none.
    fn section(text: &str) -> std::result::Result<PriorSection, String> {
        let priors = &Registry::default().catalog().priors.clone();
        let section = priors.section(text.parse().unwrap());
        section.map_err(|error| error.message)
    }

    fn target(objective: &str, beta: BetaSetting) -> String {
        let mut config = defaults(objective);
        config.model.path = Some("gpt2".into());
        config.beta = beta;
        let lines = describe(&config).unwrap();
        lines.last().unwrap().1.clone()
    }

    #[test]
    fn the_optimum_is_named() {
        let fixed = BetaSetting::Fixed(0.05);
        assert_eq!(
            target("ppo-kl", fixed),
            "π*(y|x) ∝ reference(y|x)·exp(r/0.05)"
        );
        assert_eq!(target("dpo", fixed), "π*(y|x) ∝ reference(y|x)·exp(r/0.05)");
        assert_eq!(
            target("sft", fixed),
            "sft: maximize the likelihood of the demonstrations"
        );
        assert!(target("ppo-kl", BetaSetting::Fixed(0.0)).contains("greatest reward"));
        let adaptive = BetaSetting::Adaptive(AdaptiveBeta {
            start: 0.2,
            target_kl: Some(6.0),
            target_entropy: None,
            horizon: 1e4,
            min: None,
            max: None,
        });
        assert!(target("ppo-kl", adaptive).contains("changes with β"));
    }

    fn with(objective: &str, prior: &str) -> Result<Vec<String>> {
        let mut config = defaults(objective);
        config.model.path = Some("gpt2".into());
        config.prior = section(prior).map_err(anyhow::Error::msg)?;
        Ok(describe(&config)?
            .into_iter()
            .map(|(_, line)| line)
            .collect())
    }

    #[test]
    fn every_prior_says_what_it_makes_of_the_objective() {
        let lines = with("ppo-kl", "kind = 'counting'").unwrap();
        assert!(lines[0].contains("maximize E[r] + β·H(π)"), "{lines:?}");
        assert_eq!(lines[3], "π*(y|x) ∝ exp(r/0.05)");
        let lines = with("rloo", "kind = 'uniform'").unwrap();
        assert_eq!(lines[3], "π*(y|x) ∝ uniform(y|x)·exp(r/0.05)");
        let lines = with("grpo", "kind = 'reference'").unwrap();
        assert!(lines[3].starts_with("not π*: π(y|x) ∝ reference(y|x)·exp(r/(0.05·σ))"));
        let lines = with("ppo-kl", "kind = 'demonstrations'\ndata = 'demos.jsonl'").unwrap();
        let words = "demonstrations: a copy of gpt2, fitted to demos.jsonl before the run, frozen; \
                     at each token 0.999 × (this) + 0.001 × (uniform)";
        assert!(lines[1].starts_with(words), "{lines:?}");
        assert_eq!(lines[3], "π*(y|x) ∝ demonstrations(y|x)·exp(r/0.05)");
        let mixture = "kind = 'mixture'\nmean = 'geometric'\nweight = 0.25\n\
                       first = { kind = 'reference' }\nsecond = { kind = 'uniform' }";
        let lines = with("ppo-kl", mixture).unwrap();
        let words =
            "mixture, geometric per token, of 0.75 × (reference: gpt2, frozen) and 0.25 × (un";
        assert!(lines[1].starts_with(words), "{lines:?}");
    }

    #[test]
    fn priors_that_make_no_sense_are_refused() {
        let mixture = "kind = 'mixture'\nmean = 'geometric'\nfirst = { kind = 'reference' }\n";
        for (prior, expected) in [
            ("kind = 'demonstrations'", "has no source"),
            ("kind = 'mixture'", "prior.first is missing"),
            (
                &*format!("{mixture}second = {{ kind = 'counting' }}"),
                "prior.second: the counting prior cannot be mixed",
            ),
            (
                &format!("{mixture}weight = 1.0\nsecond = {{ kind = 'uniform' }}"),
                "prior.weight = 1",
            ),
            (
                "kind = 'demonstrations'\nmodel = 'demos'\ndata = 'demos.jsonl'",
                "has both a model and data",
            ),
            (
                "kind = 'demonstrations'\nmodel = 'demos'\nfit = { epochs = 2 }",
                "prior.fit is not used with prior.model",
            ),
            (
                "kind = 'demonstrations'\ndata = 'demos.jsonl'\nsmoothing = 1.0",
                "prior.smoothing = 1",
            ),
            (
                "kind = 'uniform'\nsmoothing = 0.1",
                "prior.smoothing means nothing to a prior of kind \"uniform\"",
            ),
            (
                "kind = 'counting'\nmodel = 'gpt2'",
                "prior.model means nothing to a prior of kind \"counting\"",
            ),
            (
                "kind = 'reference'\nsecond = { kind = 'uniform' }",
                "prior.second means nothing to a prior of kind \"reference\"",
            ),
            (
                "kind = 'referense'",
                "unknown variant `referense`, expected one of `counting`, `uniform`",
            ),
        ] {
            let error = with("ppo-kl", prior).unwrap_err().to_string();
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
        let mut config = defaults("ppo-kl");
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
            "0.05 units of the reward per nat"
        );
    }
}
