//! Which tokens end a response, and which file says so.

use crate::tokenizer_config::{FILE, object};
use crate::{Error, ModelConfig, Result, Tokenizer};
use serde::Serialize;
use std::path::Path;

const GENERATION: &str = "generation_config.json";
const CONFIG: &str = "config.json";
const DEFAULT: &str = "the tokenizer";

/// An end-of-sequence token: sampling stops after it, and a response whose last token it is has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndToken {
    /// Its id.
    pub id: u32,
    /// Its text in the vocabulary.
    pub text: String,
    /// The files that name it.
    pub from: Vec<&'static str>,
}

impl EndToken {
    /// Its id, its text and the files that name it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let (id, from) = (self.id, self.from.join(", "));
        match self.text == id.to_string() {
            true => format!("{id} ({from})"),
            false => format!("{id} {} ({from})", self.text),
        }
    }
}

/// A checkpoint's configuration with the end-of-sequence tokens of all its files, its tokenizer, and
/// where each of these tokens comes from.
///
/// All of them end a response. The first is what completions are trained to end with: the tokenizer's
/// `eos_token`, as in TRL; where the tokenizer's files name none, the first that config.json names, or
/// else generation_config.json.
pub(crate) fn settle(
    folder: &Path,
    config: ModelConfig,
) -> Result<(ModelConfig, Tokenizer, Vec<EndToken>)> {
    let tokenizer = Tokenizer::load(folder, config.spec.vocab)?;
    let mut ends: Vec<EndToken> = Vec::new();
    let mut add = |id: u32, from| match ends.iter_mut().find(|end| end.id == id) {
        Some(end) => end.from.push(from),
        None => ends.push(EndToken {
            id,
            text: tokenizer.token(id),
            from: vec![from],
        }),
    };
    if let Some(id) = tokenizer.eos() {
        add(id, FILE);
    }
    for &id in &config.eos {
        add(id, CONFIG);
    }
    for id in generation(folder, config.spec.vocab)? {
        add(id, GENERATION);
    }
    // A configuration that says nothing has GPT-2's.
    let end_of_text = tokenizer.end_of_text();
    let named = |id: &u32| ends.iter().any(|end| end.id == *id);
    if let Some(id) = end_of_text.filter(|id| !config.says_eos() && !named(id)) {
        ends.push(EndToken {
            id,
            text: tokenizer.token(id),
            from: vec![DEFAULT],
        });
    }
    let mut config = config.or_special(end_of_text);
    config.eos = ends.iter().map(|end| end.id).collect();
    Ok((config, tokenizer, ends))
}

/// The end-of-sequence tokens of `generation_config.json`, if there is one.
fn generation(folder: &Path, vocab: usize) -> Result<Vec<u32>> {
    let path = folder.join(GENERATION);
    let keys = object(&path)?.unwrap_or_default();
    crate::config::end_tokens(&keys, vocab).map_err(|message| Error::invalid(&path, message))
}

/// What is to be said of ends that no token of the vocabulary is.
pub(crate) fn beyond(folder: &Path, config: &ModelConfig) -> Result<Vec<String>> {
    let keys = object(&folder.join(GENERATION))?.unwrap_or_default();
    let generation = crate::config::ends_beyond(&keys, config.spec.vocab);
    let files = [(CONFIG, config.ends_beyond()), (GENERATION, generation)];
    let note = |(file, ids): (&str, Vec<u64>)| {
        let words: Vec<String> = ids.iter().map(u64::to_string).collect();
        let (ids, last) = (words.join(", "), config.spec.vocab - 1);
        (!words.is_empty()).then(|| {
            format!(
                "{file}: `eos_token_id` names {ids}, which no token is, as ids end at {last}: it ends \
                 no response"
            )
        })
    };
    Ok(files.into_iter().filter_map(note).collect())
}

/// What is to be said where the tokenizer's files name another end than those of the network.
pub(crate) fn disagreement(ends: &[EndToken]) -> Option<String> {
    let (first, others) = ends.split_first()?;
    let others: Vec<_> = others.iter().filter(|end| end.from != [DEFAULT]).collect();
    if first.from != [FILE] || others.is_empty() {
        return None;
    }
    let others: Vec<String> = others.iter().map(|end| end.words()).collect();
    Some(format!(
        "{FILE} ends texts with {} {}, which the network's files do not name; they name {}. Each of \
         these ends a response, and completions are trained to end with the first: if one is wrong, \
         mend the file",
        first.id,
        first.text,
        others.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ActivationCheckpointing, Backend, LoadOptions, OutputHeads, OutputVocabulary, init,
        inspect, load,
    };
    use rlhf_tensor::Storage;
    use serde_json::{Value, json};

    fn config(eos: Option<Value>) -> Value {
        let mut config = json!({"model_type": "gpt2", "vocab_size": 9, "n_positions": 4, "n_embd": 2,
            "n_layer": 1, "n_head": 1});
        if let Some(eos) = eos {
            config["eos_token_id"] = eos;
        }
        config
    }

    /// A folder with a vocabulary of words, where `<|endoftext|>` is 0, in which `others` say more.
    fn folder(eos: Option<Value>, others: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = json!({"version": "1.0", "added_tokens": [],
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel",
                "vocab": {"<|endoftext|>": 0, "a": 1, "script": 6}, "unk_token": "a"}});
        let files = [("config.json", config(eos)), ("tokenizer.json", tokenizer)];
        for (name, value) in files.iter().chain(others) {
            std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        folder
    }

    /// The ends of a folder as it is, as it is when written, and when that is read and written again.
    fn kept(source: &Path) -> [Vec<u32>; 3] {
        let ids = |ends: Vec<EndToken>| ends.iter().map(|end| end.id).collect();
        let config = ModelConfig::load(source).unwrap();
        let (_, _, ends) = settle(source, config).unwrap();
        let written = tempfile::tempdir().unwrap();
        let (first, second) = (written.path().join("1"), written.path().join("2"));
        init(source, 0, &first).unwrap();
        let options = LoadOptions {
            storage: Storage::Frozen,
            activation_checkpointing: ActivationCheckpointing::None,
            heads: OutputHeads::Language,
            vocabulary: OutputVocabulary::Whole,
            temperature: 1.0,
            backend: Backend::F32,
        };
        load(&first, &options).unwrap().save(&second).unwrap();
        let saved = [first, second].map(|folder| ids(inspect(&folder).unwrap().ends));
        let [first, second] = saved;
        [ids(ends), first, second]
    }

    #[test]
    fn the_same_tokens_end_a_response_after_saving() {
        let tokenizer = || ("tokenizer_config.json", json!({"eos_token": "script"}));
        let generation = |eos| (GENERATION, json!({"eos_token_id": eos}));
        for (eos, others, expected) in [
            (None, vec![tokenizer()], vec![6, 0]),
            (None, vec![], vec![0]),
            (None, vec![generation(json!([3, 5]))], vec![3, 5, 0]),
            (
                None,
                vec![tokenizer(), generation(json!([3, 5]))],
                vec![6, 3, 5, 0],
            ),
            (Some(json!(4)), vec![tokenizer()], vec![6, 4]),
            (Some(Value::Null), vec![tokenizer()], vec![6]),
            (Some(Value::Null), vec![], vec![]),
            (Some(json!([])), vec![generation(json!(3))], vec![3]),
            (
                Some(json!([4, 2, 99])),
                vec![tokenizer(), generation(json!(3))],
                vec![6, 4, 2, 3],
            ),
            (Some(json!([4, 99])), vec![], vec![4]),
        ] {
            let folder = folder(eos.clone(), &others);
            let name = format!("{eos:?} {others:?}");
            assert_eq!(
                kept(folder.path()),
                [(); 3].map(|()| expected.clone()),
                "{name}"
            );
        }
    }

    #[test]
    fn an_end_beyond_the_vocabulary_is_told_of() {
        let notes = |eos, generation| {
            let folder = folder(
                Some(eos),
                &[(GENERATION, json!({"eos_token_id": generation}))],
            );
            beyond(folder.path(), &ModelConfig::load(folder.path()).unwrap()).unwrap()
        };
        assert_eq!(
            notes(json!([0, 999, 9]), json!([8, 10])),
            [
                "config.json: `eos_token_id` names 999, 9, which no token is, as ids end at 8: it ends \
                 no response",
                "generation_config.json: `eos_token_id` names 10, which no token is, as ids end at 8: \
                 it ends no response",
            ]
        );
        // transformers writes its default for a small model too.
        assert!(notes(json!(50256), json!(8)).is_empty());
    }
}
