//! What a run on preferences aims at, loss by loss, for its header and for the help.

use crate::config::Config;
use anyhow::Result;
use rlhf_dpo::{Config as Settings, DivergenceName, LossName, Optimum};

/// What KTO does, and that nothing more is claimed of it.
const KTO: &str = "single answers, liked or not, by a utility that saturates";

/// What is minimized or maximized.
pub(crate) fn aim(config: &Config, prior: Option<&str>) -> Result<String> {
    let settings: Settings = config.method()?;
    let objective = config.objective;
    if settings.loss.optimum() != Optimum::PiStar {
        let (loss, assumes) = (settings.loss.name(), settings.loss.assumes());
        return Ok(format!(
            "{objective}: least {loss} loss of the pairs, which assumes {assumes}"
        ));
    }
    let reward = "r the Bradley–Terry reward behind the pairs";
    let penalty = match prior {
        None if settings.divergence == DivergenceName::ReverseKl => "+ β·H(π)".into(),
        prior => format!("− β·{}", divergence(&settings, prior.unwrap_or("counting"))),
    };
    Ok(format!("{objective}: maximize E[r] {penalty}, {reward}"))
}

/// Whether β has a part in the loss.
pub(crate) fn prices_kl(config: &Config) -> Result<bool> {
    let settings: Settings = config.method()?;
    Ok(settings.loss != LossName::Orpo)
}

/// The same of KTO.
pub(crate) fn aim_of_kto(config: &Config) -> String {
    format!("{}: {KTO}", config.objective)
}

fn divergence(settings: &Settings, prior: &str) -> String {
    match settings.divergence {
        DivergenceName::ReverseKl => format!("KL(π ‖ {prior})"),
        DivergenceName::ForwardKl => format!("KL({prior} ‖ π)"),
        DivergenceName::Js => format!("JS(π ‖ {prior})"),
        DivergenceName::Alpha => {
            format!("D_α(π ‖ {prior}), α = {}", settings.divergence_alpha)
        }
    }
}

/// Where the loss rests.
pub(crate) fn optimum(config: &Config, prior: Option<&str>) -> Result<String> {
    let settings: Settings = config.method()?;
    let weight = prior.map_or_else(String::new, |prior| format!("{prior}(y|x)·"));
    let beta = config.beta.beta().value();
    let tilt = |by: &str| format!("{weight}exp({})", by.replace('β', &beta.to_string()));
    let smoothing = settings.label_smoothing;
    let slope = slope(settings.divergence);
    Ok(match settings.loss.optimum() {
        Optimum::PiStar if settings.loss == LossName::Sigmoid && smoothing > 0.0 => format!(
            "not π*, unless {smoothing} of the labels are flipped and you want the flipped ones' \
             optimum: robust undoes flips"
        ),
        Optimum::PiStar => match slope {
            None => format!("π*(y|x) ∝ {}", tilt("r/β")),
            Some(slope) => format!(
                "not the π* of KL(π ‖ p₀): π(y|x) = {weight}(f′)⁻¹((r − μ(x))/{beta}), f′(u) = {slope}"
            ),
        },
        Optimum::Tilt(by) => format!("not π*: π(y|x) ∝ {}, W {WINS}", tilt(by)),
        Optimum::About(by) => format!("not π*: about π(y|x) ∝ {}, W {WINS}", tilt(by)),
        Optimum::Other(why) => format!("not π*: {why}"),
    })
}

/// What W is.
const WINS: &str = "the rate at which y wins";

/// Where KTO rests.
pub(crate) fn optimum_of_kto() -> String {
    "not π*: gains and losses saturate, and no optimum is known".into()
}

/// The losses: what each assumes in one line, where it rests in the next.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "Losses of dpo (--set method.loss=NAME): what each assumes, and whether its optimum is\n\
         π* = prior·exp(r/β)/Z (W is the rate at which an answer wins):\n",
    );
    let mut line = |name: &str, assumes: &str, optimum: &str| {
        text += &format!("  {name:<15}{assumes}\n  {:<15}{optimum}\n", "");
    };
    for loss in LossName::ALL {
        let optimum = match loss.optimum() {
            Optimum::PiStar => "π*".into(),
            Optimum::Tilt(by) => format!("not π*: prior·exp({by})"),
            Optimum::About(by) => format!("not π*: about prior·exp({by})"),
            Optimum::Other(why) => format!("not π*: {why}"),
        };
        line(loss.name(), loss.assumes(), &optimum);
    }
    line("kto", KTO, "an objective of its own; not π*");
    text += "Label smoothing (--set method.label_smoothing=ε) of sigmoid and aot takes a share ε of the\n\
             labels to be flipped and believes them so (not π*: that of the flipped labels); robust\n\
             undoes the flips. With --prior counting, sigmoid is CPO.\n\n\
             Divergences that β prices (--set method.divergence=NAME, for sigmoid and robust):\n";
    for (name, divergence) in DIVERGENCES {
        let rests = match slope(divergence) {
            None => "π*".into(),
            Some(slope) => format!("not π*: prior·(f′)⁻¹((r − μ)/β), f′(u) = {slope}"),
        };
        text += &format!("  {name:<15}{rests}\n");
    }
    text.truncate(text.trim_end().len());
    text
}

/// The divergences as they are named in settings.
const DIVERGENCES: [(&str, DivergenceName); 4] = [
    ("reverse-kl", DivergenceName::ReverseKl),
    ("forward-kl", DivergenceName::ForwardKl),
    ("js", DivergenceName::Js),
    ("alpha", DivergenceName::Alpha),
];

/// f′ of a divergence, but for that of KL(π ‖ p₀).
fn slope(divergence: DivergenceName) -> Option<&'static str> {
    match divergence {
        DivergenceName::ReverseKl => None,
        DivergenceName::ForwardKl => Some("−1/u"),
        DivergenceName::Js => Some("log(2u/(1 + u))"),
        DivergenceName::Alpha => Some("(1 − u^−α)/α"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ObjectiveName;
    use crate::target::describe;

    /// Every loss says in the header whether its optimum is π*, and only those that have it do.
    #[test]
    fn the_header_tells_the_truth_of_each_loss() {
        for loss in LossName::ALL {
            let mut config = Config::defaults(ObjectiveName::Dpo).unwrap();
            config.model.path = Some("gpt2".into());
            config.method.insert("loss".into(), loss.name().into());
            let lines = describe(&config).unwrap();
            let target = &lines.last().unwrap().1;
            let claims = target.starts_with("π*(y|x) ∝ reference(y|x)·exp(r/0.1)");
            assert_eq!(claims, loss.optimum() == Optimum::PiStar, "{target}");
            assert!(claims || target.starts_with("not π*"), "{target}");
            assert!(help().contains(loss.assumes()));
        }
    }

    /// A line of the help is read as it stands: none is too wide to be left whole.
    #[test]
    fn the_help_has_a_line_for_each_loss_and_divergence() {
        let help = help();
        for line in help.lines() {
            assert!(line.chars().count() <= 98, "{line}");
        }
        for (name, divergence) in DIVERGENCES {
            let known: DivergenceName = toml::Value::from(name).try_into().unwrap();
            assert_eq!(known, divergence);
            let line = help.lines().find(|line| line.trim().starts_with(name));
            let claims = line.unwrap().ends_with(" π*");
            assert_eq!(claims, slope(divergence).is_none(), "{name}");
        }
    }

    #[test]
    fn what_moves_the_optimum_is_said() {
        let with = |key: &str, value: toml::Value| {
            let mut config = Config::defaults(ObjectiveName::Dpo).unwrap();
            config.model.path = Some("gpt2".into());
            config.method.insert(key.into(), value);
            let lines = describe(&config).unwrap();
            (lines[0].1.clone(), lines.last().unwrap().1.clone())
        };
        let (_, target) = with("label_smoothing", 0.1.into());
        assert!(
            target.starts_with("not π*, unless 0.1 of the labels"),
            "{target}"
        );
        let (aim, target) = with("divergence", "forward-kl".into());
        assert!(aim.contains("maximize E[r] − β·KL(reference ‖ π)"), "{aim}");
        assert!(
            target.starts_with("not the π*") && target.contains("−1/u"),
            "{target}"
        );
        let (aim, target) = with("loss", "ipo".into());
        assert!(aim.starts_with("dpo: least ipo loss of the pairs"), "{aim}");
        assert!(target.contains("reference(y|x)·exp(W/0.1)"), "{target}");
    }
}
