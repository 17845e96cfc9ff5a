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

/// The score in an answer: a finite number, or an object with one as `score`.
pub(crate) fn score(answer: &Value) -> Option<f32> {
    let number = match answer {
        Value::Object(fields) => fields.get("score")?,
        other => other,
    };
    let score = number.as_f64()? as f32;
    score.is_finite().then_some(score)
}

/// The scores in the answer to several questions: an array, or an object with one as `scores`.
pub(crate) fn scores(answer: &Value, expected: usize) -> Result<Vec<f32>, String> {
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
        score(value).ok_or_else(|| format!("score {index} is {value:.60}, not a finite number"))
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
        assert_eq!(score(&json!(1.5)), Some(1.5));
        assert_eq!(score(&json!({"score": -2, "why": "x"})), Some(-2.0));
        for bad in [
            json!("1"),
            json!(null),
            json!({"scores": 1}),
            json!(1e300),
            json!([1]),
        ] {
            assert_eq!(score(&bad), None, "{bad}");
        }
        assert_eq!(
            scores(&json!({"scores": [1, {"score": 2}]}), 2),
            Ok(vec![1.0, 2.0])
        );
        assert!(
            scores(&json!([1]), 2)
                .unwrap_err()
                .contains("1 scores for 2")
        );
        assert!(
            scores(&json!([1, "a"]), 2)
                .unwrap_err()
                .contains("score 1 is")
        );
        assert!(scores(&json!(3), 2).unwrap_err().contains("neither"));
    }
}
