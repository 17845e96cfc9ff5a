//! The losses by name, with the assumption and the optimum of each.

use serde::{Deserialize, Serialize};

/// The losses by name. TRL's names are accepted as aliases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// [`Preference::Sigmoid`](super::Preference::Sigmoid).
    #[default]
    Sigmoid,
    /// [`Preference::Robust`](super::Preference::Robust).
    Robust,
    /// [`Preference::Hinge`](super::Preference::Hinge).
    Hinge,
    /// [`Preference::Ipo`](super::Preference::Ipo).
    Ipo,
    /// [`Preference::IpoNormalized`](super::Preference::IpoNormalized).
    IpoNormalized,
    /// [`Preference::Exo`](super::Preference::Exo).
    #[serde(alias = "exo_pair")]
    Exo,
    /// [`Preference::Nca`](super::Preference::Nca).
    #[serde(alias = "nca_pair")]
    Nca,
    /// [`Preference::Bco`](super::Preference::Bco).
    #[serde(alias = "bco_pair")]
    Bco,
    /// [`Preference::Sppo`](super::Preference::Sppo).
    #[serde(alias = "sppo_hard")]
    Sppo,
    /// [`Preference::Aot`](super::Preference::Aot).
    Aot,
    /// [`Preference::ApoZero`](super::Preference::ApoZero).
    #[serde(alias = "apo_zero")]
    ApoZero,
    /// [`Preference::ApoDown`](super::Preference::ApoDown).
    #[serde(alias = "apo_down")]
    ApoDown,
    /// [`Preference::Discopop`](super::Preference::Discopop).
    Discopop,
    /// [`Preference::Simpo`](super::Preference::Simpo).
    Simpo,
    /// [`Preference::Orpo`](super::Preference::Orpo).
    Orpo,
}

impl LossName {
    /// All losses.
    pub const ALL: [Self; 15] = [
        Self::Sigmoid,
        Self::Robust,
        Self::Hinge,
        Self::Ipo,
        Self::IpoNormalized,
        Self::Exo,
        Self::Nca,
        Self::Bco,
        Self::Sppo,
        Self::Aot,
        Self::ApoZero,
        Self::ApoDown,
        Self::Discopop,
        Self::Simpo,
        Self::Orpo,
    ];

    /// The name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Robust => "robust",
            Self::Hinge => "hinge",
            Self::Ipo => "ipo",
            Self::IpoNormalized => "ipo-normalized",
            Self::Exo => "exo",
            Self::Nca => "nca",
            Self::Bco => "bco",
            Self::Sppo => "sppo",
            Self::Aot => "aot",
            Self::ApoZero => "apo-zero",
            Self::ApoDown => "apo-down",
            Self::Discopop => "discopop",
            Self::Simpo => "simpo",
            Self::Orpo => "orpo",
        }
    }

    /// The assumption about the labels, or a description of the loss, in one line.
    #[must_use]
    pub fn assumes(self) -> &'static str {
        match self {
            Self::Sigmoid => "labels follow the Bradley–Terry model",
            Self::Robust => "Bradley–Terry labels, flipped at rate method.label_smoothing",
            Self::Hinge => "a difference of 1 between the implicit rewards is enough",
            Self::Ipo => "no model of the labels: it maximizes the win rate",
            Self::IpoNormalized => "ipo with log-ratios per token, as in TRL's ipo",
            Self::Exo => "the label is correct at a rate of 1 - method.label_smoothing",
            Self::Nca => {
                "each response is classified against the prior's, not against the other one"
            }
            Self::Bco => "a classifier separates chosen from rejected responses",
            Self::Sppo => "one self-play step from the prior, with labels as win rates",
            Self::Aot => "margins exceed the prior's by rank in a batch, not pair by pair",
            Self::ApoZero => "chosen responses are better than the model's own",
            Self::ApoDown => "the model's own responses are better than both",
            Self::Discopop => "nothing: found by search, not convex",
            Self::Simpo => "the reward is the log-prob per token; needs the counting prior",
            Self::Orpo => {
                "likelihood and odds ratio of the chosen response; needs the counting prior"
            }
        }
    }

    /// The optimum: π* = p₀·exp(r/β)/Z, or another. W is the win rate of a response against those
    /// it is compared with.
    #[must_use]
    pub fn optimum(self) -> Optimum {
        match self {
            Self::Sigmoid | Self::Robust => Optimum::PiStar,
            Self::Ipo => Optimum::Tilt("W/β"),
            Self::Sppo => Optimum::Approximate("(W − ½)/β"),
            Self::Bco => Optimum::Approximate("log(W/(1 − W))/β"),
            Self::Exo => Optimum::Other("the log-odds of a pair are (2P − 1)·log((1 − ε)/ε)"),
            Self::Hinge => Optimum::Other("it depends only on which response wins more often"),
            Self::IpoNormalized | Self::Simpo => Optimum::Other("it depends on response lengths"),
            Self::Nca => Optimum::Other("it fits absolute probabilities, not only ratios"),
            Self::Aot => Optimum::Other("it depends on the other pairs in a batch"),
            Self::ApoZero | Self::ApoDown => {
                Optimum::Other("the loss saturates and has no interior optimum")
            }
            Self::Discopop => Optimum::Other("the loss is not convex"),
            Self::Orpo => Optimum::Other("the likelihood of the chosen response replaces beta·KL"),
        }
    }
}

/// The optimum of a loss in the limit of many pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimum {
    /// π*.
    PiStar,
    /// Not π*, but p₀·exp(x)/Z with this exponent x.
    Tilt(&'static str),
    /// Not π*, but p₀·exp(x)/Z with this exponent x, to first order.
    Approximate(&'static str),
    /// Not π*, for this reason.
    Other(&'static str),
}
