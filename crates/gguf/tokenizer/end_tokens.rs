//! Which tokens end a response: one `eos_token_id` and keys beside it in GGUF, a list in a folder.

use crate::{GgufFile, Result};

/// The keys of tokens that end a response: the end of a text, of a turn, and of a message.
const KEYS: [&str; 3] = ["eos", "eot", "eom"];

/// Texts of tokens that llama.cpp takes for the end of a response wherever they stand in a vocabulary
/// (`llama-vocab.cpp`, where it collects `special_eog_ids`).
const KNOWN: [&str; 15] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<turn|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
];

/// The tokens that end a response, in the order of [`KEYS`], each once.
pub(crate) fn of_file(file: &GgufFile) -> Result<Vec<u32>> {
    let mut ends = Vec::new();
    for name in KEYS {
        let id = file.uint(&format!("tokenizer.ggml.{name}_token_id"))?;
        ends.extend(id.filter(|id| !ends.contains(id)));
    }
    Ok(ends)
}

/// The context of a file's model, in tokens.
pub(super) fn context(file: &GgufFile) -> Result<Option<u32>> {
    let architecture = file.text("general.architecture")?.unwrap_or_default();
    file.uint(&format!("{architecture}.context_length"))
}

/// The keys of tokens that end a response, the first of which is the one that responses are trained to
/// end with; and those for which there is no key and that llama.cpp does not know by their text.
pub(super) fn keys<'a>(
    ends: &[u32],
    text: impl Fn(u32) -> Option<&'a str>,
) -> (Vec<(String, u32)>, Vec<u32>) {
    let (mut keys, mut left) = (Vec::new(), Vec::new());
    let mut free = vec!["eot", "eom"];
    for (place, id) in ends.iter().copied().enumerate() {
        let of_message = text(id) == Some("<|eom_id|>");
        let name = match place {
            0 => "eos",
            _ if of_message && free.contains(&"eom") => "eom",
            // The end of a text is one wherever it stands; a key is left for others.
            _ if text(id).is_some_and(|text| KNOWN.contains(&text)) && ends.len() > 3 => continue,
            _ if !free.is_empty() => free[0],
            _ => {
                left.push(id);
                continue;
            }
        };
        free.retain(|other| *other != name);
        keys.push((format!("tokenizer.ggml.{name}_token_id"), id));
    }
    (keys, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_key_or_is_known_by_its_text() {
        let text = |id| {
            ["<a>", "<|eom_id|>", "<|eot_id|>", "<b>", "<c>"]
                .get(id as usize)
                .copied()
        };
        let names = |ends: &[u32]| {
            let (keys, left) = keys(ends, text);
            let short = |(key, id): (String, u32)| {
                let key = key
                    .trim_start_matches("tokenizer.ggml.")
                    .trim_end_matches("_token_id");
                format!("{key} {id}")
            };
            (keys.into_iter().map(short).collect::<Vec<_>>(), left)
        };
        assert_eq!(names(&[0]), (vec!["eos 0".into()], vec![]));
        let llama = (vec!["eos 2".into(), "eot 0".into(), "eom 1".into()], vec![]);
        assert_eq!(names(&[2, 0, 1]), llama);
        let many = (vec!["eos 0".into(), "eot 3".into(), "eom 4".into()], vec![]);
        assert_eq!(names(&[0, 2, 3, 4]), many);
        assert_eq!(names(&[0, 3, 4, 5]).1, [5]);
    }
}
