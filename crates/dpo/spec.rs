//! Registry entries of `dpo` and `kto`: defaults, checks, help text, and the optimum of each loss.

use crate::{
    Batch, Config, DivergenceName, Dpo, Kto, KtoConfig, LossName, Optimum, PairSource,
    UnpairedPreferences, UnpairedSource,
};
use rlhf_objective::{Error, PairsWithPrior, Result};
use rlhf_train::{
    BatchUnit, DataPasses, Defaults, LearnsFrom, MethodSpec, ObjectiveTerms, OfflineSpec, RowField,
    RunShape,
};

/// The summary of KTO's loss.
const KTO: &str = "a saturating utility of unpaired responses, each labelled desirable or not";

/// The definition of W in optima.
const WINS: &str = "the win rate of y";

/// The defaults of both methods. The learning rate is small because one pair changes the policy
/// much.
fn preference_defaults() -> Defaults {
    Defaults {
        beta: 0.1,
        learning_rate: 1e-6,
        warmup: 0.1,
        ..Defaults::default()
    }
}

/// The registry entry of direct preference optimization.
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
        preference_defaults()
    }

    /// SimPO and ORPO use the policy's log-probs alone, so they require the counting prior.
    fn check(settings: &Config, run: &RunShape) -> Result<()> {
        settings.preference()?;
        let reference_free = matches!(settings.loss, LossName::Simpo | LossName::Orpo);
        if reference_free && !run.constant_prior {
            return Err(Error::Unsupported(format!(
                "method.loss = \"{}\" has no reference model: use --prior counting",
                settings.loss.name()
            )));
        }
        Ok(())
    }

    fn summary(settings: &Config, terms: &ObjectiveTerms<'_>) -> String {
        let objective = terms.objective;
        if settings.loss.optimum() != Optimum::PiStar {
            let (loss, assumes) = (settings.loss.name(), settings.loss.assumes());
            return format!(
                "{objective}: minimize the {loss} loss over the pairs. Assumption: {assumes}"
            );
        }
        let penalty = match terms.prior {
            None if settings.divergence == DivergenceName::ReverseKl => "+ β·H(π)".into(),
            prior => format!("− β·{}", divergence(settings, prior.unwrap_or("counting"))),
        };
        format!("{objective}: maximize E[r] {penalty}, r the Bradley–Terry reward of the labels")
    }

    fn optimum(settings: &Config, terms: &ObjectiveTerms<'_>) -> String {
        let (weight, beta) = (terms.weight(), terms.beta.value());
        let tilt = |by: &str| format!("{weight}exp({})", by.replace('β', &beta.to_string()));
        let smoothing = settings.label_smoothing;
        match settings.loss.optimum() {
            Optimum::PiStar if settings.loss == LossName::Sigmoid && smoothing > 0.0 => format!(
                "not π* but the optimum of labels flipped at rate {smoothing}; \
                method.loss = \"robust\" corrects for flipped labels"
            ),
            Optimum::PiStar => match generator_slope(settings.divergence) {
                None => format!("π*(y|x) ∝ {}", tilt("r/β")),
                Some(slope) => format!(
                    "not the π* of KL(π ‖ p₀): π(y|x) = {weight}(f′)⁻¹((r − μ(x))/{beta}), f′(u) = \
                     {slope}"
                ),
            },
            Optimum::Tilt(by) => format!("not π*: π(y|x) ∝ {}, W {WINS}", tilt(by)),
            Optimum::Approximate(by) => {
                format!("not π*: approximately π(y|x) ∝ {}, W {WINS}", tilt(by))
            }
            Optimum::Other(why) => format!("not π*: {why}"),
        }
    }

    fn describe_beta(settings: &Config, terms: &ObjectiveTerms<'_>) -> String {
        match settings.loss {
            LossName::Orpo => "not used by this loss".into(),
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

/// The registry entry of KTO.
#[derive(Debug, Clone, Copy)]
pub struct KtoSpec;

impl MethodSpec for KtoSpec {
    type Settings = KtoConfig;

    const NAME: &'static str = "kto";
    const ABOUT: &'static str = "Unpaired responses, each labelled desirable or not";
    const LEARNS_FROM: LearnsFrom = LearnsFrom::UnpairedPreferences;
    const ROW_FIELDS: &'static [RowField] = &[RowField::Label];
    const ALLOWS_ZERO_BETA: bool = false;

    fn defaults() -> Defaults {
        preference_defaults()
    }

    fn check(settings: &KtoConfig, _: &RunShape) -> Result<()> {
        settings.check()
    }

    fn summary(_: &KtoConfig, terms: &ObjectiveTerms<'_>) -> String {
        format!("{}: {KTO}", terms.objective)
    }

    fn optimum(_: &KtoConfig, _: &ObjectiveTerms<'_>) -> String {
        "not π*: the utility saturates, and no optimum is known".into()
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

/// Lists the losses: the assumption of each on one line, its optimum on the next.
fn help() -> String {
    let mut text = String::from(
        "Losses of dpo (--set method.loss=NAME): the assumption of each, and whether its optimum is\n\
        π* = prior·exp(r/β)/Z (W is the win rate of a response):\n",
    );
    let mut line = |name: &str, assumes: &str, optimum: &str| {
        text += &format!("  {name:<15}{assumes}\n  {:<15}{optimum}\n", "");
    };
    for loss in LossName::ALL {
        let optimum = match loss.optimum() {
            Optimum::PiStar => "π*".into(),
            Optimum::Tilt(by) => format!("not π*: prior·exp({by})"),
            Optimum::Approximate(by) => format!("not π*: approximately prior·exp({by})"),
            Optimum::Other(why) => format!("not π*: {why}"),
        };
        line(loss.name(), loss.assumes(), &optimum);
    }
    line("kto", KTO, "an objective of its own; not π*");
    text += "Label smoothing (--set method.label_smoothing=ε) of sigmoid and aot moves the optimum to that\n\
    of labels flipped at rate ε; robust instead corrects for labels that are flipped at that rate.\n\
    With --prior counting, sigmoid is CPO.\n\
    At its default temperature 0.05 the slope of discopop at a margin of 0 is +0.78, so training at\n\
    first moves away from the prior's ordering: it lowers the chosen response against the rejected.\n\n\
    Divergences that β multiplies (--set method.divergence=NAME, for sigmoid and robust):\n";
    for (name, divergence) in DIVERGENCES {
        let optimum = match generator_slope(divergence) {
            None => "π*".into(),
            Some(slope) => format!("not π*: prior·(f′)⁻¹((r − μ)/β), f′(u) = {slope}"),
        };
        text += &format!("  {name:<15}{optimum}\n");
    }
    text.truncate(text.trim_end().len());
    text
}

/// The divergences by their names in settings.
const DIVERGENCES: [(&str, DivergenceName); 4] = [
    ("reverse-kl", DivergenceName::ReverseKl),
    ("forward-kl", DivergenceName::ForwardKl),
    ("js", DivergenceName::Js),
    ("alpha", DivergenceName::Alpha),
];

/// f′ of a divergence; none for KL(π ‖ p₀), whose optimum is π*.
fn generator_slope(divergence: DivergenceName) -> Option<&'static str> {
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

    /// The summary and the optimum printed for these settings.
    fn printed(settings: &Config) -> (String, String) {
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

    /// The printed optimum is π* for exactly the losses whose optimum it is.
    #[test]
    fn printed_optima_are_those_of_the_losses() {
        for loss in LossName::ALL {
            let settings = Config {
                loss,
                ..Config::default()
            };
            let (_, optimum) = printed(&settings);
            let claims = optimum.starts_with("π*(y|x) ∝ reference(y|x)·exp(r/0.1)");
            assert_eq!(claims, loss.optimum() == Optimum::PiStar, "{optimum}");
            assert!(claims || optimum.starts_with("not π*"), "{optimum}");
            assert!(help().contains(loss.assumes()));
        }
    }

    /// The help is printed without wrapping, so no line is wider than 98 columns.
    #[test]
    fn the_help_has_a_line_for_each_loss_and_divergence() {
        let help = help();
        for line in help.lines() {
            assert!(line.chars().count() <= 98, "{line}");
        }
        for (name, divergence) in DIVERGENCES {
            let parsed: DivergenceName = serde_json::from_value(name.into()).unwrap();
            assert_eq!(parsed, divergence);
            let line = help.lines().find(|line| line.trim().starts_with(name));
            let claims = line.unwrap().ends_with(" π*");
            assert_eq!(claims, generator_slope(divergence).is_none(), "{name}");
        }
    }

    #[test]
    fn smoothing_and_divergences_change_the_printed_optimum() {
        let (_, optimum) = printed(&Config {
            label_smoothing: 0.1,
            ..Config::default()
        });
        assert!(
            optimum.starts_with("not π* but the optimum of labels flipped at rate 0.1"),
            "{optimum}"
        );
        let (summary, optimum) = printed(&Config {
            divergence: DivergenceName::ForwardKl,
            ..Config::default()
        });
        assert!(
            summary.contains("maximize E[r] − β·KL(reference ‖ π)"),
            "{summary}"
        );
        assert!(
            optimum.starts_with("not the π*") && optimum.contains("−1/u"),
            "{optimum}"
        );
        let (summary, optimum) = printed(&Config {
            loss: LossName::Ipo,
            ..Config::default()
        });
        assert!(
            summary.starts_with("dpo: minimize the ipo loss over the pairs"),
            "{summary}"
        );
        assert!(optimum.contains("reference(y|x)·exp(W/0.1)"), "{optimum}");
    }
}
