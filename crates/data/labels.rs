//! Reads preference labels, with the same meaning for every objective.

use crate::row::{ARRAY_AS_TEXT, looks_like_array};
use crate::{Result, Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How labels are read. A label is yes, no or a probability of yes. For a pair, yes means that
/// `chosen` is the better answer; for an unpaired completion, that it is desirable.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Labels {
    /// What the values mean.
    pub values: LabelFormat,
    /// How the labels of several annotators are combined.
    pub annotators: Annotators,
    /// Whether a label may be neither yes nor no.
    pub soft: SoftLabels,
}

/// What the values of labels mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"probability\", \"0/1\", \"1/2\", \"-1/1\", \"A/B\", or { yes = …, no = … }"
)]
pub enum LabelFormat {
    /// A common format.
    Standard(StandardLabels),
    /// Custom values.
    Custom(CustomLabels),
}

impl Default for LabelFormat {
    fn default() -> Self {
        Self::Standard(StandardLabels::Probability)
    }
}

/// Common formats of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StandardLabels {
    /// True or false, or the probability of yes, from 0 to 1.
    #[serde(rename = "probability")]
    Probability,
    /// 1 is yes, 0 is no.
    #[serde(rename = "0/1")]
    ZeroOne,
    /// The better answer: 1, the first (`chosen`), is yes; 2, the second (`rejected`), is no.
    #[serde(rename = "1/2")]
    OneTwo,
    /// 1 is yes, -1 is no.
    #[serde(rename = "-1/1")]
    MinusOne,
    /// The better answer: A, the first (`chosen`), is yes; B, the second, is no.
    #[serde(rename = "A/B")]
    Letters,
}

/// Custom values for yes and no.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomLabels {
    /// Yes: `chosen` is better, or the completion is desirable.
    pub yes: LabelValue,
    /// No.
    pub no: LabelValue,
    /// A tie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tie: Option<LabelValue>,
}

/// A value of a label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text, a number, true or false")]
pub enum LabelValue {
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// How the labels of several annotators, an array, are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Annotators {
    /// Their mean, a probability.
    #[default]
    Mean,
    /// The majority; a tie if both sides are equal.
    Majority,
}

/// Whether a label may be neither yes nor no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SoftLabels {
    /// Yes: the loss uses it as a probability.
    #[default]
    Allowed,
    /// No: it is an error; a row with a tie is left out and counted.
    Refused,
}

impl LabelValue {
    /// The key for comparison: a number is the same in any notation.
    fn key(&self) -> String {
        match self {
            Self::Bool(yes) => yes.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => key_of_text(text),
        }
    }
}

fn key_of_text(text: &str) -> String {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(number) => number.to_string(),
        Err(_) => text.to_string(),
    }
}

fn key_of_value(value: &Value) -> Option<String> {
    match value {
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Number(number) => number.as_f64().map(|number| number.to_string()),
        Value::String(text) => Some(key_of_text(text)),
        _ => None,
    }
}

impl LabelFormat {
    /// The values of yes, no and tie; none for probabilities.
    fn values(&self) -> Option<[Option<String>; 3]> {
        let two = |yes: &str, no: &str| Some([Some(yes.into()), Some(no.into()), None]);
        match self {
            Self::Standard(StandardLabels::Probability) => None,
            Self::Standard(StandardLabels::ZeroOne) => two("1", "0"),
            Self::Standard(StandardLabels::OneTwo) => two("1", "2"),
            Self::Standard(StandardLabels::MinusOne) => two("1", "-1"),
            Self::Standard(StandardLabels::Letters) => two("A", "B"),
            Self::Custom(CustomLabels { yes, no, tie }) => Some([
                Some(yes.key()),
                Some(no.key()),
                tie.as_ref().map(LabelValue::key),
            ]),
        }
    }

    /// Checks that the values differ.
    ///
    /// # Errors
    /// If two of them are the same.
    pub fn check(&self) -> std::result::Result<(), String> {
        let words = self.values().into_iter().flatten().flatten();
        let mut words: Vec<String> = words.collect();
        words.sort_unstable();
        match words.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => Err(format!("`{}` cannot have two meanings", two[0])),
            None => Ok(()),
        }
    }

    /// The probability of yes that a value stands for.
    fn probability(&self, value: &Value) -> Option<f64> {
        let key = key_of_value(value)?;
        match self.values() {
            Some([yes, no, tie]) => [(yes, 1.0), (no, 0.0), (tie, 0.5)]
                .into_iter()
                .find_map(|(word, means)| (word.as_deref() == Some(&key)).then_some(means)),
            None => match key.as_str() {
                "true" | "True" => Some(1.0),
                "false" | "False" => Some(0.0),
                number => {
                    let number: f64 = number.parse().ok()?;
                    (0.0..=1.0).contains(&number).then_some(number)
                }
            },
        }
    }

    /// The allowed values, and the setting that determines them.
    fn expected(&self) -> String {
        let values = match self.values() {
            None => "true, false, or a probability from 0 to 1".into(),
            Some([Some(yes), Some(no), None]) => format!("{yes} or {no}"),
            Some(words) => {
                let words: Vec<String> = words.into_iter().flatten().collect();
                words.join(", ")
            }
        };
        format!("{values} ({})", self.setting())
    }

    /// The setting, as written in a config file.
    fn setting(&self) -> String {
        let setting = serde_json::to_string(self).unwrap_or_default();
        format!("data.label = {setting}")
    }
}

/// A suggestion for the setting under which this value would be valid.
fn advice(value: &Value) -> &'static str {
    match key_of_value(value).as_deref() {
        Some("2") => "data.label = \"1/2\" if it is the number of the better answer",
        Some("-1") => "data.label = \"-1/1\" if 1 is yes and -1 is no",
        Some("A" | "B") => "data.label = \"A/B\" if it is the letter of the better answer",
        _ => "which values are yes and no, as in data.label = { yes = \"good\", no = \"bad\" }",
    }
}

/// A value, shortened to 40 characters.
fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Labels {
    /// Whether a pair without a label is an error. With probabilities, a missing label means that
    /// the chosen answer is better; other formats say which of two answers is better, and without a
    /// label that is unknown.
    pub(crate) fn is_required(&self) -> bool {
        self.values != LabelFormat::default()
    }

    /// The setting of the values.
    pub(crate) fn setting(&self) -> String {
        self.values.setting()
    }

    /// The probability of yes of a row's label; none if it has no label.
    ///
    /// # Errors
    /// If the label is not an allowed value, or is neither yes nor no where that is refused.
    pub(crate) fn probability(&self, row: &Row, name: &str) -> Result<Option<f64>> {
        let found = match row.get(name) {
            None => return Ok(None),
            // An empty cell of a table.
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::Array(all)) if all.is_empty() => {
                return Err(row.error(format!("field `{name}` is an empty array: it has no label")));
            }
            Some(Value::Array(all)) => {
                let all = all
                    .iter()
                    .map(|value| self.value_probability(row, name, value));
                let all: Vec<f64> = all.collect::<Result<_>>()?;
                self.combine(&all)
            }
            Some(value) => self.combine(&[self.value_probability(row, name, value)?]),
        };
        let between = found > 0.0 && found < 1.0 && found != 0.5;
        if self.soft == SoftLabels::Refused && between {
            return Err(row.error(format!(
                "field `{name}` is yes with probability {found:.3}, but this objective takes only \
                 yes or no: use the majority of the annotators, data.annotators = \"majority\""
            )));
        }
        Ok(Some(found))
    }

    fn value_probability(&self, row: &Row, name: &str, value: &Value) -> Result<f64> {
        self.values.probability(value).ok_or_else(|| {
            let (found, expected, advice) = (shorten(value), self.values.expected(), advice(value));
            if value.as_str().is_some_and(looks_like_array) {
                return row.error(format!(
                    "field `{name}` is {found}, not {expected}{ARRAY_AS_TEXT}"
                ));
            }
            row.error(format!(
                "field `{name}` is {found}, not {expected}: set {advice}; data.fields.label = \"\" \
                 if it is not a label"
            ))
        })
    }

    /// Combines the labels of annotators.
    fn combine(&self, all: &[f64]) -> f64 {
        match self.annotators {
            Annotators::Mean => all.iter().sum::<f64>() / all.len() as f64,
            Annotators::Majority => {
                let yes = all.iter().filter(|p| **p > 0.5).count();
                let no = all.iter().filter(|p| **p < 0.5).count();
                match yes.cmp(&no) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Less => 0.0,
                    std::cmp::Ordering::Equal => 0.5,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(labels: &Labels, label: &Value) -> Result<Option<f64>> {
        let row = Row {
            path: std::path::Path::new("x.jsonl").into(),
            line: 7,
            fields: json!({ "label": label }).as_object().unwrap().clone(),
        };
        labels.probability(&row, "label")
    }

    fn of(values: &Value) -> Labels {
        Labels {
            values: serde_json::from_value(values.clone()).unwrap(),
            ..Labels::default()
        }
    }

    #[test]
    fn every_format_has_one_meaning() {
        let given = json!({"yes": "good", "no": "bad", "tie": 0});
        for (values, label, expected) in [
            (json!("probability"), json!(true), 1.0),
            (json!("probability"), json!("False"), 0.0),
            (json!("probability"), json!(0.25), 0.25),
            (json!("probability"), json!("0.25"), 0.25),
            (json!("0/1"), json!(1), 1.0),
            (json!("0/1"), json!("0"), 0.0),
            (json!("1/2"), json!(1), 1.0),
            (json!("1/2"), json!(2.0), 0.0),
            (json!("-1/1"), json!(1), 1.0),
            (json!("-1/1"), json!("-1"), 0.0),
            (json!("A/B"), json!("A"), 1.0),
            (json!("A/B"), json!(" B"), 0.0),
            (given.clone(), json!("good"), 1.0),
            (given.clone(), json!("bad"), 0.0),
            (given, json!("0"), 0.5),
            (json!({"yes": 0, "no": 1}), json!(0), 1.0),
            (json!({"yes": false, "no": true}), json!(true), 0.0),
        ] {
            let found = read(&of(&values), &label).unwrap();
            assert_eq!(found, Some(expected), "{values} {label}");
        }
        assert_eq!(read(&Labels::default(), &json!(null)).unwrap(), None);
        assert_eq!(read(&Labels::default(), &json!("")).unwrap(), None);
    }

    #[test]
    fn errors_of_invalid_values_name_the_setting() {
        for (values, label, expected) in [
            (
                json!("probability"),
                json!(2),
                "x.jsonl:7: field `label` is 2, not true, false, or a probability from 0 to 1 \
                 (data.label = \"probability\"): set data.label = \"1/2\"",
            ),
            (json!("probability"), json!(-1), "set data.label = \"-1/1\""),
            (json!("probability"), json!("B"), "set data.label = \"A/B\""),
            (
                json!("probability"),
                json!("sports"),
                "data.fields.label = \"\" if it is not a label",
            ),
            (
                json!("0/1"),
                json!(2),
                "is 2, not 1 or 0 (data.label = \"0/1\")",
            ),
            (json!("0/1"), json!(0.5), "is 0.5, not 1 or 0"),
            (json!("1/2"), json!(0), "is 0, not 1 or 2"),
            (json!("A/B"), json!({}), "is {}, not A or B"),
            (json!("0/1"), json!([]), "is an empty array"),
            (json!("0/1"), json!([1, 3]), "is 3, not 1 or 0"),
            (
                json!("probability"),
                json!("[1, 0, 1]"),
                "is \"[1, 0, 1]\", not true, false, or a probability from 0 to 1 (data.label = \
                 \"probability\"): an array in a table cell or in quotes is text; use JSONL or Parquet",
            ),
        ] {
            let error = read(&of(&values), &label).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let same: LabelFormat = serde_json::from_value(json!({"yes": 1, "no": "1.0"})).unwrap();
        assert_eq!(same.check().unwrap_err(), "`1` cannot have two meanings");
        assert!(LabelFormat::default().check().is_ok());
    }

    #[test]
    fn labels_of_several_annotators_are_combined() {
        let with = |annotators, soft| Labels {
            values: LabelFormat::Standard(StandardLabels::OneTwo),
            annotators,
            soft,
        };
        let mean = with(Annotators::Mean, SoftLabels::Allowed);
        assert_eq!(read(&mean, &json!([1, 1, 2, 1])).unwrap(), Some(0.75));
        let majority = with(Annotators::Majority, SoftLabels::Allowed);
        assert_eq!(read(&majority, &json!([1, 1, 2])).unwrap(), Some(1.0));
        assert_eq!(read(&majority, &json!([1, 2])).unwrap(), Some(0.5));
        let decided = with(Annotators::Mean, SoftLabels::Refused);
        assert_eq!(read(&decided, &json!([1, 2])).unwrap(), Some(0.5));
        assert_eq!(read(&decided, &json!([2, 2])).unwrap(), Some(0.0));
        let error = read(&decided, &json!([1, 1, 2])).unwrap_err().to_string();
        assert!(error.contains("with probability 0.667"), "{error}");
    }
}
