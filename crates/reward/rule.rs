//! What a user writes to say what is rewarded.

use crate::Registered;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A token, by its id or by the text it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a token id, or the text of one token")]
pub enum Token {
    /// By id.
    Id(u32),
    /// By text.
    Text(String),
}

/// A rule and how much it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// What its score is multiplied by.
    pub weight: f64,
    /// The rule.
    pub rule: Rule,
}

/// A rule that scores a response. Units: of the reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    remote = "Self",
    tag = "kind",
    rename_all = "kebab-case",
    deny_unknown_fields
)]
pub enum Rule {
    /// The share of one token among the response's tokens, the EOS not counted: in [0, 1].
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
        /// Words and values given here, which win over the file's.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        words: BTreeMap<String, f64>,
    },
    /// A number for each token of the response, the EOS not counted.
    Length {
        /// The number.
        per_token: f64,
    },
    /// What a reward model says, as its `reward.json` scales it.
    Model {
        /// Its checkpoint folder.
        folder: PathBuf,
    },
    /// What several reward models say together, such as seeds of one run.
    Ensemble {
        /// Their checkpoint folders, two at least.
        folders: Vec<PathBuf>,
        /// What is made of their scores.
        combine: Combine,
    },
    /// β·log(π/p₀) of a policy: the reward that it is the optimum of, up to a number a prompt
    /// (Rafailov et al. 2023, eq. 5).
    Implicit {
        /// The policy's checkpoint folder, such as that of a run of dpo.
        policy: PathBuf,
        /// The folder of the prior it was trained against.
        prior: PathBuf,
        /// β, positive.
        beta: f64,
    },
    /// 1 if the response's answer is the one its row gives, else 0. An answer is the last number
    /// after the last marker; a response without it has none.
    Answer {
        /// What stands before an answer.
        #[serde(default = "four_hashes")]
        marker: String,
        /// The row's field with the right answer: a number, or a text that ends in one.
        #[serde(default = "answer_field")]
        field: String,
    },
    /// What a program of your own says; see [`Command`](crate::Command).
    Command {
        /// The program and its arguments. No shell reads them.
        program: Vec<String>,
        /// How many responses it gets at once.
        #[serde(default = "responses")]
        batch: usize,
        /// How long it may take for them.
        #[serde(default = "seconds")]
        seconds: f64,
        /// What an answer of `null` is.
        #[serde(default, skip_serializing_if = "OnNull::is_default")]
        on_null: OnNull,
        /// The fields of a data row that it reads; every row must have them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fields: Vec<String>,
    },
    /// What an HTTP endpoint of your own says; see [`Endpoint`](crate::Endpoint).
    Http {
        /// Where to POST.
        url: String,
        /// How many responses it gets at once.
        #[serde(default = "responses")]
        batch: usize,
        /// How long it may take for them.
        #[serde(default = "seconds")]
        seconds: f64,
        /// What an answer of `null` is.
        #[serde(default, skip_serializing_if = "OnNull::is_default")]
        on_null: OnNull,
        /// The fields of a data row that it reads; every row must have them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fields: Vec<String>,
    },
    /// The weighted sum of other rules; no opinion where one of them has none, because a sum of the others
    /// is on another scale.
    Sum {
        /// The rules.
        rules: Vec<Weighted>,
    },
    /// Another rule, minus a penalty where the response ends without an EOS token.
    MissingEos {
        /// The penalty, a positive number.
        penalty: f64,
        /// The other rule.
        rule: Box<Self>,
    },
    /// A reward that a program of one's own registered.
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
    /// A registered kind is read by who registered it.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::deserialize(from)
    }
}

/// What it is when a program or an endpoint answers `null` instead of a score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNull {
    /// No opinion: the response is left out of what is learned and of the statistics of scores, and
    /// counted.
    #[default]
    LeaveOut,
    /// An error.
    Error,
}

impl OnNull {
    // The form that serde asks for.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What is made of the scores of an ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Their mean.
    Mean,
    /// The least of them: what all agree a response is worth at least (Coste et al. 2024, eq. 3).
    Min,
    /// Their mean minus their standard deviation, that of the k numbers themselves: what is agreed
    /// upon counts more (ibid., eq. 4, with the deviation for the variance).
    MeanStd,
}

fn four_hashes() -> String {
    "####".into()
}

pub(crate) fn answer_field() -> String {
    "answer".into()
}

pub(crate) const fn responses() -> usize {
    64
}

pub(crate) const fn seconds() -> f64 {
    60.0
}

impl Rule {
    /// The rules that it is composed of, none of which is composed itself.
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

    /// The files it names.
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

    /// The same with every reward model replaced by the number 0: what is left can be checked without
    /// reading weights.
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

    /// The folders of the language models whose log-probs it asks for.
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

    /// The folders of the reward models it names.
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

    /// The programs that it runs, each with its arguments.
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
