//! Rules made ready to score.

use crate::{Error, Lexicon, Result, Rule, Token};
use regex::Regex;
use rlhf_objective::{Finish, PerSeq, Response, Reward, Sequences};

/// A [`Rule`] with its patterns compiled, its files read and its tokens looked up.
#[derive(Debug)]
pub struct Rules(Compiled);

#[derive(Debug)]
enum Compiled {
    TokenShare(u32),
    Contains(String),
    Regex(Regex),
    Lexicon(Lexicon),
    Length(f64),
    Sum(Vec<(f64, Compiled)>),
    MissingEos { penalty: f64, rule: Box<Compiled> },
}

impl Rules {
    /// Makes a rule ready. `token` gives the id of a token's text, if there is such a token.
    ///
    /// # Errors
    /// If a pattern, a file, a token or a number is bad; the message names it.
    pub fn new(rule: &Rule, token: &dyn Fn(&str) -> Option<u32>) -> Result<Self> {
        Compiled::new(rule, token).map(Self)
    }
}

impl Reward for Rules {
    fn score(&mut self, sequences: &Sequences) -> rlhf_objective::Result<PerSeq> {
        let score = |response: &std::sync::Arc<Response>| self.0.score(response) as f32;
        PerSeq::from_vec(sequences.responses().iter().map(score).collect())
    }
}

impl Compiled {
    fn new(rule: &Rule, token: &dyn Fn(&str) -> Option<u32>) -> Result<Self> {
        Ok(match rule {
            Rule::TokenShare {
                token: Token::Id(id),
            } => Self::TokenShare(*id),
            Rule::TokenShare {
                token: Token::Text(text),
            } => Self::TokenShare(token(text).ok_or_else(|| {
                let fix = "give a token of the vocabulary as it stands there, or its id";
                Error::Rule(format!(
                    "reward token-share: `{text}` is not one token: {fix}"
                ))
            })?),
            Rule::Contains { text } => Self::Contains(text.clone()),
            Rule::Regex { pattern } => Self::Regex(Regex::new(pattern).map_err(|error| {
                Error::Rule(format!(
                    "reward regex: `{pattern}` is not a pattern: {error}"
                ))
            })?),
            Rule::Lexicon { file, words } => {
                if file.is_none() && words.is_empty() {
                    let message = "reward lexicon: give a file, or words with their values";
                    return Err(Error::Rule(message.into()));
                }
                let read = file.as_deref().map(Lexicon::read).transpose()?;
                Self::Lexicon(read.unwrap_or_default().with(Lexicon::new(words)?))
            }
            Rule::Length { per_token } => Self::Length(finite("length: per_token", *per_token)?),
            Rule::Sum { rules } => {
                let part = |part: &crate::Weighted| -> Result<_> {
                    Ok((
                        finite("sum: weight", part.weight)?,
                        Self::new(&part.rule, token)?,
                    ))
                };
                Self::Sum(rules.iter().map(part).collect::<Result<_>>()?)
            }
            Rule::MissingEos { penalty, rule } => {
                if finite("missing-eos: penalty", *penalty)? < 0.0 {
                    let message =
                        "reward missing-eos: penalty is subtracted: give a positive number";
                    return Err(Error::Rule(message.into()));
                }
                Self::MissingEos {
                    penalty: *penalty,
                    rule: Box::new(Self::new(rule, token)?),
                }
            }
        })
    }

    fn score(&self, response: &Response) -> f64 {
        match self {
            Self::TokenShare(token) => {
                let ids = without_eos(response);
                let count = ids.iter().filter(|id| *id == token).count();
                count as f64 / ids.len().max(1) as f64
            }
            Self::Contains(text) => f64::from(u8::from(response.text.contains(text))),
            Self::Regex(regex) => f64::from(u8::from(regex.is_match(&response.text))),
            Self::Lexicon(lexicon) => lexicon.sum(&response.text),
            Self::Length(per_token) => per_token * without_eos(response).len() as f64,
            Self::Sum(rules) => rules
                .iter()
                .map(|(weight, rule)| weight * rule.score(response))
                .sum(),
            Self::MissingEos { penalty, rule } => {
                let missing = response.finish == Finish::Length;
                rule.score(response) - if missing { *penalty } else { 0.0 }
            }
        }
    }
}

fn without_eos(response: &Response) -> &[u32] {
    let ended = usize::from(response.finish == Finish::Eos);
    &response.ids[..response.ids.len() - ended]
}

fn finite(what: &str, number: f64) -> Result<f64> {
    if number.is_finite() {
        return Ok(number);
    }
    Err(Error::Rule(format!(
        "reward {what} is {number}, not a finite number"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weighted;
    use rlhf_objective::Prompt;

    fn score(rule: &Rule) -> Vec<f32> {
        let responses = [
            ("a good film", vec![1, 2, 3, 0], Finish::Eos),
            ("bad bad", vec![4, 4], Finish::Length),
            ("", vec![0], Finish::Eos),
        ];
        let responses = responses.map(|(text, ids, finish)| Response {
            text: text.into(),
            ..Response::new(0, ids, finish)
        });
        let prompts = vec![Prompt::from_ids(vec![0])];
        let sequences = Sequences::new(prompts, responses.into()).unwrap();
        let id = |text: &str| (text == "bad").then_some(4);
        Rules::new(rule, &id)
            .unwrap()
            .score(&sequences)
            .unwrap()
            .to_vec()
            .unwrap()
    }

    fn words(words: &[(&str, f64)]) -> Rule {
        Rule::Lexicon {
            file: None,
            words: words
                .iter()
                .map(|(word, value)| ((*word).into(), *value))
                .collect(),
        }
    }

    #[test]
    fn each_rule_scores() {
        let parse = |text: &str| text.parse::<Rule>().unwrap();
        assert_eq!(score(&parse("token-share:2")), [1.0 / 3.0, 0.0, 0.0]);
        assert_eq!(score(&parse("token-share:bad")), [0.0, 1.0, 0.0]);
        assert_eq!(score(&parse("contains:good")), [1.0, 0.0, 0.0]);
        assert_eq!(score(&parse("regex:^(bad ?)+$")), [0.0, 1.0, 0.0]);
        assert_eq!(score(&parse("length:0.5")), [1.5, 1.0, 0.0]);
        let lexicon = words(&[("good", 2.0), ("bad", -1.0)]);
        assert_eq!(score(&lexicon), [2.0, -2.0, 0.0]);
        let parts = [(2.0, lexicon), (-1.0, parse("length:1"))];
        let rules = parts.map(|(weight, rule)| Weighted { weight, rule }).into();
        let sum = Rule::Sum { rules };
        assert_eq!(score(&sum), [1.0, -6.0, 0.0]);
        let rule = Box::new(sum);
        assert_eq!(
            score(&Rule::MissingEos { penalty: 3.0, rule }),
            [1.0, -9.0, 0.0]
        );
    }

    #[test]
    fn bad_rules_are_named() {
        let rule = Box::new("length:1".parse().unwrap());
        for (rule, expected) in [
            (
                "regex:(".parse().unwrap(),
                "reward regex: `(` is not a pattern",
            ),
            (
                "token-share:worse".parse().unwrap(),
                "`worse` is not one token",
            ),
            (
                "length:NaN".parse().unwrap(),
                "reward length: per_token is NaN",
            ),
            (words(&[]), "reward lexicon: give a file"),
            (words(&[("x", f64::INFINITY)]), "the value of `x` is inf"),
            (
                "lexicon:/none/words.txt".parse().unwrap(),
                "/none/words.txt: No such file",
            ),
            (
                Rule::MissingEos {
                    penalty: -1.0,
                    rule,
                },
                "penalty is subtracted",
            ),
        ] {
            let error = Rules::new(&rule, &|_| None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
