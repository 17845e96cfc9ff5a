//! The fields of data rows that rules use.

use crate::answer::Answer;
use crate::{Result, Rule};
use serde_json::{Map, Value};

/// A field of data rows that a rule uses, which is checked before the run.
#[derive(Debug)]
pub struct Field {
    rule: &'static str,
    name: String,
    required: Required,
}

/// The value that a field must have.
#[derive(Debug)]
enum Required {
    /// Anything but null.
    Any,
    /// A number, as the rule `answer` parses it.
    Number(Answer),
}

impl Rule {
    /// The fields of data rows that the rule uses.
    ///
    /// # Errors
    /// If the rule is invalid.
    pub fn fields(&self) -> Result<Vec<Field>> {
        let some = |rule: &'static str, names: &[String]| {
            let field = |name: &String| Field {
                rule,
                name: name.clone(),
                required: Required::Any,
            };
            names.iter().map(field).collect()
        };
        Ok(match self {
            Self::Answer { marker, field } => vec![Field {
                rule: "answer",
                name: field.clone(),
                required: Required::Number(Answer::new(marker, field)?),
            }],
            Self::Command { fields, .. } => some("command", fields),
            Self::Http { fields, .. } => some("http", fields),
            Self::Sum { rules } => {
                let parts = rules.iter().map(|part| part.rule.fields());
                parts
                    .collect::<Result<Vec<_>>>()?
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Self::MissingEos { rule, .. } => rule.fields()?,
            Self::TokenShare { .. }
            | Self::Contains { .. }
            | Self::Regex { .. }
            | Self::Lexicon { .. }
            | Self::Length { .. }
            | Self::Model { .. }
            | Self::Ensemble { .. }
            | Self::Implicit { .. }
            | Self::Registered(_) => Vec::new(),
        })
    }
}

impl Field {
    /// The name of the field.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks that a row has the field with a valid value.
    ///
    /// # Errors
    /// If not; the message names the rule, the field and its value.
    pub fn check(&self, row: &Map<String, Value>) -> std::result::Result<(), String> {
        let (rule, name) = (self.rule, &self.name);
        let value = row.get(name).filter(|value| !value.is_null());
        let has = || {
            let names = row.keys().map(|name| format!("`{name}`"));
            names.collect::<Vec<_>>().join(", ")
        };
        match (value, &self.required) {
            (None, _) => Err(format!(
                "no field `{name}`, which the reward {rule} reads, in this row, which has {}",
                has()
            )),
            (Some(value), Required::Number(answer)) if answer.number_in_row(value).is_none() => {
                Err(format!(
                    "field `{name}`, which the reward {rule} reads, must hold a number, and holds {}",
                    crate::answer::excerpt_of(value)
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_fields_of_a_rule_are_checked() {
        let answer = |field: &str| Rule::Answer {
            marker: "####".into(),
            field: field.into(),
        };
        let rules = vec![
            crate::Weighted {
                weight: 1.0,
                rule: "length:1".parse().unwrap(),
            },
            crate::Weighted {
                weight: 1.0,
                rule: answer("solution"),
            },
        ];
        let rule = Rule::MissingEos {
            penalty: 1.0,
            rule: Box::new(Rule::Sum { rules }),
        };
        let fields = rule.fields().unwrap();
        assert_eq!(fields.len(), 1);
        assert_eq!(fields[0].name(), "solution");
        for (row, expected) in [
            (json!({"solution": 4}), None),
            (json!({"solution": "so #### 1,000"}), None),
            (
                json!({"solution": "four"}),
                Some(
                    "`solution`, which the reward answer reads, must hold a number, and holds \"four\"",
                ),
            ),
            (
                json!({"answer": 4, "solution": null}),
                Some("no field `solution`, which the reward answer reads"),
            ),
        ] {
            let found = fields[0].check(row.as_object().unwrap());
            match expected {
                None => assert_eq!(found, Ok(())),
                Some(words) => assert!(found.as_ref().unwrap_err().contains(words), "{found:?}"),
            }
        }
        let command = Rule::Command {
            program: vec!["judge".into()],
            batch: 1,
            seconds: 1.0,
            on_null: crate::OnNull::default(),
            fields: vec!["topic".into()],
        };
        let field = &command.fields().unwrap()[0];
        assert!(
            field
                .check(json!({"topic": 0}).as_object().unwrap())
                .is_ok()
        );
        assert!(
            field
                .check(&Map::new())
                .unwrap_err()
                .contains("`topic`, which the reward command")
        );
        assert!(Rule::Length { per_token: 1.0 }.fields().unwrap().is_empty());
    }
}
