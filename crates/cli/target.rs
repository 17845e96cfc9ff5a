//! The truth about what a run aims at, said before it starts.

use crate::config::{BetaSetting, Config, ObjectiveName};
use crate::wiring::prior_path;
use anyhow::Result;

/// What is maximized, over which prior, and where the maximum is: one line each.
pub(crate) fn describe(config: &Config) -> Result<Vec<(&'static str, String)>> {
    let kind = toml::Value::try_from(config.prior.kind)?;
    let prior = kind.as_str().unwrap_or_default().to_string();
    let mut lines = vec![("objective", aim(config, &prior))];
    if config.objective == ObjectiveName::Sft {
        return Ok(lines);
    }
    lines.push((
        "prior",
        format!("{prior}: {}, frozen", prior_path(config)?.display()),
    ));
    lines.push(("beta", price(config.beta)));
    lines.push(("target", optimum(config, &prior)));
    Ok(lines)
}

fn aim(config: &Config, prior: &str) -> String {
    let objective = config.objective;
    match objective {
        ObjectiveName::PpoKl => {
            format!("{objective}: maximize E[r] − β·KL(π ‖ {prior}), r the reward of a response")
        }
        ObjectiveName::Dpo => format!(
            "{objective}: maximize E[r] − β·KL(π ‖ {prior}), r the Bradley–Terry reward behind the \
             pairs"
        ),
        ObjectiveName::Sft => format!("{objective}: maximum likelihood of the demonstrations"),
    }
}

fn price(beta: BetaSetting) -> String {
    match beta {
        BetaSetting::Fixed(beta) => format!("{beta} units of the reward a nat"),
        BetaSetting::Adaptive {
            start, target_kl, ..
        } => {
            format!("from {start}, moved to hold the KL at {target_kl} nats a sequence")
        }
    }
}

fn optimum(config: &Config, prior: &str) -> String {
    match config.beta {
        BetaSetting::Fixed(0.0) => {
            "π* gives each prompt only its responses of greatest reward".into()
        }
        BetaSetting::Fixed(beta) => format!("π*(y|x) ∝ {prior}(y|x)·exp(r/{beta})"),
        BetaSetting::Adaptive { .. } => {
            format!("π*(y|x) ∝ {prior}(y|x)·exp(r/β), which moves with β")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let adaptive = BetaSetting::Adaptive {
            start: 0.2,
            target_kl: 6.0,
            horizon: 1e4,
        };
        assert!(target(PpoKl, adaptive).contains("moves with β"));
    }
}
