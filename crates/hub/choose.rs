//! Which files of a repository we read.

use crate::Kind;
use std::collections::BTreeSet;
use std::path::Path;

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
/// Names the shards of a network that is in several files.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// What a checkpoint may have beside its network: tokenizer, chat template, settings of sampling, and
/// what a run of ours leaves.
const BESIDE: [&str; 13] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "encoder.json",
    "vocab.bpe",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "reward.json",
    "critic.safetensors",
];

/// Files of rows, by the end of their names, compressed or not.
const ROWS: [&str; 7] = [
    ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet",
];
const COMPRESSED: [&str; 2] = [".gz", ".zst"];
/// What describes a data set and is none of its rows.
const DESCRIPTIONS: [&str; 9] = [
    "dataset_infos.json",
    "dataset_info.json",
    "dataset_dict.json",
    "state.json",
    "metadata.json",
    "config.json",
    "readme.txt",
    "license.txt",
    "requirements.txt",
];

/// The files to have, small ones first; the shards of an index apart, which only the index names.
///
/// # Errors
/// What is missing, as the end of a sentence that begins with the repository.
pub(crate) fn needed(kind: Kind, names: &[String]) -> Result<Vec<String>, String> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match kind {
        Kind::Model => model(&names),
        Kind::Dataset => dataset(&names),
    }
}

fn model(names: &[&str]) -> Result<Vec<String>, String> {
    let has = |name: &str| names.contains(&name);
    if !has(CONFIG) {
        return Err(format!("has no {CONFIG}: it is not a checkpoint"));
    }
    let weights = match (has(SINGLE), has(INDEX)) {
        (true, _) => SINGLE,
        (false, true) => INDEX,
        (false, false) if names.iter().any(|name| name.ends_with(".bin")) => {
            return Err(format!(
                "has no {SINGLE}, only .bin files: load it in Python, save it with \
                 safe_serialization=True, and give that folder"
            ));
        }
        (false, false) => return Err(format!("has no {SINGLE}: it has no weights we read")),
    };
    let beside = BESIDE.into_iter().filter(|name| has(name));
    let all = [CONFIG].into_iter().chain(beside).chain([weights]);
    Ok(all.map(str::to_string).collect())
}

/// The files of a checkpoint folder that are read: the same as are fetched of a repository, by their
/// names, in order. A folder that is not there has none.
#[must_use]
pub fn checkpoint_files(folder: &Path) -> Vec<String> {
    let has = |name: &str| folder.join(name).is_file();
    let mut names: BTreeSet<String> = [CONFIG, SINGLE]
        .into_iter()
        .chain(BESIDE)
        .filter(|name| has(name))
        .map(str::to_string)
        .collect();
    if !names.contains(SINGLE) && has(INDEX) {
        names.insert(INDEX.into());
        // An index that names no shards is an error of whoever loads them.
        names.extend(shards(&folder.join(INDEX)).unwrap_or_default());
    }
    names.into_iter().collect()
}

fn dataset(names: &[&str]) -> Result<Vec<String>, String> {
    let rows: Vec<String> = names
        .iter()
        .filter(|name| holds_rows(name))
        .map(ToString::to_string)
        .collect();
    if rows.is_empty() {
        return Err(format!(
            "has no file of rows we read: one ends in {}, or in one of these and {}",
            ROWS.join(", "),
            COMPRESSED.join(" or ")
        ));
    }
    Ok(rows)
}

fn holds_rows(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let plain = COMPRESSED
        .into_iter()
        .find_map(|end| file.strip_suffix(end))
        .unwrap_or(file);
    let hidden = name.split('/').any(|part| part.starts_with('.'));
    !hidden
        && !DESCRIPTIONS.contains(&&*file.to_ascii_lowercase())
        && ROWS.into_iter().any(|end| plain.ends_with(end))
}

/// The shards that an index names.
///
/// # Errors
/// What is wrong with the index, as the end of a sentence that begins with the repository.
pub(crate) fn shards(index: &Path) -> Result<BTreeSet<String>, String> {
    let bad = || format!("has an {INDEX} that names no shards");
    let text = std::fs::read_to_string(index).map_err(|error| error.to_string())?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|_| bad())?;
    let map = json["weight_map"].as_object().ok_or_else(bad)?;
    let names = map.values().map(|name| {
        let name = name.as_str().filter(|name| is_inside(name));
        name.map(str::to_string).ok_or_else(bad)
    });
    names.collect()
}

/// Whether a file's name stays inside the folder it is given for.
pub(crate) fn is_inside(name: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    !name.contains(['\\', ':', '\0']) && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(kind: Kind, names: &[&str]) -> Result<Vec<String>, String> {
        needed(
            kind,
            &names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_checkpoint_is_read_from_the_files_it_has() {
        let names = [
            ".gitattributes",
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "merges.txt",
            "model.safetensors",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "vocab.json",
        ];
        let files = chosen(Kind::Model, &names).unwrap();
        assert_eq!(
            files,
            [
                "config.json",
                "vocab.json",
                "merges.txt",
                "model.safetensors"
            ]
        );
        let sharded = chosen(Kind::Model, &["config.json", "x.safetensors", INDEX]).unwrap();
        assert_eq!(sharded, ["config.json", INDEX]);
        for (names, expected) in [
            (vec!["model.safetensors"], "no config.json"),
            (vec!["config.json"], "no weights"),
            (
                vec!["config.json", "pytorch_model.bin"],
                "safe_serialization",
            ),
        ] {
            let why = chosen(Kind::Model, &names).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn a_folder_has_the_files_that_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in ["config.json", "README.md", "vocab.json", "x.safetensors"] {
            write(name, "");
        }
        write(INDEX, r#"{"weight_map": {"w": "x.safetensors"}}"#);
        let sharded = ["config.json", INDEX, "vocab.json", "x.safetensors"];
        assert_eq!(checkpoint_files(folder.path()), sharded);
        write(SINGLE, "");
        let single = ["config.json", SINGLE, "vocab.json"];
        assert_eq!(checkpoint_files(folder.path()), single);
        assert!(checkpoint_files(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn rows_are_told_from_descriptions() {
        let names = [
            ".hidden/x.jsonl",
            "README.md",
            "data/test-00000-of-00001.parquet",
            "dataset_infos.json",
            "harmless/train.jsonl.gz",
            "LICENSE.txt",
            "rows.csv.zst",
            "train.json",
        ];
        let files = chosen(Kind::Dataset, &names).unwrap();
        assert_eq!(files, [names[2], names[4], names[6], names[7]]);
        let why = chosen(Kind::Dataset, &["README.md"]).unwrap_err();
        assert!(why.contains(".parquet"), "{why}");
    }

    #[test]
    fn names_stay_inside() {
        for bad in ["../x", "/x", "a//b", "a/../b", "", ".", "a\\b", "c:x"] {
            assert!(!is_inside(bad), "{bad}");
        }
        assert!(is_inside("data/train-00000.parquet"));
    }
}
