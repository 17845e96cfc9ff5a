//! What a program or an endpoint of the user's own is told of a response, and what it may answer.

use rlhf_objective::Sequences;
use serde_json::{Map, Value, json};
use std::ops::Range;

/// The responses of a range, one object each: `prompt`, `completion`, `finish` ("eos" or "length"),
/// `row`, all fields of the data row the prompt came from, and `index` and `of`, the response's place
/// in what is asked at once.
pub(crate) fn questions(sequences: &Sequences, range: Range<usize>) -> Vec<Value> {
    let of = range.len();
    let question = |(index, response): (usize, usize)| {
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
    range.enumerate().map(question).collect()
}

/// What an answer may be.
pub(crate) const ANSWERS: &str =
    "a finite number, null for no opinion, or an object with one of them as `score`";

/// It is none of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer;

/// What an answer says of a response: a finite number, or `null`, which is no opinion; or an object with
/// one of them as `score`.
pub(crate) fn opinion(answer: &Value) -> Result<Option<f32>, NoAnswer> {
    let said = match answer {
        Value::Object(fields) => fields.get("score").ok_or(NoAnswer)?,
        other => other,
    };
    if said.is_null() {
        return Ok(None);
    }
    let score = said.as_f64().ok_or(NoAnswer)? as f32;
    score.is_finite().then_some(Some(score)).ok_or(NoAnswer)
}

/// What the answer to several questions says: an array, or an object with one as `scores`.
pub(crate) fn opinions(answer: &Value, expected: usize) -> Result<Vec<Option<f32>>, String> {
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
        opinion(value).map_err(|_| format!("score {index} is {value:.60}, not {ANSWERS}"))
    };
    all.iter().enumerate().map(one).collect()
}

/// The start of a text, on one line, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    let line: String = text.trim().chars().take(120).collect();
    line.replace(['\n', '\r'], " ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response};

    /// Five responses whose text is their number, to two prompts with a field `topic`.
    pub(crate) fn five() -> Sequences {
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
    fn a_question_has_the_text_and_the_row() {
        let asked = questions(&five(), 2..4);
        let expected = json!({"prompt": "about 8", "completion": "3", "finish": "eos",
            "row": {"topic": 8}, "index": 1, "of": 2});
        assert_eq!((asked.len(), &asked[1]), (2, &expected));
    }

    #[test]
    fn answers_are_numbers() {
        assert_eq!(opinion(&json!(1.5)), Ok(Some(1.5)));
        assert_eq!(opinion(&json!({"score": -2, "why": "x"})), Ok(Some(-2.0)));
        assert_eq!(opinion(&json!(null)), Ok(None));
        assert_eq!(opinion(&json!({"score": null})), Ok(None));
        for bad in [
            json!("1"),
            json!({"scores": 1}),
            json!({}),
            json!(1e300),
            json!([1]),
        ] {
            assert_eq!(opinion(&bad), Err(NoAnswer), "{bad}");
        }
        assert_eq!(
            opinions(&json!({"scores": [1, {"score": 2}, null]}), 3),
            Ok(vec![Some(1.0), Some(2.0), None])
        );
        assert!(
            opinions(&json!([1]), 2)
                .unwrap_err()
                .contains("1 scores for 2")
        );
        assert!(
            opinions(&json!([1, "a"]), 2)
                .unwrap_err()
                .contains("score 1 is")
        );
        assert!(opinions(&json!(3), 2).unwrap_err().contains("neither"));
    }
}
