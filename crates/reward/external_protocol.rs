//! The JSON format of requests to external programs and endpoints, and of their answers.

use rlhf_objective::Sequences;
use serde_json::{Map, Value, json};
use std::ops::Range;

/// The requests for a range of responses, one object each: `prompt`, `completion`, `finish` ("eos" or
/// "length"), `row` (all fields of the data row), and `index` and `of`, the position in the batch and its
/// size.
pub(crate) fn requests(sequences: &Sequences, range: Range<usize>) -> Vec<Value> {
    let of = range.len();
    let request = |(index, response): (usize, usize)| {
        let prompt = sequences.prompt_of(response);
        let response = &sequences.responses()[response];
        json!({
            "prompt": prompt.text,
            "completion": response.text,
            "finish": response.finish,
            "row": prompt.fields,
            "index": index,
            "of": of,
        })
    };
    range.enumerate().map(request).collect()
}

/// The valid answers, for error messages.
pub(crate) const VALID_SCORES: &str =
    "a finite number, null for no score, or an object with one of them as `score`";

/// The error of an answer that is none of [`VALID_SCORES`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidAnswer;

/// Parses the score of one response: a finite number, `null` for no score, or an object with one of them as
/// `score`.
pub(crate) fn parse_score(answer: &Value) -> Result<Option<f32>, InvalidAnswer> {
    let score = match answer {
        Value::Object(fields) => fields.get("score").ok_or(InvalidAnswer)?,
        other => other,
    };
    if score.is_null() {
        return Ok(None);
    }
    let score = score.as_f64().ok_or(InvalidAnswer)? as f32;
    score
        .is_finite()
        .then_some(Some(score))
        .ok_or(InvalidAnswer)
}

/// Parses the scores of a batch: an array, or an object with one as `scores`.
pub(crate) fn parse_scores(answer: &Value, expected: usize) -> Result<Vec<Option<f32>>, String> {
    let field =
        |fields: &Map<String, Value>| fields.get("scores").and_then(Value::as_array).cloned();
    let all = match answer {
        Value::Array(all) => Some(all.clone()),
        Value::Object(fields) => field(fields),
        _ => None,
    };
    let all = all.ok_or("it is neither an array nor an object with an array `scores`")?;
    if all.len() != expected {
        return Err(format!(
            "it has {} scores for {expected} responses",
            all.len()
        ));
    }
    let one = |(index, value)| {
        parse_score(value).map_err(|_| format!("score {index} is {value:.60}, not {VALID_SCORES}"))
    };
    all.iter().enumerate().map(one).collect()
}

/// The start of a text, on one line, for error messages.
pub(crate) fn excerpt(text: &str) -> String {
    let line: String = text.trim().chars().take(120).collect();
    line.replace(['\n', '\r'], " ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response};

    /// Five responses to two prompts with a field `topic`. The text of each response is its number.
    pub(crate) fn five_responses() -> Sequences {
        let prompt = |topic: u64| Prompt {
            text: format!("about {topic}"),
            fields: Map::from_iter([("topic".to_string(), topic.into())]),
            ..Prompt::from_ids(vec![1])
        };
        let answer = |i: usize| Response {
            text: i.to_string(),
            ..Response::new(i / 3, vec![1], Finish::Eos)
        };
        Sequences::new(vec![prompt(7), prompt(8)], (0..5).map(answer).collect()).unwrap()
    }

    #[test]
    fn a_request_has_the_text_and_the_row() {
        let requests = requests(&five_responses(), 2..4);
        let expected = json!({"prompt": "about 8", "completion": "3", "finish": "eos",
            "row": {"topic": 8}, "index": 1, "of": 2});
        assert_eq!((requests.len(), &requests[1]), (2, &expected));
    }

    #[test]
    fn answers_are_parsed() {
        assert_eq!(parse_score(&json!(1.5)), Ok(Some(1.5)));
        assert_eq!(
            parse_score(&json!({"score": -2, "why": "x"})),
            Ok(Some(-2.0))
        );
        assert_eq!(parse_score(&json!(null)), Ok(None));
        assert_eq!(parse_score(&json!({"score": null})), Ok(None));
        for bad in [
            json!("1"),
            json!({"scores": 1}),
            json!({}),
            json!(1e300),
            json!([1]),
        ] {
            assert_eq!(parse_score(&bad), Err(InvalidAnswer), "{bad}");
        }
        assert_eq!(
            parse_scores(&json!({"scores": [1, {"score": 2}, null]}), 3),
            Ok(vec![Some(1.0), Some(2.0), None])
        );
        assert!(
            parse_scores(&json!([1]), 2)
                .unwrap_err()
                .contains("1 scores for 2")
        );
        assert!(
            parse_scores(&json!([1, "a"]), 2)
                .unwrap_err()
                .contains("score 1 is")
        );
        assert!(parse_scores(&json!(3), 2).unwrap_err().contains("neither"));
    }
}
