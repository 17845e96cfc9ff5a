//! Parses rules on the command line.

use crate::{Combine, Error, OnNull, Result, Rule, Token};
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// The forms of a rule on the command line, and their descriptions.
pub const RULE_FORMS: [(&str, &str); 13] = [
    (
        "token-share:TOKEN",
        "the fraction of one token, by its text or id",
    ),
    ("contains:TEXT", "1 if the response contains a text"),
    ("regex:PATTERN", "1 if a pattern matches"),
    (
        "lexicon:FILE",
        "the sum of the values of words: a word, a tab and a number per line",
    ),
    ("length:NUMBER", "a number for each token"),
    ("FOLDER", "the score of a reward model"),
    ("mean:FOLDER,…", "the mean of several reward models"),
    ("min:FOLDER,…", "the minimum of several reward models"),
    (
        "mean-std:FOLDER,…",
        "their mean minus their standard deviation",
    ),
    (
        "implicit:POLICY,PRIOR,BETA",
        "β·log(policy/prior) of two language models",
    ),
    (
        "answer:MARKER",
        "1 if the last number after the last marker equals the row's field `answer`",
    ),
    (
        "command:PROGRAM …",
        "the scores of a program: reads JSON lines, writes a number per line",
    ),
    (
        "http://…, https://…",
        "the scores of an HTTP endpoint, which gets a POST",
    ),
];

impl FromStr for Rule {
    type Err = Error;

    /// Parses one of [`RULE_FORMS`].
    fn from_str(text: &str) -> Result<Self> {
        if Path::new(text).is_dir() {
            let folder = text.into();
            return Ok(Self::Model { folder });
        }
        let (kind, argument) = text.split_once(':').unwrap_or((text, ""));
        if argument.is_empty() {
            return Err(unknown(text));
        }
        let ensemble = |combine| Self::Ensemble {
            folders: argument.split(',').map(Into::into).collect(),
            combine,
        };
        Ok(match kind {
            "token-share" => Self::TokenShare {
                token: argument
                    .parse()
                    .map_or_else(|_| Token::Text(argument.into()), Token::Id),
            },
            "contains" => Self::Contains {
                text: argument.into(),
            },
            "regex" => Self::Regex {
                pattern: argument.into(),
            },
            "lexicon" => Self::Lexicon {
                file: Some(argument.into()),
                words: BTreeMap::new(),
            },
            "length" => Self::Length {
                per_token: number(text, argument)?,
            },
            "mean" => ensemble(Combine::Mean),
            "min" => ensemble(Combine::Min),
            "mean-std" => ensemble(Combine::MeanStd),
            "implicit" => implicit(text, argument)?,
            "answer" => Self::Answer {
                marker: argument.into(),
                field: crate::rule::default_answer_field(),
            },
            "command" => Self::Command {
                program: argument.split_whitespace().map(Into::into).collect(),
                batch: crate::rule::default_batch(),
                seconds: crate::rule::default_seconds(),
                on_null: OnNull::default(),
                fields: Vec::new(),
            },
            "http" | "https" => Self::Http {
                url: text.into(),
                batch: crate::rule::default_batch(),
                seconds: crate::rule::default_seconds(),
                on_null: OnNull::default(),
                fields: Vec::new(),
            },
            _ => return Err(unknown(text)),
        })
    }
}

fn implicit(text: &str, argument: &str) -> Result<Rule> {
    let parts: Vec<&str> = argument.split(',').collect();
    let [policy, prior, beta] = parts[..] else {
        return Err(Error::Rule(format!(
            "reward `{text}`: expected implicit:POLICY,PRIOR,BETA, two folders and a number"
        )));
    };
    Ok(Rule::Implicit {
        policy: policy.into(),
        prior: prior.into(),
        beta: number(text, beta)?,
    })
}

fn number(text: &str, argument: &str) -> Result<f64> {
    argument
        .parse()
        .map_err(|_| Error::Rule(format!("reward `{text}`: `{argument}` is not a number")))
}

fn unknown(text: &str) -> Error {
    let forms: Vec<&str> = RULE_FORMS.iter().map(|(form, _)| *form).collect();
    Error::Rule(format!(
        "reward `{text}`: expected {}, where FOLDER is that of a reward model; sums and penalties are \
        set in a config file under [reward]",
        forms.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_on_the_command_line_is_parsed() {
        let parse = |text: &str| text.parse::<Rule>().unwrap();
        let token = Token::Text(" good".into());
        assert_eq!(parse("token-share: good"), Rule::TokenShare { token });
        let pattern = "a:b".into();
        assert_eq!(parse("regex:a:b"), Rule::Regex { pattern });
        assert_eq!(parse("length:-0.5"), Rule::Length { per_token: -0.5 });
        let folders = vec!["a".into(), "b/c".into()];
        let combine = Combine::MeanStd;
        assert_eq!(parse("mean-std:a,b/c"), Rule::Ensemble { folders, combine });
        let Rule::Command { program, batch, .. } = parse("command:python3  judge.py") else {
            panic!("not a command");
        };
        assert_eq!(
            (program, batch),
            (vec!["python3".to_string(), "judge.py".into()], 64)
        );
        let Rule::Http { url, .. } = parse("http://localhost:8000/score") else {
            panic!("not an endpoint");
        };
        assert_eq!(url, "http://localhost:8000/score");
        let Rule::Answer { marker, field } = parse("answer:A:") else {
            panic!("not an answer");
        };
        assert_eq!((marker.as_str(), field.as_str()), ("A:", "answer"));
        for bad in [
            "lexicon",
            "length:x",
            "model:folder",
            "implicit:a,b",
            "implicit:a,b,c",
        ] {
            let error = bad.parse::<Rule>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("reward `{bad}`")), "{error}");
        }
    }

    /// The forms of a config file, with defaults left out.
    #[test]
    fn each_form_in_a_config_file_is_parsed() {
        let read = |json: &str| serde_json::from_str::<Rule>(json).unwrap();
        let answer = read(r#"{"kind": "answer"}"#);
        assert_eq!(answer, "answer:####".parse().unwrap());
        let http = read(r#"{"kind": "http", "url": "http://x/"}"#);
        assert_eq!(http, "http://x/".parse().unwrap());
        let command = read(r#"{"kind": "command", "program": ["a", "b c"], "seconds": 2.5}"#);
        assert!(matches!(command, Rule::Command { seconds: 2.5, .. }));
        let strict = read(r#"{"kind": "http", "url": "http://x/", "on_null": "error"}"#);
        let on_null = OnNull::Error;
        assert!(matches!(strict, Rule::Http { on_null: of, .. } if of == on_null));
        let ensemble = r#"{"kind": "ensemble", "folders": ["a", "b"], "combine": "min"}"#;
        assert_eq!(read(ensemble), "min:a,b".parse().unwrap());
    }
}
