//! Tokens equal those of transformers; the ids come from scripts/golden_tokens.py.

use super::*;
use rlhf_lm::special_tokens;
use std::fs::{create_dir_all, write};
use std::path::Path;
use std::sync::Arc;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tokens/tokens.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A tokenizer folder: the vocabulary of a layout with the case's other files.
fn folder(golden: &Value, layout: &str, case: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, value: &Value| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let path = folder.path().join(name);
        create_dir_all(path.parent().unwrap()).unwrap();
        write(path, text).unwrap();
    };
    for (name, value) in golden["base"][layout].as_object().unwrap() {
        let mut value = value.clone();
        if name == "tokenizer.json" {
            value["pre_tokenizer"]["add_prefix_space"] = case["prefix_space"].clone();
        }
        put(name, &value);
    }
    if !case["config"].is_null() {
        put("tokenizer_config.json", &case["config"]);
    }
    for (name, value) in case["others"].as_object().into_iter().flatten() {
        put(name, value);
    }
    folder
}

fn numbers(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Each key of `tokenizer_config.json` and related files, for each layout.
#[test]
fn texts_have_the_tokens_of_transformers() {
    let golden = golden();
    let cases = golden["texts"].as_array().unwrap();
    let size = golden["vocab_size"].as_u64().unwrap() as usize;
    assert!(cases.len() > 30);
    for case in cases {
        let layout = case["layout"].as_str().unwrap();
        let name = format!("{}, beside {layout}", case["name"]);
        let folder = folder(&golden, layout, case);
        let tokenizer = Tokenizer::load(folder.path(), size).unwrap();
        for text in case["texts"].as_array().unwrap() {
            let (text, ids) = (text[0].as_str().unwrap(), numbers(&text[1]));
            assert_eq!(tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
            let (again, places) = tokenizer.encode_with_places(text).unwrap();
            assert_eq!(
                (again, places.len()),
                (ids.clone(), ids.len()),
                "{name}: {text:?}"
            );
        }
        assert_eq!(tokenizer.prefix(), numbers(&case["start"]), "{name}");
        let named = special_tokens(folder.path()).unwrap();
        for key in ["bos", "eos"] {
            let token = named.get(&format!("{key}_token")).map(String::as_str);
            assert_eq!(token, case[key].as_str(), "{name}: {key}");
        }
    }
}

/// If the tokenizer puts a token before texts, a document starts with it too.
#[test]
fn documents_start_with_the_prefix_of_the_tokenizer() {
    let golden = golden();
    let size = golden["vocab_size"].as_u64().unwrap() as usize;
    let cases = golden["texts"].as_array().unwrap().iter();
    let mut starts = Vec::new();
    for case in cases.filter(|case| case["start"] != json!([])) {
        let folder = folder(&golden, case["layout"].as_str().unwrap(), case);
        let tokenizer = Tokenizer::load(folder.path(), size).unwrap();
        let start = numbers(&case["start"]);
        let end = tokenizer.end_of_text();
        let text = &case["texts"][0];
        let settings = settings(tokenizer, end, end);
        let (read, _) = read(settings, &[json!({"text": text[0]})], |reader, rows| {
            reader.demonstrations(rows)
        });
        let expected = [start.clone(), numbers(&text[1]), vec![end.unwrap()]].concat();
        assert_eq!(whole(&read.unwrap(), 0), expected, "{}", case["name"]);
        starts.push(start);
    }
    // There are two cases; in the second, the start token is not the end token.
    starts.dedup();
    assert_eq!(starts.len(), 2);
}

/// Settings with the tokenizer and the template of a case.
fn chatting(golden: &Value, case: &Value) -> Settings {
    let folder = folder(golden, "vocab.json", case);
    let size = golden["vocab_size"].as_u64().unwrap() as usize;
    let tokenizer = Tokenizer::load(folder.path(), size).unwrap();
    let template = Template::load(folder.path()).unwrap().unwrap();
    let vocabulary = Vocabulary {
        ends: tokenizer.eos().into_iter().collect(),
        append: AppendEos::Always,
        bos: tokenizer.end_of_text(),
        tokenizer,
        size,
    };
    Settings {
        chat: Chat::Template(Arc::new(template)),
        ..Settings::new(vocabulary, Limits::context(1000))
    }
}

fn row(case: &Value, mut fields: Value) -> Value {
    for (name, value) in case["columns"].as_object().unwrap() {
        fields[name.as_str()] = value.clone();
    }
    fields
}

/// The tokens of a prompt and its response.
fn whole(sequences: &Sequences, index: usize) -> Vec<u32> {
    [
        &sequences.prompt_of(index).ids[..],
        &sequences.responses()[index].ids,
    ]
    .concat()
}

/// Each shape of a conversation.
#[test]
fn conversations_have_the_tokens_of_transformers() {
    let golden = golden();
    let cases = golden["chats"].as_array().unwrap();
    assert_eq!(cases.len(), 28);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let settings = chatting(&golden, case);
        let end = settings.vocabulary.ends[0];
        let prompt = row(case, json!({"prompt": case["prompt"]}));
        let (prompts, notes) = read(settings.clone(), &[prompt], |reader, rows| {
            reader.prompts(rows)
        });
        assert_eq!(
            prompts.unwrap()[0].ids,
            numbers(&case["prompt_ids"]),
            "{name}"
        );
        assert_eq!(notes, Notes::default(), "{name}");
        let Some(completion) = case["completion"].as_array() else {
            continue;
        };
        // Tokens after the EOS are not trained on: sampling does not reach them.
        let mut ids = numbers(&case["ids"]);
        ids.truncate(ids.iter().rposition(|id| *id == end).unwrap() + 1);
        let pair = json!({"prompt": case["prompt"], "completion": completion});
        let read_pair = |reader: &mut Reader, rows: &[Row]| reader.completions(rows);
        let (pair, _) = read(settings.clone(), &[row(case, pair)], read_pair);
        let pair = pair.unwrap();
        assert_eq!(
            pair.prompts()[0].ids,
            numbers(&case["prompt_ids"]),
            "{name}"
        );
        assert_eq!(whole(&pair, 0), ids, "{name}");
        let messages = [
            case["prompt"].as_array().unwrap().clone(),
            completion.clone(),
        ]
        .concat();
        let document = row(case, json!({"messages": messages}));
        let read_document = |reader: &mut Reader, rows: &[Row]| reader.demonstrations(rows);
        let (document, _) = read(settings, &[document], read_document);
        let document = document.unwrap();
        assert_eq!(document.prompts()[0].ids, ids[..1], "{name}");
        assert_eq!(whole(&document, 0), ids, "{name}");
    }
}

/// With `{% generation %}` the trained tokens are those of transformers' mask; by role they are the
/// turns up to their EOS.
#[test]
fn loss_on_assistant_covers_only_its_turns() {
    let golden = golden();
    let case = |name: &str| {
        let cases = golden["chats"].as_array().unwrap();
        cases
            .iter()
            .find(|case| case["name"] == name)
            .unwrap()
            .clone()
    };
    let learned = |case: &Value, loss_on| {
        let settings = Settings {
            loss_on,
            ..chatting(&golden, case)
        };
        let completion = case["completion"].as_array().unwrap().clone();
        let messages = [case["prompt"].as_array().unwrap().clone(), completion].concat();
        let document = row(case, json!({"messages": messages}));
        let (read, _) = read(settings, &[document], |reader, rows| {
            reader.demonstrations(rows)
        });
        let ids = numbers(&case["ids"]);
        let mut mask = vec![0; ids.len()];
        for (index, response) in read.as_ref().unwrap().responses().iter().enumerate() {
            let whole = whole(read.as_ref().unwrap(), index);
            assert!(ids.starts_with(&whole), "{}", case["name"]);
            mask[whole.len() - response.ids.len()..whole.len()].fill(1);
        }
        mask
    };
    let marked = case("marked turns");
    assert_eq!(
        learned(&marked, LossOn::Assistant),
        numbers(&marked["mask"])
    );
    let many = case("many turns");
    let ids = numbers(&many["ids"]);
    // "<|im_start|>assistant\n" starts a turn.
    let start = numbers(&case("one turn")["prompt_ids"]);
    let start = &start[start.iter().rposition(|id| *id == start[0]).unwrap()..];
    let end = ids.len() - 2;
    let starts: Vec<usize> = (0..ids.len())
        .filter(|&at| ids[..at].ends_with(start))
        .collect();
    assert_eq!(starts.len(), 2);
    let turn = |start: usize| {
        let length = ids[start..].iter().position(|id| *id == ids[end]).unwrap();
        start..=start + length
    };
    let mask = |turns: &[usize]| {
        let mut mask = vec![0; ids.len()];
        turns.iter().for_each(|&start| mask[turn(start)].fill(1));
        mask
    };
    assert_eq!(learned(&many, LossOn::Assistant), mask(&starts));
    assert_eq!(learned(&many, LossOn::Last), mask(&starts[1..]));
}
