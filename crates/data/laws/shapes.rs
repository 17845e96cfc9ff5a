//! What a row may be, and what is said of one that is not.

use super::*;

#[test]
fn labels_are_true_or_false() {
    let row = |label| format!("{{\"prompt_ids\": [1], \"completion_ids\": [2], {label}}}\n");
    let content = row("\"label\": true") + &row("\"label\": 0") + &row("\"label\": \"True\"");
    let (read, _) = with(&content, BOTH, 9, |reader, rows| reader.unpaired(rows));
    let (sequences, labels) = read.unwrap();
    assert_eq!((sequences.len(), labels), (3, vec![true, false, true]));
    for (label, expected) in [
        (
            "\"label\": 2",
            "x.jsonl:1: field `label` must be true or false",
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
            "token 10 in `prompt_ids` is not in the vocabulary: ids end at 9",
        ),
    ] {
        let (error, _) = with(content, NONE, 9, |reader, rows| reader.prompts(rows));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_pair_may_imply_its_prompt() {
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
        error.contains("x.jsonl:1: chosen and rejected share no prompt"),
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
fn scores_make_pairs() {
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
        (answers, notes.level_scores)
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
