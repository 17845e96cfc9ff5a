//! What a user writes to say what is rewarded.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

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
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
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
    /// The weighted sum of other rules.
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
}

impl Rule {
    /// The files it names.
    pub fn files(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Lexicon { file, .. } => file.iter_mut().collect(),
            Self::Model { folder } => vec![folder],
            Self::Sum { rules } => rules
                .iter_mut()
                .flat_map(|part| part.rule.files())
                .collect(),
            Self::MissingEos { rule, .. } => rule.files(),
            Self::TokenShare { .. }
            | Self::Contains { .. }
            | Self::Regex { .. }
            | Self::Length { .. } => vec![],
        }
    }

    /// The same with every reward model replaced by the number 0: what is left can be checked without
    /// reading weights.
    #[must_use]
    pub fn without_models(&self) -> Self {
        match self {
            Self::Model { .. } => Self::Length { per_token: 0.0 },
            Self::Sum { rules } => Self::Sum {
                rules: rules
                    .iter()
                    .map(|part| Weighted {
                        weight: part.weight,
                        rule: part.rule.without_models(),
                    })
                    .collect(),
            },
            Self::MissingEos { penalty, rule } => Self::MissingEos {
                penalty: *penalty,
                rule: Box::new(rule.without_models()),
            },
            other => other.clone(),
        }
    }

    /// The folders of the reward models it names.
    #[must_use]
    pub fn models(&self) -> Vec<&Path> {
        match self {
            Self::Model { folder } => vec![folder],
            Self::Sum { rules } => rules.iter().flat_map(|part| part.rule.models()).collect(),
            Self::MissingEos { rule, .. } => rule.models(),
            Self::TokenShare { .. }
            | Self::Contains { .. }
            | Self::Regex { .. }
            | Self::Lexicon { .. }
            | Self::Length { .. } => vec![],
        }
    }
}

impl FromStr for Rule {
    type Err = Error;

    /// Reads `kind:argument`, the form for a command line: `token-share:2`, `contains:TEXT`,
    /// `regex:PATTERN`, `lexicon:FILE`, `length:-0.01`; or a folder, for the reward model in it.
    fn from_str(text: &str) -> Result<Self> {
        let (kind, argument) = text.split_once(':').unwrap_or((text, ""));
        let missing = argument.is_empty();
        match kind {
            _ if Path::new(text).is_dir() => Ok(Self::Model {
                folder: text.into(),
            }),
            _ if missing => Err(unknown(text)),
            "token-share" => Ok(Self::TokenShare {
                token: argument
                    .parse()
                    .map_or_else(|_| Token::Text(argument.into()), Token::Id),
            }),
            "contains" => Ok(Self::Contains {
                text: argument.into(),
            }),
            "regex" => Ok(Self::Regex {
                pattern: argument.into(),
            }),
            "lexicon" => Ok(Self::Lexicon {
                file: Some(argument.into()),
                words: BTreeMap::new(),
            }),
            "length" => argument
                .parse()
                .map(|per_token| Self::Length { per_token })
                .map_err(|_| Error::Rule(format!("reward `{text}`: `{argument}` is not a number"))),
            _ => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> Error {
    Error::Rule(format!(
        "reward `{text}`: expected token-share:TOKEN, contains:TEXT, regex:PATTERN, lexicon:FILE, \
         length:NUMBER or the folder of a reward model; sums and penalties are written in a config file under [reward]"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        let share: Rule = "token-share: good".parse().unwrap();
        let token = Token::Text(" good".into());
        assert_eq!(share, Rule::TokenShare { token });
        let regex: Rule = "regex:a:b".parse().unwrap();
        assert_eq!(
            regex,
            Rule::Regex {
                pattern: "a:b".into()
            }
        );
        let length: Rule = "length:-0.5".parse().unwrap();
        assert_eq!(length, Rule::Length { per_token: -0.5 });
        for bad in ["lexicon", "length:x", "model:folder"] {
            let error = bad.parse::<Rule>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("reward `{bad}`")), "{error}");
        }
    }
}
