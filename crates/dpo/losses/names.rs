//! The losses by name, and in a line what each assumes.

use serde::{Deserialize, Serialize};

/// The losses by name. TRL's names are understood where they differ.
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
    /// All of them.
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

    /// The name as it is written in settings.
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

    /// What it assumes of the labels, or does.
    #[must_use]
    pub fn assumes(self) -> &'static str {
        match self {
            Self::Sigmoid => "labels drawn by Bradley and Terry's model",
            Self::Robust => "such labels, flipped at rate method.label_smoothing",
            Self::Hinge => "a pair is settled once its implicit rewards differ by 1",
            Self::Ipo => "no model of the labels: rates of winning are what is maximized",
            Self::IpoNormalized => "ipo of log-ratios a token, as TRL's ipo",
            Self::Exo => "the label is right at a rate of 1 - method.label_smoothing",
            Self::Nca => "each answer is told from the prior's, not from the other",
            Self::Bco => "a classifier tells better answers from worse ones",
            Self::Sppo => "one step of self-play from the prior, labels as rates of winning",
            Self::Aot => "margins exceed the prior's rank by rank in a batch, not pair by pair",
            Self::ApoZero => "better answers are better than the model's own",
            Self::ApoDown => "the model's own answers are better than both",
            Self::Discopop => "nothing: found by search, not convex",
            Self::Simpo => "log-probs a token are rewards; for the counting prior alone",
            Self::Orpo => "likelihood and odds of the better answer; for the counting prior alone",
        }
    }

    /// Where its optimum is: π* = p₀·exp(r/β)/Z, or what instead. W is an answer's rate of winning
    /// against those it was compared with.
    #[must_use]
    pub fn optimum(self) -> Optimum {
        match self {
            Self::Sigmoid | Self::Robust => Optimum::PiStar,
            Self::Ipo => Optimum::Tilt("W/β"),
            Self::Sppo => Optimum::About("(W − ½)/β"),
            Self::Bco => Optimum::About("log(W/(1 − W))/β"),
            Self::Exo => Optimum::Other("a pair's log-odds are (2P − 1)·log((1 − ε)/ε)"),
            Self::Hinge => Optimum::Other("which answer wins more often is all that counts"),
            Self::IpoNormalized | Self::Simpo => Optimum::Other("it depends on lengths"),
            Self::Nca => Optimum::Other("probabilities are held, not ratios alone"),
            Self::Aot => Optimum::Other("it depends on what is in a batch"),
            Self::ApoZero | Self::ApoDown => {
                Optimum::Other("the loss saturates, with no optimum inside")
            }
            Self::Discopop => Optimum::Other("the loss is not convex"),
            Self::Orpo => Optimum::Other("likelihood is the anchor, and beta has no part"),
        }
    }
}

/// Where the optimum of a loss is, in the limit of many pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimum {
    /// π*.
    PiStar,
    /// Not π*, but p₀·exp(this)/Z.
    Tilt(&'static str),
    /// Not π*; p₀·exp(this)/Z to first order.
    About(&'static str),
    /// Not π*, for a reason.
    Other(&'static str),
}
