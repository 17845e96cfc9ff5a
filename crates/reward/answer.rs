//! The rule `answer`: compares the last number after a marker with a field of the data row.

use crate::{Error, Result};
use regex::Regex;
use rlhf_objective::{Error as Failure, PerSeq, Reward, Sequences};
use serde_json::Value;

/// 1 if the number in the response equals that of its row, else 0.
#[derive(Debug)]
pub(crate) struct Answer {
    marker: String,
    field: String,
    number: Regex,
}

impl Answer {
    /// Compares the number after `marker` with the row's field `field`.
    ///
    /// # Errors
    /// If the marker or the field is empty.
    pub(crate) fn new(marker: &str, field: &str) -> Result<Self> {
        if marker.is_empty() || field.is_empty() {
            let message = "reward answer: marker and field must not be empty";
            return Err(Error::Rule(message.into()));
        }
        Ok(Self {
            marker: marker.into(),
            field: field.into(),
            // Commas may separate thousands.
            number: Regex::new(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+")
                .map_err(|error| Error::Rule(error.to_string()))?,
        })
    }

    /// The last number after the last marker.
    fn number_in_response(&self, text: &str) -> Option<f64> {
        let start = text.rfind(&self.marker)? + self.marker.len();
        self.last_number(&text[start..])
    }

    /// The number of a row's field: a JSON number, or the last number of a text, after the marker if the
    /// text contains it.
    pub(crate) fn number_in_row(&self, value: &Value) -> Option<f64> {
        match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) if text.contains(&self.marker) => self.number_in_response(text),
            Value::String(text) => self.last_number(text),
            _ => None,
        }
    }

    fn last_number(&self, text: &str) -> Option<f64> {
        let found = self.number.find_iter(text).last()?;
        let number: f64 = found.as_str().replace(',', "").parse().ok()?;
        let mut before = text[..found.start()].chars().rev();
        // A minus sign, possibly followed by a currency sign. In "3-4" it is a subtraction.
        let mut sign = before.next();
        if sign.is_some_and(|c| matches!(c, '$' | '€' | '£')) {
            sign = before.next();
        }
        let negative =
            matches!(sign, Some('-' | '−')) && !before.next().is_some_and(char::is_alphanumeric);
        Some(if negative { -number } else { number })
    }
}

impl Reward for Answer {
    fn score(&mut self, sequences: &Sequences) -> rlhf_objective::Result<PerSeq> {
        let responses = sequences.responses().iter().enumerate();
        let score =
            |(index, response): (usize, &std::sync::Arc<rlhf_objective::Response>)| {
                let row = &sequences.prompt_of(index).fields;
                let value = row.get(&self.field);
                let right = value.and_then(|value| self.number_in_row(value)).ok_or_else(|| {
                let found = value.map_or_else(|| "nothing".into(), excerpt_of);
                Failure::Unsupported(format!(
                    "reward answer: the row's field `{}` must hold a number, and holds {found}",
                    self.field
                ))
            })?;
                let given = self.number_in_response(&response.text);
                Ok(f32::from(u8::from(given == Some(right))))
            };
        PerSeq::from_vec(
            responses
                .map(score)
                .collect::<rlhf_objective::Result<_>>()?,
        )
    }
}

/// The start of a row's value, for messages.
pub(crate) fn excerpt_of(value: &Value) -> String {
    format!("{value:.60}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response};
    use serde_json::json;

    fn score(
        marker: &str,
        field: &str,
        rows: &[(Value, &str)],
    ) -> rlhf_objective::Result<Vec<f32>> {
        let prompts = rows.iter().map(|(row, _)| Prompt {
            fields: row.as_object().unwrap().clone(),
            ..Prompt::from_ids(vec![1])
        });
        let responses = rows.iter().enumerate().map(|(prompt, (_, text))| Response {
            text: (*text).into(),
            ..Response::new(prompt, vec![1], Finish::Eos)
        });
        let sequences = Sequences::new(prompts.collect(), responses.collect()).unwrap();
        Answer::new(marker, field)
            .unwrap()
            .score(&sequences)?
            .to_vec()
    }

    #[test]
    fn the_last_number_after_the_last_marker_is_compared() {
        for (answer, text, right) in [
            (json!("so it is\n#### 1,234"), "#### 1234", 1.0),
            (json!(0.5), "first #### 7, then #### it is .50.", 1.0),
            (json!("-3"), "#### $5 - 8 = -$3", 1.0),
            (json!("3"), "#### 5-3", 1.0),
            (json!(18), "18", 0.0),
            (json!(18), "#### none", 0.0),
            (json!(18), "#### 18 or 19", 0.0),
            (json!(18), "", 0.0),
            (json!(4), "#### 3,4", 1.0),
        ] {
            let rows = [(json!({"answer": answer}), text)];
            assert_eq!(score("####", "answer", &rows).unwrap(), [right], "{text}");
        }
    }

    #[test]
    fn a_row_without_a_number_is_an_error() {
        for (row, expected) in [
            (json!({"answer": "four"}), "holds \"four\""),
            (json!({"answer": null}), "holds null"),
            (json!({}), "holds nothing"),
        ] {
            let error = score("####", "answer", &[(row, "#### 4")]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(Answer::new("", "answer").is_err());
    }

    /// Compares the rule with the labels of all solutions in a file of GSM8K.
    #[test]
    #[ignore = "needs RLHF_TEST_DATA: gsm8k"]
    #[expect(clippy::disallowed_methods, reason = "a test finds its data")]
    fn scores_agree_with_the_labels_of_gsm8k() {
        let folder = std::env::var_os("RLHF_TEST_DATA")
            .expect("RLHF_TEST_DATA is not set: set it to the folder of the test data");
        let file = std::path::Path::new(&folder).join("gsm8k/example_model_solutions.jsonl");
        let text = std::fs::read_to_string(file).unwrap();
        let (mut checked, mut right) = (0, 0.0);
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let judged = row
                .as_object()
                .unwrap()
                .values()
                .filter(|value| value.is_object());
            for solution in judged {
                let answer = solution["solution"].as_str().unwrap();
                let scores = score("A:", "ground_truth", &[(row.clone(), answer)]).unwrap();
                let label = solution["is_correct"].as_bool().unwrap();
                assert_eq!(scores, [f32::from(u8::from(label))], "{answer}");
                right += scores[0];
                checked += 1;
            }
        }
        assert_eq!((checked, right), (5276, 2001.0));
    }
}
