//! The reward made from a rule.

use crate::answer::Answer;
use crate::ensemble::Ensemble;
use crate::implicit::Implicit;
use crate::model::FROZEN;
use crate::{Command, Endpoint, Error, Lexicon, Result, RewardModel, Rule, Token};
use regex::Regex;
use rlhf_lm::{LoadOptions, Tokenizer};
use rlhf_objective::{
    Finish, PerSeq, Response, Reward, Sequences, finite_optional_scores, finite_scores,
};
use std::fmt;
use std::sync::Arc;

/// A [`Rule`] with its patterns compiled, its files and reward models loaded and its tokens looked up.
#[derive(Debug)]
pub struct Rules(Compiled);

#[derive(Debug)]
enum Compiled {
    TokenShare(u32),
    Contains(String),
    Regex(Regex),
    Lexicon(Lexicon),
    Length(f64),
    Reward(BoxedReward),
    Sum(Vec<(f64, Compiled)>),
    MissingEos { penalty: f64, rule: Box<Compiled> },
}

impl Rule {
    /// Checks its models against each other and a policy with this tokenizer, without loading weights.
    ///
    /// # Errors
    /// If they do not match; the message names the folder or the number.
    pub fn check_models(&self, policy_tokenizer: &Tokenizer) -> Result<()> {
        self.leaves().into_iter().try_for_each(|leaf| match leaf {
            Self::Ensemble { folders, .. } => Ensemble::check(folders),
            Self::Implicit {
                policy,
                prior,
                beta,
            } => Implicit::check([policy, prior], *beta, policy_tokenizer),
            _ => Ok(()),
        })
    }
}

/// A reward that scores whole batches: a model, a program or an endpoint.
struct BoxedReward(Box<dyn Reward>);

impl fmt::Debug for BoxedReward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxedReward")
    }
}

impl Rules {
    /// Makes the reward of a rule, for a policy with the tokenizer `policy_tokenizer`.
    ///
    /// # Errors
    /// If a pattern, a file, a token or a number is invalid; the message names it.
    pub fn new(rule: &Rule, policy_tokenizer: &Tokenizer) -> Result<Self> {
        Self::with(rule, policy_tokenizer, &FROZEN)
    }

    /// The same with options for loading networks, except heads and temperature.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(rule: &Rule, policy_tokenizer: &Tokenizer, networks: &LoadOptions) -> Result<Self> {
        Compiled::new(rule, policy_tokenizer, networks).map(Self)
    }

    /// Checks that the tokens in the rule are in a vocabulary of `vocab` entries.
    ///
    /// # Errors
    /// If one is not; the message names it.
    pub fn check(&self, vocab: usize) -> Result<()> {
        self.0.check(vocab)
    }
}

impl Reward for Rules {
    fn score(&mut self, sequences: &Sequences) -> rlhf_objective::Result<PerSeq> {
        finite_scores(self, sequences)
    }

    fn optional_scores(
        &mut self,
        sequences: &Sequences,
    ) -> rlhf_objective::Result<Vec<Option<f32>>> {
        let scores = self.0.scores(sequences)?.into_iter();
        Ok(scores
            .map(|score| score.map(|score| score as f32))
            .collect())
    }

    fn finish(&mut self) -> rlhf_objective::Result<()> {
        self.0.finish()
    }
}

impl Compiled {
    fn new(rule: &Rule, policy_tokenizer: &Tokenizer, networks: &LoadOptions) -> Result<Self> {
        if let Some(reward) = batch_reward(rule, policy_tokenizer, networks)? {
            return Ok(Self::Reward(BoxedReward(reward)));
        }
        Ok(match rule {
            Rule::TokenShare {
                token: Token::Id(id),
            } => Self::TokenShare(*id),
            Rule::TokenShare {
                token: Token::Text(text),
            } => Self::TokenShare(policy_tokenizer.id(text).ok_or_else(|| {
                let fix = "give a token exactly as in the vocabulary, or its id";
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
                        Self::new(&part.rule, policy_tokenizer, networks)?,
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
                    rule: Box::new(Self::new(rule, policy_tokenizer, networks)?),
                }
            }
            Rule::Model { .. }
            | Rule::Ensemble { .. }
            | Rule::Implicit { .. }
            | Rule::Answer { .. }
            | Rule::Command { .. }
            | Rule::Http { .. }
            | Rule::Registered(_) => unreachable!("batch_reward makes these"),
        })
    }

    fn check(&self, vocab: usize) -> Result<()> {
        match self {
            Self::TokenShare(id) if *id as usize >= vocab => Err(Error::Rule(format!(
                "reward token-share: token {id} is not in the vocabulary: ids end at {}",
                vocab - 1
            ))),
            Self::Sum(rules) => rules.iter().try_for_each(|(_, rule)| rule.check(vocab)),
            Self::MissingEos { rule, .. } => rule.check(vocab),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> rlhf_objective::Result<()> {
        match self {
            Self::Reward(reward) => reward.0.finish(),
            Self::Sum(rules) => rules.iter_mut().try_for_each(|(_, rule)| rule.finish()),
            Self::MissingEos { rule, .. } => rule.finish(),
            _ => Ok(()),
        }
    }

    /// The scores, \[B\]; `None` for responses without a score.
    fn scores(&mut self, sequences: &Sequences) -> rlhf_objective::Result<Vec<Option<f64>>> {
        Ok(match self {
            Self::Reward(reward) => {
                let scores = finite_optional_scores(&mut *reward.0, sequences)?.into_iter();
                scores.map(|score| score.map(f64::from)).collect()
            }
            Self::Sum(rules) => {
                let mut sums = vec![Some(0.0); sequences.len()];
                for (weight, rule) in rules {
                    let scores = rule.scores(sequences)?;
                    for (sum, score) in sums.iter_mut().zip(scores) {
                        *sum = sum.zip(score).map(|(sum, x)| sum + *weight * x);
                    }
                }
                sums
            }
            Self::MissingEos { penalty, rule } => {
                let scores = rule.scores(sequences)?.into_iter();
                let missing = |response: &Response| response.finish == Finish::Length;
                let score = |x: f64, y: &Response| x - if missing(y) { *penalty } else { 0.0 };
                scores
                    .zip(sequences.responses())
                    .map(|(x, y)| x.map(|x| score(x, y)))
                    .collect()
            }
            rule => rule.text_scores(sequences).into_iter().map(Some).collect(),
        })
    }

    /// The scores of a rule about the text and tokens of the response, \[B\]. There is always a score.
    fn text_scores(&self, sequences: &Sequences) -> Vec<f64> {
        let responses = sequences.responses().iter();
        match self {
            Self::Reward(_) | Self::Sum(_) | Self::MissingEos { .. } => {
                unreachable!("composed rules and batch rewards have no text score")
            }
            Self::TokenShare(token) => {
                let share = |response: &Arc<Response>| {
                    let ids = without_eos(response);
                    let count = ids.iter().filter(|id| *id == token).count();
                    count as f64 / ids.len().max(1) as f64
                };
                responses.map(share).collect()
            }
            Self::Contains(text) => {
                let contains = |y: &Arc<Response>| y.text.contains(text.as_str());
                responses
                    .map(|y| f64::from(u8::from(contains(y))))
                    .collect()
            }
            Self::Regex(regex) => {
                let matches = |y: &Arc<Response>| regex.is_match(&y.text);
                responses.map(|y| f64::from(u8::from(matches(y)))).collect()
            }
            Self::Lexicon(lexicon) => responses.map(|y| lexicon.sum(&y.text)).collect(),
            Self::Length(per_token) => responses
                .map(|y| *per_token * without_eos(y).len() as f64)
                .collect(),
        }
    }
}

/// The reward of a rule that scores whole batches; `None` for the others.
fn batch_reward(
    rule: &Rule,
    policy_tokenizer: &Tokenizer,
    networks: &LoadOptions,
) -> Result<Option<Box<dyn Reward>>> {
    Ok(Some(match rule {
        Rule::Model { folder } => Box::new(RewardModel::load_for_policy(
            folder,
            policy_tokenizer,
            networks,
        )?),
        Rule::Ensemble { folders, combine } => Box::new(Ensemble::load(
            folders,
            *combine,
            policy_tokenizer,
            networks,
        )?),
        Rule::Implicit {
            policy,
            prior,
            beta,
        } => Box::new(Implicit::load(
            [policy, prior],
            *beta,
            policy_tokenizer,
            networks,
        )?),
        Rule::Answer { marker, field } => Box::new(Answer::new(marker, field)?),
        Rule::Command {
            program,
            batch,
            seconds,
            on_null,
            ..
        } => Box::new(Command::new(program, *batch, *seconds)?.on_null(*on_null)),
        Rule::Http {
            url,
            batch,
            seconds,
            on_null,
            ..
        } => Box::new(Endpoint::new(url, *batch, *seconds)?.on_null(*on_null)),
        Rule::Registered(registered) => registered
            .reward(policy_tokenizer)
            .map_err(|error| Error::Rule(error.to_string()))?,
        _ => return Ok(None),
    }))
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
        Rules::new(rule, &words_of(r#"{"bad": 4}"#))
            .unwrap()
            .score(&sequences)
            .unwrap()
            .to_vec()
            .unwrap()
    }

    /// A tokenizer of words.
    fn words_of(vocab: &str) -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        let model = format!(r#"{{"type": "WordLevel", "vocab": {vocab}, "unk_token": "?"}}"#);
        let text = format!(r#"{{"version": "1.0", "added_tokens": [], "model": {model}}}"#);
        std::fs::write(folder.path().join("tokenizer.json"), text).unwrap();
        Tokenizer::load(folder.path(), 10).unwrap()
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
    fn each_rule_gives_its_scores() {
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
    fn invalid_rules_are_errors() {
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
            let error = Rules::new(&rule, &words_of(r#"{"good": 4}"#));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
