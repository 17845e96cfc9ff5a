//! What the files beside a vocabulary change about a tokenizer. Where transformers 4 and 5 differ, the
//! newer one is followed, and it is said.

use crate::tokenizer_config::{END_OF_TEXT, FILE, TokenizerConfig};
use crate::{Error, Result};
use std::collections::BTreeSet;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Library};

/// Classes whose `vocab.json` and `merges.txt` mean GPT-2's byte-level BPE.
const BYTE_LEVEL: [&str; 6] = [
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "CodeGenTokenizer",
    "CodeGenTokenizerFast",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
];

/// How a tokenizer's vocabulary is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Layout {
    /// `tokenizer.json`, which says how text is split too.
    Whole,
    /// `vocab.json` and `merges.txt`, or the names that these had first.
    Gpt2,
}

/// Changes a tokenizer as its configuration says; what is worth knowing comes back in sentences.
/// `vocab` is the network's number of entries: a token that would have a greater id is left out.
///
/// # Errors
/// If the class of the tokenizer splits text in a way that its files do not describe.
pub(crate) fn apply(
    config: &TokenizerConfig,
    library: &mut Library,
    layout: Layout,
    vocab: usize,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if layout == Layout::Gpt2 {
        check_class(config)?;
    }
    notes.extend(other_splitting(config, library, layout));
    notes.extend(set_prefix_space(config, library, layout));
    notes.extend(other_start(config, library, layout));
    let mut tokens = Tokens::of(library, vocab);
    for (stated, token) in &config.added {
        tokens.add(config, token, Some(*stated), &mut notes)?;
    }
    for token in config.special() {
        tokens.add(config, token, None, &mut notes)?;
    }
    // A token that no file names is not made up.
    let default = AddedToken::from(END_OF_TEXT, true);
    if config.by_default().next().is_some() && tokens.library.token_to_id(END_OF_TEXT).is_some() {
        tokens.add(config, &default, None, &mut notes)?;
    }
    if config.split_special {
        library.set_encode_special_tokens(true);
    }
    Ok(notes)
}

fn check_class(config: &TokenizerConfig) -> Result<()> {
    match config.class.as_deref() {
        Some(class) if !BYTE_LEVEL.contains(&class) => Err(Error::invalid(
            &config.path,
            format!(
                "`tokenizer_class` = {class:?} splits text otherwise than GPT-2, whose way alone is \
                 known for vocab.json and merges.txt: put a tokenizer.json beside them \
                 (AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) in Python)"
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether the class splits text otherwise than the file does.
fn other_splitting(config: &TokenizerConfig, library: &Library, layout: Layout) -> Option<String> {
    let gpt2 = matches!(
        library.get_pre_tokenizer(),
        Some(PreTokenizerWrapper::ByteLevel(ByteLevel {
            use_regex: true,
            ..
        }))
    );
    let same = gpt2 && library.get_normalizer().is_none();
    let said = config.class.is_some() && config.is_gpt2() && layout == Layout::Whole;
    (said && !same).then(|| {
        format!(
            "{FILE}: `tokenizer_class` is GPT-2's, but tokenizer.json does not split text as GPT-2 \
             does: the file is followed, as by transformers 4; transformers 5 follows the class"
        )
    })
}

/// Whether a class that puts a bos token before texts itself is told otherwise than the file.
fn other_start(config: &TokenizerConfig, library: &Library, layout: Layout) -> Option<String> {
    let asked = config.add_bos?;
    let by_class = layout == Layout::Whole
        && (config.class.as_deref()).is_some_and(|class| !BYTE_LEVEL.contains(&class));
    let does = !prefix(library).is_empty();
    (by_class && does != asked).then(|| {
        format!(
            "{FILE}: `add_bos_token` = {asked} is not applied: tokenizer.json says which tokens stand \
             before a text, and is followed"
        )
    })
}

/// Makes a byte-level tokenizer read texts with a blank before them, or not.
fn set_prefix_space(
    config: &TokenizerConfig,
    library: &mut Library,
    layout: Layout,
) -> Option<String> {
    let asked = config.prefix_space.unwrap_or(false);
    let said = |does: &str| {
        format!("{FILE}: `add_prefix_space` = {asked} is not applied: {does}, which is followed")
    };
    let Some(PreTokenizerWrapper::ByteLevel(bytes)) = library.get_pre_tokenizer() else {
        let wanted = config.is_gpt2() && asked;
        return wanted.then(|| said("tokenizer.json splits text in a way of its own"));
    };
    let (mut bytes, now) = (*bytes, bytes.add_prefix_space);
    if now == asked {
        return None;
    }
    if layout == Layout::Whole && !config.is_gpt2() {
        let stated = config.prefix_space.is_some();
        return stated.then(|| said(&format!("tokenizer.json says {now}")));
    }
    bytes.add_prefix_space = asked;
    library.with_pre_tokenizer(Some(bytes));
    None
}

/// The same tokenizer without a blank before texts, if it puts one there.
pub(crate) fn without_prefix_space(library: &Library) -> Option<Library> {
    match library.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::ByteLevel(bytes)) if bytes.add_prefix_space => {
            let (mut other, mut bytes) = (library.clone(), *bytes);
            bytes.add_prefix_space = false;
            other.with_pre_tokenizer(Some(bytes));
            Some(other)
        }
        _ => None,
    }
}

/// A tokenizer that tokens are added to.
struct Tokens<'a> {
    library: &'a mut Library,
    /// The texts that are added tokens already.
    known: BTreeSet<String>,
    /// The id that a new one would get.
    next: u32,
    vocab: usize,
}

impl<'a> Tokens<'a> {
    fn of(library: &'a mut Library, vocab: usize) -> Self {
        let added = library.get_added_tokens_decoder();
        let size = library.get_vocab_size(false) as u32;
        let after = added.keys().max().map_or(0, |id| id + 1);
        Self {
            known: added.into_values().map(|token| token.content).collect(),
            next: after.max(size),
            library,
            vocab,
        }
    }

    /// Adds a token, unless it is there. A new one gets the next id, whatever id the file states, as
    /// in transformers.
    fn add(
        &mut self,
        config: &TokenizerConfig,
        token: &AddedToken,
        stated: Option<u32>,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        let text = &token.content;
        if text.is_empty() || !self.known.insert(text.clone()) {
            return Ok(());
        }
        let id = self.library.token_to_id(text).unwrap_or(self.next);
        if id as usize >= self.vocab {
            let (next, vocab) = (self.next, self.vocab);
            notes.push(format!(
                "{FILE}: the token {text:?} is left out: it would have id {next}, and the network's \
                 vocab_size is {vocab}"
            ));
            return Ok(());
        }
        if let Some(stated) = stated.filter(|stated| *stated != id) {
            notes.push(format!(
                "{FILE}: the token {text:?} has id {id}, as in transformers, and not {stated}: ids \
                 follow each other"
            ));
        }
        self.next += u32::from(id == self.next);
        let added = self.library.add_tokens([token.clone()]);
        added.map_err(|error| Error::invalid(&config.path, error))?;
        Ok(())
    }
}

/// What a text gains at its start when special tokens are added.
pub(crate) fn prefix(library: &Library) -> Vec<u32> {
    let encode = |special| library.encode_fast("a", special);
    let (Ok(whole), Ok(plain)) = (encode(true), encode(false)) else {
        return Vec::new();
    };
    let (whole, plain) = (whole.get_ids(), plain.get_ids());
    let start = whole
        .windows(plain.len().max(1))
        .position(|ids| ids == plain);
    whole[..start.unwrap_or(0)].to_vec()
}
