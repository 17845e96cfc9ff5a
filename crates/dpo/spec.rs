//! What is said about the losses on preferences: what each assumes and where it rests.

use crate::{
    Batch, Config, DivergenceName, Dpo, Kto, KtoConfig, LossName, Optimum, PairSource,
    UnpairedPreferences, UnpairedSource,
};
use rlhf_objective::{Error, PairsWithPrior, Result};
use rlhf_train::{
    BatchUnit, DataPasses, Defaults, LearnsFrom, MethodSpec, ObjectiveTerms, OfflineSpec, RowField,
    RunShape,
};

/// What KTO does, and that nothing more is claimed of it.
const KTO: &str = "single answers, liked or not, by a utility that saturates";

/// What W is.
const WINS: &str = "the rate at which y wins";

/// Small steps: a pair moves the policy a long way.
fn preferences() -> Defaults {
    Defaults {
        beta: 0.1,
        learning_rate: 1e-6,
        warmup: 0.1,
        ..Defaults::default()
    }
}

/// Direct preference optimization, as a registry lists it.
#[derive(Debug, Clone, Copy)]
pub struct DpoSpec;

impl MethodSpec for DpoSpec {
    type Settings = Config;

    const NAME: &'static str = "dpo";
    const ABOUT: &'static str = "Direct preference optimization";
    const LEARNS_FROM: LearnsFrom = LearnsFrom::Pairs;
    const ROW_FIELDS: &'static [RowField] = &[RowField::Weight, RowField::Label];
    const ALLOWS_ZERO_BETA: bool = false;

    fn defaults() -> Defaults {
        preferences()
    }

    /// SimPO and ORPO are losses of the policy's own log-probs.
    fn check(settings: &Config, run: &RunShape) -> Result<()> {
        settings.preference()?;
        let own = matches!(settings.loss, LossName::Simpo | LossName::Orpo);
        if own && !run.constant_prior {
            return Err(Error::Unsupported(format!(
                "method.loss = \"{}\" has no reference model: give --prior counting",
                settings.loss.name()
            )));
        }
        Ok(())
    }

    fn summary(settings: &Config, terms: &ObjectiveTerms<'_>) -> String {
        let objective = terms.objective;
        if settings.loss.optimum() != Optimum::PiStar {
            let (loss, assumes) = (settings.loss.name(), settings.loss.assumes());
            return format!("{objective}: least {loss} loss of the pairs, which assumes {assumes}");
        }
        let penalty = match terms.prior {
            None if settings.divergence == DivergenceName::ReverseKl => "+ β·H(π)".into(),
            prior => format!("− β·{}", divergence(settings, prior.unwrap_or("counting"))),
        };
        format!("{objective}: maximize E[r] {penalty}, r the Bradley–Terry reward behind the pairs")
    }

    fn optimum(settings: &Config, terms: &ObjectiveTerms<'_>) -> String {
        let (weight, beta) = (terms.weight(), terms.beta.value());
        let tilt = |by: &str| format!("{weight}exp({})", by.replace('β', &beta.to_string()));
        let smoothing = settings.label_smoothing;
        match settings.loss.optimum() {
            Optimum::PiStar if settings.loss == LossName::Sigmoid && smoothing > 0.0 => format!(
                "not π*, unless {smoothing} of the labels are flipped and you want the flipped \
                 ones' optimum: robust undoes flips"
            ),
            Optimum::PiStar => match slope(settings.divergence) {
                None => format!("π*(y|x) ∝ {}", tilt("r/β")),
                Some(slope) => format!(
                    "not the π* of KL(π ‖ p₀): π(y|x) = {weight}(f′)⁻¹((r − μ(x))/{beta}), f′(u) = \
                     {slope}"
                ),
            },
            Optimum::Tilt(by) => format!("not π*: π(y|x) ∝ {}, W {WINS}", tilt(by)),
            Optimum::About(by) => format!("not π*: about π(y|x) ∝ {}, W {WINS}", tilt(by)),
            Optimum::Other(why) => format!("not π*: {why}"),
        }
    }

    fn describe_beta(settings: &Config, terms: &ObjectiveTerms<'_>) -> String {
        match settings.loss {
            LossName::Orpo => "means nothing to this loss".into(),
            _ => terms.describe_beta(),
        }
    }

    fn help() -> String {
        help()
    }
}

impl OfflineSpec for DpoSpec {
    type Data = PairsWithPrior;
    type HeldOut = PairsWithPrior;
    type Learner = Dpo;
    type Source = PairSource;

    fn learner(settings: &Config) -> Result<Dpo> {
        Dpo::new(settings)
    }

    fn source(_: &Config, data: PairsWithPrior, passes: &DataPasses) -> Result<PairSource> {
        let size = passes.items(Self::BATCH_UNIT)?;
        PairSource::new(Batch::new(data)?, size, passes.epochs, passes.seed)
    }

    fn held_out(_: &Config, data: PairsWithPrior) -> Result<Batch> {
        Batch::new(data)
    }
}

/// KTO, as a registry lists it.
#[derive(Debug, Clone, Copy)]
pub struct KtoSpec;

impl MethodSpec for KtoSpec {
    type Settings = KtoConfig;

    const NAME: &'static str = "kto";
    const ABOUT: &'static str = "Single answers, liked or not";
    const LEARNS_FROM: LearnsFrom = LearnsFrom::UnpairedPreferences;
    const ROW_FIELDS: &'static [RowField] = &[RowField::Label];
    const ALLOWS_ZERO_BETA: bool = false;

    fn defaults() -> Defaults {
        preferences()
    }

    fn check(settings: &KtoConfig, _: &RunShape) -> Result<()> {
        settings.check()
    }

    fn summary(_: &KtoConfig, terms: &ObjectiveTerms<'_>) -> String {
        format!("{}: {KTO}", terms.objective)
    }

    fn optimum(_: &KtoConfig, _: &ObjectiveTerms<'_>) -> String {
        "not π*: gains and losses saturate, and no optimum is known".into()
    }
}

impl OfflineSpec for KtoSpec {
    const BATCH_UNIT: BatchUnit = BatchUnit::Items("response");

    type Data = UnpairedPreferences;
    type HeldOut = UnpairedPreferences;
    type Learner = Kto;
    type Source = UnpairedSource;

    fn learner(settings: &KtoConfig) -> Result<Kto> {
        Kto::new(settings)
    }

    fn source(
        _: &KtoConfig,
        data: UnpairedPreferences,
        passes: &DataPasses,
    ) -> Result<UnpairedSource> {
        let size = passes.items(Self::BATCH_UNIT)?;
        UnpairedSource::new(data, size, passes.epochs, passes.seed)
    }

    fn held_out(_: &KtoConfig, data: UnpairedPreferences) -> Result<UnpairedPreferences> {
        Ok(data)
    }
}

fn divergence(settings: &Config, prior: &str) -> String {
    match settings.divergence {
        DivergenceName::ReverseKl => format!("KL(π ‖ {prior})"),
        DivergenceName::ForwardKl => format!("KL({prior} ‖ π)"),
        DivergenceName::Js => format!("JS(π ‖ {prior})"),
        DivergenceName::Alpha => {
            format!("D_α(π ‖ {prior}), α = {}", settings.divergence_alpha)
        }
    }
}

/// The losses: what each assumes in one line, where it rests in the next.
fn help() -> String {
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
    use rlhf_objective::Beta;

    fn said(settings: &Config) -> (String, String) {
        let beta = Beta::Fixed(0.1);
        let terms = ObjectiveTerms {
            objective: "dpo",
            beta: &beta,
            prior: Some("reference"),
        };
        (
            DpoSpec::summary(settings, &terms),
            DpoSpec::optimum(settings, &terms),
        )
    }

    /// Every loss says whether its optimum is π*, and only those that have it do.
    #[test]
    fn each_loss_tells_the_truth_about_its_optimum() {
        for loss in LossName::ALL {
            let settings = Config {
                loss,
                ..Config::default()
            };
            let (_, target) = said(&settings);
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
            let known: DivergenceName = serde_json::from_value(name.into()).unwrap();
            assert_eq!(known, divergence);
            let line = help.lines().find(|line| line.trim().starts_with(name));
            let claims = line.unwrap().ends_with(" π*");
            assert_eq!(claims, slope(divergence).is_none(), "{name}");
        }
    }

    #[test]
    fn what_moves_the_optimum_is_said() {
        let (_, target) = said(&Config {
            label_smoothing: 0.1,
            ..Config::default()
        });
        assert!(
            target.starts_with("not π*, unless 0.1 of the labels"),
            "{target}"
        );
        let (terms, target) = said(&Config {
            divergence: DivergenceName::ForwardKl,
            ..Config::default()
        });
        assert!(
            terms.contains("maximize E[r] − β·KL(reference ‖ π)"),
            "{terms}"
        );
        assert!(
            target.starts_with("not the π*") && target.contains("−1/u"),
            "{target}"
        );
        let (terms, target) = said(&Config {
            loss: LossName::Ipo,
            ..Config::default()
        });
        assert!(
            terms.starts_with("dpo: least ipo loss of the pairs"),
            "{terms}"
        );
        assert!(target.contains("reference(y|x)·exp(W/0.1)"), "{target}");
    }
}
