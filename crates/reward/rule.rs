//! The settings of a rule, which determine the reward.

use crate::Registered;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A token, by its id or its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a token id, or the text of one token")]
pub enum Token {
    /// By id.
    Id(u32),
    /// By text.
    Text(String),
}

/// A rule with a weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// The factor of its score.
    pub weight: f64,
    /// The rule.
    pub rule: Rule,
}

/// A rule that scores responses, in units of the reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    remote = "Self",
    tag = "kind",
    rename_all = "kebab-case",
    deny_unknown_fields
)]
pub enum Rule {
    /// The fraction of one token among the response's tokens without the EOS, in [0, 1].
    TokenShare {
        /// The token.
        token: Token,
    },
    /// 1 if the response's text contains another text, else 0.
    Contains {
        /// The other text.
        text: String,
    },
    /// 1 if a regular expression matches somewhere in the response's text, else 0.
    Regex {
        /// The expression, in the syntax of the `regex` crate.
        pattern: String,
    },
    /// The sum of the values of the response's words.
    Lexicon {
        /// A file with a word, a tab and a number on each line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<PathBuf>,
        /// Words and values, which override those of the file.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        words: BTreeMap<String, f64>,
    },
    /// A constant per token of the response, without the EOS.
    Length {
        /// The constant.
        per_token: f64,
    },
    /// The score of a reward model, normalized by its `reward.json`.
    Model {
        /// Its checkpoint folder.
        folder: PathBuf,
    },
    /// The combined score of several reward models, such as seeds of one run.
    Ensemble {
        /// Their checkpoint folders, at least two.
        folders: Vec<PathBuf>,
        /// How their scores are combined.
        combine: Combine,
    },
    /// β·log(π/p₀) of a policy: the reward under which it is optimal, up to a constant per prompt (Rafailov
    /// et al. 2023, eq. 5).
    Implicit {
        /// The policy's checkpoint folder, such as that of a DPO run.
        policy: PathBuf,
        /// The folder of the prior it was trained against.
        prior: PathBuf,
        /// β, positive.
        beta: f64,
    },
    /// 1 if the number in the response equals that of its row, else 0. It is the last number after the last
    /// marker.
    Answer {
        /// The marker before the number.
        #[serde(default = "default_marker")]
        marker: String,
        /// The row's field with the correct number, or with a text that ends in it.
        #[serde(default = "default_answer_field")]
        field: String,
    },
    /// The score of an external program; see [`Command`](crate::Command).
    Command {
        /// The program and its arguments, which are not interpreted by a shell.
        program: Vec<String>,
        /// How many responses it gets at once.
        #[serde(default = "default_batch")]
        batch: usize,
        /// The time limit for a batch.
        #[serde(default = "default_seconds")]
        seconds: f64,
        /// How an answer of `null` is treated.
        #[serde(default, skip_serializing_if = "OnNull::is_default")]
        on_null: OnNull,
        /// The fields of data rows that it uses; every row must have them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fields: Vec<String>,
    },
    /// The score of an HTTP endpoint; see [`Endpoint`](crate::Endpoint).
    Http {
        /// The URL of the POST requests.
        url: String,
        /// How many responses it gets at once.
        #[serde(default = "default_batch")]
        batch: usize,
        /// The time limit for a batch.
        #[serde(default = "default_seconds")]
        seconds: f64,
        /// How an answer of `null` is treated.
        #[serde(default, skip_serializing_if = "OnNull::is_default")]
        on_null: OnNull,
        /// The fields of data rows that it uses; every row must have them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fields: Vec<String>,
    },
    /// The weighted sum of other rules. If one of them has no score for a response, neither has the sum,
    /// because the others alone are on another scale.
    Sum {
        /// The rules.
        rules: Vec<Weighted>,
    },
    /// Another rule, minus a penalty if the response ends without an EOS token.
    MissingEos {
        /// The penalty, a positive number.
        penalty: f64,
        /// The other rule.
        rule: Box<Self>,
    },
    /// A reward of a registered kind.
    #[serde(skip)]
    Registered(Registered),
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Registered(registered) => registered.serialize(to),
            rule => Self::serialize(rule, to),
        }
    }
}

impl<'de> Deserialize<'de> for Rule {
    /// Built-in kinds only. The registry deserializes registered kinds.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::deserialize(from)
    }
}

/// How an answer of `null` of a program or an endpoint is treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNull {
    /// The response has no score. It is not used for updates and statistics of scores, and is counted.
    #[default]
    LeaveOut,
    /// An error.
    Error,
}

impl OnNull {
    // The signature that serde requires.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How the scores of an ensemble are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Their mean.
    Mean,
    /// The minimum (Coste et al. 2024, eq. 3).
    Min,
    /// The mean minus the standard deviation of the k scores (divided by k), which lowers the score where
    /// the models disagree (ibid., eq. 4, with the deviation in place of the variance).
    MeanStd,
}

fn default_marker() -> String {
    "####".into()
}

pub(crate) fn default_answer_field() -> String {
    "answer".into()
}

pub(crate) const fn default_batch() -> usize {
    64
}

pub(crate) const fn default_seconds() -> f64 {
    60.0
}

impl Rule {
    /// The rules that a sum or a penalty is composed of, recursively.
    #[must_use]
    pub fn leaves(&self) -> Vec<&Self> {
        match self {
            Self::Sum { rules } => rules.iter().flat_map(|part| part.rule.leaves()).collect(),
            Self::MissingEos { rule, .. } => rule.leaves(),
            leaf => vec![leaf],
        }
    }

    fn leaves_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Sum { rules } => rules
                .iter_mut()
                .flat_map(|part| part.rule.leaves_mut())
                .collect(),
            Self::MissingEos { rule, .. } => rule.leaves_mut(),
            leaf => vec![leaf],
        }
    }

    /// The paths of files and folders in the rule.
    pub fn files(&mut self) -> Vec<&mut PathBuf> {
        fn files(leaf: &mut Rule) -> Vec<&mut PathBuf> {
            match leaf {
                Rule::Lexicon { file, .. } => file.iter_mut().collect(),
                Rule::Model { folder } => vec![folder],
                Rule::Ensemble { folders, .. } => folders.iter_mut().collect(),
                Rule::Implicit { policy, prior, .. } => vec![policy, prior],
                _ => vec![],
            }
        }
        self.leaves_mut().into_iter().flat_map(files).collect()
    }

    /// The same rule with every reward model replaced by the constant 0, so that it can be checked without
    /// loading weights.
    #[must_use]
    pub fn without_models(&self) -> Self {
        let mut rule = self.clone();
        for leaf in rule.leaves_mut() {
            if let Self::Model { .. } | Self::Ensemble { .. } | Self::Implicit { .. } = leaf {
                *leaf = Self::Length { per_token: 0.0 };
            }
        }
        rule
    }

    /// The folders of the language models whose log-probs it uses.
    #[must_use]
    pub fn language_models(&self) -> Vec<&Path> {
        fn models(leaf: &Rule) -> Vec<&Path> {
            match leaf {
                Rule::Implicit { policy, prior, .. } => vec![policy, prior],
                _ => vec![],
            }
        }
        self.leaves().into_iter().flat_map(models).collect()
    }

    /// The folders of the reward models it uses.
    #[must_use]
    pub fn models(&self) -> Vec<&Path> {
        fn models(leaf: &Rule) -> Vec<&Path> {
            match leaf {
                Rule::Model { folder } => vec![folder],
                Rule::Ensemble { folders, .. } => folders.iter().map(PathBuf::as_path).collect(),
                _ => vec![],
            }
        }
        self.leaves().into_iter().flat_map(models).collect()
    }

    /// The external programs it runs, with their arguments.
    #[must_use]
    pub fn programs(&self) -> Vec<&[String]> {
        fn programs(leaf: &Rule) -> Option<&[String]> {
            match leaf {
                Rule::Command { program, .. } => Some(program),
                _ => None,
            }
        }
        self.leaves().into_iter().filter_map(programs).collect()
    }
}
