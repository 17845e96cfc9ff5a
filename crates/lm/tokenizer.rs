//! Text to ids and back.

use crate::tokenizer_config::{END_OF_TEXT, TokenizerConfig};
use crate::tokenizer_rules::{self, Layout};
use crate::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizers::Tokenizer as Library;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::PostProcessorWrapper;

/// Vocabularies of other kinds than those that are read.
const FOREIGN: [&str; 4] = [
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
];

/// The tokenizer of a checkpoint folder; where there is none, ids written as numbers separated by
/// spaces.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    vocab: usize,
    library: Option<Arc<Library>>,
    /// The same without the blank that it puts before a text, if it puts one.
    continuing: Option<Arc<Library>>,
    prefix: Arc<[u32]>,
    eos: Option<u32>,
    notes: Arc<[String]>,
}

impl Tokenizer {
    /// Loads `tokenizer.json`, or `vocab.json`/`encoder.json` with `merges.txt`/`vocab.bpe`, or
    /// none of them, with what `tokenizer_config.json`, `special_tokens_map.json` and
    /// `added_tokens.json` beside them say of tokens, as transformers reads them. `vocab` is the
    /// network's number of entries.
    ///
    /// # Errors
    /// If a file is malformed, knows ids beyond `vocab`, or is of a kind that is not read.
    pub fn load(folder: &Path, vocab: usize) -> Result<Self> {
        let mut notes = Vec::new();
        let Some((path, layout, mut library)) = read(folder, vocab, &mut notes)? else {
            return Ok(Self {
                vocab,
                library: None,
                continuing: None,
                prefix: [].into(),
                eos: None,
                notes: [].into(),
            });
        };
        let highest = library.get_vocab(true).into_values().max();
        if let Some(id) = highest.filter(|id| *id as usize >= vocab) {
            return Err(Error::invalid(
                &path,
                format!(
                    "knows token id {id}, but the network's vocab_size is {vocab}: it belongs to \
                     another network"
                ),
            ));
        }
        let config = TokenizerConfig::read(folder)?;
        notes.extend(tokenizer_rules::apply(
            &config,
            &mut library,
            layout,
            vocab,
        )?);
        let prefix = match layout {
            Layout::Whole => tokenizer_rules::prefix(&library),
            Layout::Gpt2 if config.add_bos == Some(true) => {
                let bos = config.by_default().find(|name| *name == "bos_token");
                let bos = config.token("bos_token").or(bos.map(|_| END_OF_TEXT));
                bos.and_then(|bos| library.token_to_id(bos))
                    .into_iter()
                    .collect()
            }
            Layout::Gpt2 => Vec::new(),
        };
        // Special tokens are put before a text here; what else a post-processor does is to cut blanks
        // off the places of tokens, which are wanted whole.
        library.with_post_processor(None::<PostProcessorWrapper>);
        let eos = config.token("eos_token");
        Ok(Self {
            vocab,
            prefix: prefix.into(),
            eos: eos.and_then(|eos| library.token_to_id(eos)),
            continuing: tokenizer_rules::without_prefix_space(&library).map(Arc::new),
            library: Some(Arc::new(library)),
            notes: notes.into(),
        })
    }

    /// The ids of a text; no special token is added.
    ///
    /// # Errors
    /// If the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_by(self.library.as_deref(), text)
    }

    /// The ids of a text that goes on where another one ended: where the tokenizer puts a blank before a
    /// text, there is none.
    ///
    /// # Errors
    /// If the text cannot be encoded.
    pub fn encode_continuing(&self, text: &str) -> Result<Vec<u32>> {
        let library = self.continuing.as_deref().or(self.library.as_deref());
        self.encode_by(library, text)
    }

    fn encode_by(&self, library: Option<&Library>, text: &str) -> Result<Vec<u32>> {
        let Some(library) = library else {
            return self.parse_ids(text);
        };
        let encoding = library
            .encode_fast(text, false)
            .map_err(|error| Error::Text(format!("cannot tokenize {text:?}: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a text, as [`encode`](Self::encode), and which bytes of it each stands for. Tokens
    /// that share a character each stand for all of it.
    ///
    /// # Errors
    /// As there; without a tokenizer, texts are numbers, which have no places.
    pub fn encode_with_places(&self, text: &str) -> Result<(Vec<u32>, Vec<Range<usize>>)> {
        let Some(library) = &self.library else {
            let message = "the checkpoint has no tokenizer, so tokens have no place in a text";
            return Err(Error::Text(message.into()));
        };
        let encoding = library
            .encode(text, false)
            .map_err(|error| Error::Text(format!("cannot tokenize {text:?}: {error}")))?;
        let places = encoding
            .get_offsets()
            .iter()
            .map(|(start, end)| *start..*end);
        Ok((encoding.get_ids().to_vec(), places.collect()))
    }

    /// The special tokens that the tokenizer's own settings put before a text, such as a
    /// beginning-of-sequence token; often none.
    #[must_use]
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// The text of ids, special tokens left out.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        match &self.library {
            // The decoders of a byte-level or word vocabulary do not fail; what they cannot show
            // is better shown as numbers than lost.
            Some(library) => library.decode(ids, true).unwrap_or_else(|_| numbers(ids)),
            None => numbers(ids),
        }
    }

    /// The id of one token by its text, such as a special one, if there is such a token.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.library.as_ref()?.token_to_id(token)
    }

    /// The text of a special token, such as the one that ends a text; none of a token that ordinary text
    /// may hold.
    #[must_use]
    pub fn special(&self, id: u32) -> Option<String> {
        let library = self.library.as_ref()?;
        let text = library.id_to_token(id)?;
        let added = library.get_added_tokens_decoder();
        let special = added.get(&id).is_some_and(|token| token.special);
        (special || text == END_OF_TEXT).then_some(text)
    }

    /// A token's text as it stands in the vocabulary; its number where there is no tokenizer.
    #[must_use]
    pub fn token(&self, id: u32) -> String {
        let token = self
            .library
            .as_ref()
            .and_then(|library| library.id_to_token(id));
        token.unwrap_or_else(|| id.to_string())
    }

    /// The token that the tokenizer's own files name as `eos_token`, if they name one.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// What is worth knowing of how the tokenizer's files were read, in sentences; mostly nothing.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the tokenizer ends a text with, where its name is GPT-2's.
    #[must_use]
    pub fn end_of_text(&self) -> Option<u32> {
        self.id(END_OF_TEXT)
    }

    /// How many ids there are up to the last that has text, which may be fewer than the network's vocabulary
    /// has entries: rows of an embedding are often padded to a round number.
    #[must_use]
    pub fn ids_with_text(&self) -> usize {
        let highest = self.library.as_ref().and_then(|library| {
            let ids = library.get_vocab(true).into_values();
            ids.max()
        });
        highest.map_or(self.vocab, |id| id as usize + 1)
    }

    /// Whether ids are the same tokens to both: equal vocabularies.
    #[must_use]
    pub fn same_ids(&self, other: &Self) -> bool {
        match (&self.library, &other.library) {
            (Some(own), Some(its)) => own.get_vocab(true) == its.get_vocab(true),
            _ => self.vocab == other.vocab,
        }
    }

    /// Whether texts are ids written as numbers, because the folder has no tokenizer.
    #[must_use]
    pub fn is_ids(&self) -> bool {
        self.library.is_none()
    }

    fn parse_ids(&self, text: &str) -> Result<Vec<u32>> {
        let parse = |word: &str| match word.parse::<u32>() {
            Ok(id) if (id as usize) < self.vocab => Ok(id),
            _ => Err(Error::Text(format!(
                "{word:?} is not a token id below {}: the checkpoint has no tokenizer, so texts \
                 are ids separated by spaces",
                self.vocab
            ))),
        };
        text.split_whitespace().map(parse).collect()
    }
}

fn numbers(ids: &[u32]) -> String {
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    words.join(" ")
}

/// The tokenizer of a folder, if it has one, and the file that it is in. Tokens that were added to it and that
/// the network of `vocab` entries has no row for are left out, with a note.
fn read(
    folder: &Path,
    vocab: usize,
    notes: &mut Vec<String>,
) -> Result<Option<(PathBuf, Layout, Library)>> {
    let present = |names: [&str; 2]| {
        let mut paths = names.into_iter().map(|name| folder.join(name));
        paths.find(|path| path.exists())
    };
    let whole = folder.join("tokenizer.json");
    if whole.exists() {
        let library = read_whole(&whole, vocab, notes)?;
        return Ok(Some((whole, Layout::Whole, library)));
    }
    let entries = present(["vocab.json", "encoder.json"]);
    let merges = present(["merges.txt", "vocab.bpe"]);
    match (entries, merges) {
        (Some(entries), Some(merges)) => {
            let library = read_gpt2(&entries, &merges)?;
            Ok(Some((entries, Layout::Gpt2, library)))
        }
        (None, None) => refuse_foreign(folder).map(|()| None),
        (Some(path), None) => {
            let message = "has no merges.txt or vocab.bpe beside it: copy it there";
            Err(Error::invalid(&path, message))
        }
        (None, Some(path)) => {
            let message = "has no vocab.json or encoder.json beside it: copy it there";
            Err(Error::invalid(&path, message))
        }
    }
}

/// Texts must not silently become numbers where there is a tokenizer.
fn refuse_foreign(folder: &Path) -> Result<()> {
    let mut paths = FOREIGN.iter().map(|name| folder.join(name));
    match paths.find(|path| path.exists()) {
        None => Ok(()),
        Some(path) => Err(Error::invalid(
            &path,
            "is a vocabulary that is not read: put a tokenizer.json beside it \
             (AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) in Python)",
        )),
    }
}

fn read_whole(path: &Path, vocab: usize, notes: &mut Vec<String>) -> Result<Library> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let parse = |bytes: &[u8]| {
        Library::from_bytes(bytes).map_err(|error| {
            Error::invalid(path, format!("is not a tokenizer ({error}): copy it again"))
        })
    };
    let mut library = parse(&bytes)?;
    if let Some(fewer) = without_tokens_beyond(&library, &bytes, vocab, notes) {
        library = parse(&fewer)?;
    }
    // Some files ask for padding or truncation; we never want either.
    library.with_padding(None);
    library
        .with_truncation(None)
        .map_err(|error| Error::invalid(path, error))?;
    Ok(library)
}

/// The file of a tokenizer without the added tokens that a network of `vocab` entries has no rows for: a pad
/// token, mostly, that was added to the tokenizer and not to the embedding. None where there are no such
/// tokens, or where the vocabulary itself is too large.
fn without_tokens_beyond(
    library: &Library,
    bytes: &[u8],
    vocab: usize,
    notes: &mut Vec<String>,
) -> Option<Vec<u8>> {
    let fits = |id: &u32| (*id as usize) < vocab;
    let added = library.get_added_tokens_decoder();
    let mut beyond: Vec<(u32, &str)> = added
        .iter()
        .filter(|(id, _)| !fits(id))
        .map(|(id, token)| (*id, token.content.as_str()))
        .collect();
    if beyond.is_empty() || !library.get_vocab(false).values().all(fits) {
        return None;
    }
    let mut file: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let tokens = file.get_mut("added_tokens")?.as_array_mut()?;
    tokens.retain(|token| {
        let text = token.get("content").and_then(serde_json::Value::as_str);
        text.is_none_or(|text| beyond.iter().all(|(_, known)| *known != text))
    });
    beyond.sort_unstable();
    notes.extend(beyond.iter().map(|(id, text)| {
        format!(
            "tokenizer.json: the token {text:?} is left out: it has id {id}, and the network's vocab_size \
             is {vocab}"
        )
    }));
    serde_json::to_vec(&file).ok()
}

/// GPT-2's byte-level BPE (Radford et al. 2019, §2.2) from its two original files.
fn read_gpt2(entries: &Path, merges: &Path) -> Result<Library> {
    let name = |path: &Path| path.to_string_lossy().into_owned();
    let bpe = BPE::from_file(&name(entries), &name(merges))
        .build()
        .map_err(|error| {
            let message = format!("with {}: {error}", merges.display());
            Error::invalid(entries, message)
        })?;
    let mut library = Library::new(bpe);
    let bytes = ByteLevel::new(false, true, true);
    library.with_pre_tokenizer(Some(bytes));
    library.with_decoder(Some(bytes));
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data;

    #[test]
    fn ids_without_a_tokenizer() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = Tokenizer::load(folder.path(), 10).unwrap();
        assert!(tokenizer.is_ids());
        assert_eq!(tokenizer.encode(" 1 2\n9 ").unwrap(), [1, 2, 9]);
        assert_eq!(tokenizer.decode(&[1, 2, 9]), "1 2 9");
        assert_eq!(tokenizer.end_of_text(), None);
        for bad in ["1 x", "10", "-1"] {
            let error = tokenizer.encode(bad).unwrap_err().to_string();
            let word = bad.split(' ').next_back().unwrap();
            assert!(error.contains(&format!("{word:?}")), "{error}");
        }
    }

    #[test]
    fn malformed_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            Tokenizer::load(folder.path(), 10).unwrap_err().to_string()
        };
        let lonely = write("vocab.json", r#"{"a": 0}"#);
        assert!(lonely.contains("vocab.json") && lonely.contains("merges.txt"));
        let broken = write("merges.txt", "#version: 0.2\na b c d\n");
        assert!(broken.contains("merges.txt"), "{broken}");
        let broken = write("tokenizer.json", "{");
        assert!(broken.contains("tokenizer.json"), "{broken}");
    }

    /// The cases of llama.cpp, by both layouts of the files.
    #[test]
    #[ignore = "needs RLHF_TEST_DATA: gpt2-bpe"]
    fn the_gpt2_cases() {
        let data = test_data("gpt2-bpe");
        let cases = std::fs::read_to_string(data.join("llamacpp_gpt2_cases.json")).unwrap();
        let cases: serde_json::Value = serde_json::from_str(&cases).unwrap();
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), 47);
        for files in [&["tokenizer.json"][..], &["encoder.json", "vocab.bpe"]] {
            let folder = tempfile::tempdir().unwrap();
            for file in files {
                std::fs::copy(data.join(file), folder.path().join(file)).unwrap();
            }
            let tokenizer = Tokenizer::load(folder.path(), 50257).unwrap();
            assert_eq!(tokenizer.end_of_text(), Some(50256));
            for case in cases {
                let text = case["text"].as_str().unwrap();
                let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
                assert_eq!(tokenizer.encode(text).unwrap(), ids, "{text:?}");
                assert_eq!(tokenizer.decode(&ids), text);
            }
            let ended = tokenizer.encode("a<|endoftext|>").unwrap();
            assert_eq!(ended, [64, 50256]);
            assert_eq!(tokenizer.decode(&ended), "a");
            let error = Tokenizer::load(folder.path(), 50256).unwrap_err();
            assert!(error.to_string().contains("50256"), "{error}");
        }
    }
}
