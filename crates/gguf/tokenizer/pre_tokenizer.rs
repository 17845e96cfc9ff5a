//! How a text is cut before byte-level BPE merges anything: by names in GGUF (`tokenizer.ggml.pre`), by
//! regular expressions in `tokenizer.json`.

use serde_json::{Value, json};

/// A step of a pre-tokenizer, before its last one turns bytes into letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Cuts at each match, which stays.
    Split(&'static str),
    /// Each digit for itself.
    Digits,
    /// GPT-2's expression, which the byte-level step has built in.
    Gpt2,
}

/// What llama.cpp does for a name besides cutting.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// The names; the first is the one that is written.
    pub(super) names: &'static [&'static str],
    steps: &'static [Step],
    /// Whether words that are in the vocabulary are not merged from their bytes.
    pub(super) ignore_merges: bool,
    /// Whether texts are brought to Unicode's composed form before. llama.cpp does not do it.
    pub(super) composed: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The expressions that the models' own `tokenizer.json` have (`llama-vocab.cpp` quotes them; its own
/// avoid what its engine lacks), under the names that cut a text alike.
static ALL: [PreTokenizer; 8] = [
    PreTokenizer {
        names: &[
            "gpt-2",
            "mpt",
            "olmo",
            "jais",
            "phi-2",
            "roberta-bpe",
            "trillion",
        ],
        steps: &[Step::Gpt2],
        ignore_merges: false,
        composed: false,
    },
    PreTokenizer {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        steps: &[Step::Digits, Step::Gpt2],
        ignore_merges: false,
        composed: false,
    },
    PreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "lfm2",
            "midm-2.0",
        ],
        steps: &[Step::Split(LLAMA3)],
        ignore_merges: true,
        composed: false,
    },
    PreTokenizer {
        names: &["dbrx", "smaug-bpe"],
        steps: &[Step::Split(LLAMA3)],
        ignore_merges: false,
        composed: false,
    },
    PreTokenizer {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "megrez",
            "kormo",
            "stablelm2",
            "hunyuan",
        ],
        steps: &[Step::Split(QWEN2)],
        ignore_merges: false,
        composed: true,
    },
    PreTokenizer {
        names: &["qwen35"],
        steps: &[Step::Split(QWEN35)],
        ignore_merges: false,
        composed: true,
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2"],
        steps: &[Step::Split(GPT4O)],
        ignore_merges: false,
        composed: false,
    },
    PreTokenizer {
        names: &["tekken"],
        steps: &[Step::Split(TEKKEN)],
        ignore_merges: true,
        composed: false,
    },
];

/// That of a name, if it is known.
pub(super) fn of_name(name: &str) -> Option<&'static PreTokenizer> {
    ALL.iter().find(|known| known.names.contains(&name))
}

/// All names.
pub(super) fn names() -> String {
    let names = ALL.iter().flat_map(|known| known.names).copied();
    names.collect::<Vec<_>>().join(", ")
}

/// That which cuts as `pre_tokenizer` of a `tokenizer.json`; the error says what has no counterpart.
pub(super) fn of_json(value: &Value, ignore_merges: bool) -> Result<&'static PreTokenizer, String> {
    let steps = steps(value)?;
    let same = |known: &&PreTokenizer| {
        let texts = |step: &Step| match step {
            Step::Split(pattern) => (*pattern).to_string(),
            Step::Digits => DIGITS.into(),
            Step::Gpt2 => GPT2.into(),
        };
        known.steps.iter().map(texts).eq(steps.iter().cloned())
    };
    let cutting: Vec<_> = ALL.iter().filter(same).collect();
    let best = cutting
        .iter()
        .find(|known| known.ignore_merges == ignore_merges);
    best.or(cutting.first()).copied().ok_or_else(|| {
        format!("`pre_tokenizer` cuts texts by {steps:?}, for which llama.cpp has no name")
    })
}

/// Stands for the step that cuts off each digit.
const DIGITS: &str = r"\p{N}";

/// The expressions of a pre-tokenizer in order.
fn steps(value: &Value) -> Result<Vec<String>, String> {
    let kind = value["type"].as_str().unwrap_or("none");
    let has = |key: &str, expected: &Value| value.get(key).is_none_or(|value| value == expected);
    match kind {
        "Sequence" => {
            let all = value["pretokenizers"].as_array();
            let mut steps_of_all = Vec::new();
            for inner in all.into_iter().flatten() {
                steps_of_all.extend(steps(inner)?);
            }
            Ok(steps_of_all)
        }
        "Split" if has("behavior", &json!("Isolated")) && has("invert", &json!(false)) => {
            let pattern = value["pattern"]["Regex"].as_str();
            pattern
                .map(|pattern| vec![pattern.into()])
                .ok_or_else(|| "`pre_tokenizer` splits at a text".into())
        }
        "Digits" if value["individual_digits"] == json!(true) => Ok(vec![DIGITS.into()]),
        "ByteLevel" if value["add_prefix_space"] == json!(true) => Err(
            "`pre_tokenizer` puts a blank before a text, which llama.cpp's byte-level BPE does not"
                .into(),
        ),
        "ByteLevel" if has("use_regex", &json!(true)) => Ok(vec![GPT2.into()]),
        "ByteLevel" => Ok(Vec::new()),
        _ => Err(format!(
            "`pre_tokenizer` is {kind}, for which llama.cpp has no name"
        )),
    }
}

impl PreTokenizer {
    /// `pre_tokenizer` of a `tokenizer.json`.
    pub(super) fn json(&self) -> Value {
        let last = self.steps.last() == Some(&Step::Gpt2);
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": last,
        });
        let step = |step: &Step| match step {
            Step::Split(pattern) => Some(json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
            })),
            Step::Digits => Some(json!({"type": "Digits", "individual_digits": true})),
            Step::Gpt2 => None,
        };
        let mut steps: Vec<Value> = self.steps.iter().filter_map(step).collect();
        if steps.is_empty() {
            byte_level
        } else {
            steps.push(byte_level);
            json!({"type": "Sequence", "pretokenizers": steps})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_what_it_writes() {
        for known in &ALL {
            let found = of_json(&known.json(), known.ignore_merges).unwrap();
            assert_eq!(found.names, known.names);
            for name in known.names {
                assert_eq!(of_name(name).unwrap().names, known.names);
            }
        }
        let prefixed = json!({"type": "ByteLevel", "add_prefix_space": true});
        assert!(of_json(&prefixed, false).unwrap_err().contains("blank"));
        let other = json!({"type": "Whitespace"});
        assert!(of_json(&other, false).unwrap_err().contains("Whitespace"));
    }
}
