//! The shapes of rows, and the errors of rows that have none.

use super::*;

#[test]
fn unpaired_labels_are_true_or_false() {
    let row = |label| format!("{{\"prompt_ids\": [1], \"completion_ids\": [2], {label}}}\n");
    let content = row("\"label\": true") + &row("\"label\": 0") + &row("\"label\": \"True\"");
    let (read, _) = with(&content, BOTH, 9, |reader, rows| reader.unpaired(rows));
    let (sequences, labels) = read.unwrap();
    assert_eq!((sequences.len(), labels), (3, vec![true, false, true]));
    for (label, expected) in [
        (
            "\"label\": 2",
            "x.jsonl:1: field `label` is 2, not true, false, or a probability from 0 to 1",
        ),
        ("\"label\": null", "x.jsonl:1: no field `label`"),
        ("\"good\": true", "x.jsonl:1: no field `label`"),
    ] {
        let (read, _) = with(&row(label), BOTH, 9, |reader, rows| reader.unpaired(rows));
        let error = read.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn errors_name_the_field() {
    for (content, expected) in [
        (
            r#"{"question": "x"}"#,
            "x.jsonl:1: no field `prompt` and no field `prompt_ids` in this row, which has `question`",
        ),
        (
            r#"{"prompt": 3}"#,
            "field `prompt` must be a string or a conversation, [{\"role\": …, \"content\": …}, …], not 3",
        ),
        (r#"{"prompt": null}"#, "field `prompt` is null"),
        (
            r#"{"prompt_ids": [-1]}"#,
            "field `prompt_ids` must be an array of token ids",
        ),
        (
            r#"{"prompt_ids": [10]}"#,
            "token 10 in `prompt_ids` is not in the vocabulary: the largest id is 9",
        ),
    ] {
        let (error, _) = with(content, NONE, 9, |reader, rows| reader.prompts(rows));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_prompt_of_a_pair_may_be_its_common_prefix() {
    let dialogue =
        |answer: &str| format!("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:{answer}");
    let content = [json!({"chosen": dialogue(" yes"), "rejected": dialogue("")})];
    let settings = settings(characters(), Some(1), Some(0));
    let (pairs, notes) = read(settings.clone(), &content, |reader, rows| {
        reader.pairs(rows)
    });
    let found = texts(pairs.unwrap().sequences());
    let prompt = dialogue("");
    assert_eq!(
        found,
        [
            (prompt.clone(), " yes".into()),
            (prompt.clone(), String::new())
        ]
    );
    assert_eq!(notes.empty_completions, 1);
    let (prompts, _) = read(settings.clone(), &content, |reader, rows| {
        reader.prompts(rows)
    });
    assert_eq!(prompts.unwrap()[0].text, prompt);
    let apart = [json!({"chosen": dialogue("x"), "rejected": "\n\nHuman: no\n\nAssistant: y"})];
    let (pairs, _) = read(settings.clone(), &apart, |reader, rows| reader.pairs(rows));
    let error = pairs.unwrap_err().to_string();
    assert!(
        error.contains("x.jsonl:1: chosen and rejected do not share a prompt"),
        "{error}"
    );
    let none = [json!({"chosen": "x", "rejected": "y"})];
    let (pairs, _) = read(settings, &none, |reader, rows| reader.pairs(rows));
    let error = pairs.unwrap_err().to_string();
    assert!(
        error.contains("no field `prompt`, and no \"\\n\\nAssistant:\" in `chosen`"),
        "{error}"
    );
}

#[test]
fn scored_responses_give_pairs() {
    let rows = [
        json!({"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, 3, 2.5]}),
        json!({"prompt": "q", "responses": ["a", "b"], "scores": [1, 1]}),
    ];
    let base = settings(characters(), Some(1), None);
    let pairs = |pairs_of, min_margin| {
        let settings = Settings {
            pairs_of,
            min_margin,
            ..base.clone()
        };
        let (pairs, notes) = read(settings, &rows, |reader, rows| reader.pairs(rows));
        let texts = texts(pairs.unwrap().sequences());
        let answers: String = texts.into_iter().map(|(_, answer)| answer).collect();
        (answers, notes.tied_scores)
    };
    assert_eq!(pairs(PairsOf::BestWorst, 0.0), ("ba".into(), 1));
    assert_eq!(pairs(PairsOf::All, 0.0), ("babcca".into(), 1));
    assert_eq!(pairs(PairsOf::All, 1.5), ("ba".into(), 1));
    let bad = [json!({"prompt": "q", "responses": ["a", "b"], "scores": [1]})];
    let (error, _) = read(base, &bad, |reader, rows| reader.pairs(rows));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`responses` has 2 items and `scores` has 1"),
        "{error}"
    );
}

/// For every label format the better answer comes first, and a probability below 1 is stored in the
/// field `label` of the prompt.
#[test]
fn labels_put_the_better_answer_first() {
    let row = |label: Value| json!({"prompt": "q", "chosen": "a", "rejected": "b", "which": label});
    let content = [row(json!(1)), row(json!("2")), row(json!([2, 2, 1, 2]))];
    let mut base = settings(characters(), Some(1), None);
    base.fields.label = "which".into();
    base.labels.values = LabelFormat::Standard(StandardLabels::OneTwo);
    let (pairs, _) = read(base.clone(), &content, |reader, rows| reader.pairs(rows));
    let pairs = pairs.unwrap();
    let answers: String = texts(pairs.sequences())
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(answers, "abbaba");
    let labels: Vec<_> = (0..3)
        .map(|pair| {
            pairs
                .sequences()
                .prompt_of(2 * pair)
                .fields
                .get("label")
                .cloned()
        })
        .collect();
    assert_eq!(labels, [None, None, Some(json!(0.75))]);
    // Without a label it is unknown which answer is better.
    let content = [row(json!(1)), row(json!(null))];
    let (error, _) = read(base.clone(), &content, |reader, rows| reader.pairs(rows));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("x.jsonl:2: field `which` is null"),
        "{error}"
    );
    // Objectives that take only yes or no leave out ties.
    base.labels.soft = SoftLabels::Refused;
    let (pairs, notes) = read(
        base.clone(),
        &[row(json!([1, 2])), row(json!(1))],
        |reader, rows| reader.pairs(rows),
    );
    assert_eq!((pairs.unwrap().len(), notes.neutral_labels), (1, 1));
    let both = [json!({"prompt": "q", "responses": ["a", "b"], "scores": [1, 2], "which": 1})];
    let (error, _) = read(base, &both, |reader, rows| reader.pairs(rows));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("x.jsonl:1: has `scores` and a label, `which`"),
        "{error}"
    );
}

/// All values of a table are strings.
#[test]
fn margin_and_weight_may_be_strings() {
    let row = |key: &str, value: Value| {
        let mut row = json!({"prompt": "q", "chosen": "a", "rejected": "b"});
        row[key] = value;
        row
    };
    let good = [
        row("weight", json!("2.5")),
        row("margin", json!("")),
        row("margin", json!(1)),
    ];
    let settings = || settings(characters(), Some(1), None);
    let (pairs, _) = read(settings(), &good, |reader, rows| reader.pairs(rows));
    let pairs = pairs.unwrap();
    let of = |pair: usize, key: &str| {
        pairs
            .sequences()
            .prompt_of(2 * pair)
            .fields
            .get(key)
            .cloned()
    };
    assert_eq!(of(0, "weight"), Some(json!(2.5)));
    assert_eq!((of(1, "margin"), of(2, "margin")), (None, Some(json!(1.0))));
    for (key, value) in [
        ("weight", json!(0)),
        ("weight", json!("much")),
        ("margin", json!("-1")),
    ] {
        let (error, _) = read(settings(), &[row(key, value)], |reader, rows| {
            reader.pairs(rows)
        });
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(&format!("x.jsonl:1: field `{key}` must be")),
            "{error}"
        );
    }
}

/// Requirements on a row are checked like its shape.
#[test]
fn rows_that_do_not_meet_a_requirement_are_bad_rows() {
    #[derive(Debug)]
    struct Topic;
    impl RowRequirement for Topic {
        fn check(
            &self,
            fields: &serde_json::Map<String, Value>,
        ) -> std::result::Result<(), String> {
            fields
                .get("topic")
                .map(|_| ())
                .ok_or_else(|| "no topic".into())
        }

        fn field(&self) -> &str {
            "topic"
        }
    }
    let content = [json!({"prompt": "a", "topic": 1}), json!({"prompt": "b"})];
    let mut base = settings(characters(), Some(1), None);
    base.requirements = vec![std::sync::Arc::new(Topic)];
    let (error, _) = read(base.clone(), &content, |reader, rows| reader.prompts(rows));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .ends_with("x.jsonl:2: no topic")
    );
    base.on_bad_row = OnBadRow::Skip;
    let (prompts, notes) = read(base, &content, |reader, rows| reader.prompts(rows));
    assert_eq!((prompts.unwrap().len(), notes.skipped_rows), (1, 1));
    assert!(
        notes
            .first_skipped
            .unwrap()
            .ends_with("x.jsonl:2: no topic")
    );
}
