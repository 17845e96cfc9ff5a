//! Chooses which files of a repository are downloaded.

use crate::Kind;
use std::collections::BTreeSet;
use std::path::Path;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// The index that names the shards of a model in several files.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Optional files of a checkpoint: tokenizer, chat template, generation settings, and files that
/// our runs write.
const OPTIONAL_FILES: [&str; 13] = [
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

/// The extensions of data files, compressed or not.
const ROW_EXTENSIONS: [&str; 7] = [
    ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet",
];
const COMPRESSED_EXTENSIONS: [&str; 2] = [".gz", ".zst"];
/// Files that describe a data set and hold no rows.
const METADATA_FILES: [&str; 9] = [
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

/// The required files, small ones first. The shards of an index are not included: only the index
/// names them.
///
/// # Errors
/// What is missing, as the end of a sentence that starts with the repository.
pub(crate) fn required_files(kind: Kind, names: &[String]) -> Result<Vec<String>, String> {
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
    let weights = match (has(WEIGHTS), has(INDEX)) {
        (true, _) => WEIGHTS,
        (false, true) => INDEX,
        (false, false) if names.iter().any(|name| name.ends_with(".bin")) => {
            return Err(format!(
                "has no {WEIGHTS}, only .bin files: load it in Python, save it with \
                 safe_serialization=True, and use that folder"
            ));
        }
        (false, false) => {
            return Err(format!(
                "has no {WEIGHTS}: there are no weights in a supported \
                                              format"
            ));
        }
    };
    let optional = OPTIONAL_FILES.into_iter().filter(|name| has(name));
    let all = [CONFIG].into_iter().chain(optional).chain([weights]);
    Ok(all.map(str::to_string).collect())
}

/// The names of the files of a checkpoint folder that are read, sorted: the same files that are
/// downloaded from a repository. Empty if the folder does not exist.
#[must_use]
pub fn checkpoint_files(folder: &Path) -> Vec<String> {
    let has = |name: &str| folder.join(name).is_file();
    let mut names: BTreeSet<String> = [CONFIG, WEIGHTS]
        .into_iter()
        .chain(OPTIONAL_FILES)
        .filter(|name| has(name))
        .map(str::to_string)
        .collect();
    if !names.contains(WEIGHTS) && has(INDEX) {
        names.insert(INDEX.into());
        // The code that loads the shards reports an index without shards.
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
            "has no data file: the name must end in {}, optionally followed by {}",
            ROW_EXTENSIONS.join(", "),
            COMPRESSED_EXTENSIONS.join(" or ")
        ));
    }
    Ok(rows)
}

fn holds_rows(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let plain = COMPRESSED_EXTENSIONS
        .into_iter()
        .find_map(|end| file.strip_suffix(end))
        .unwrap_or(file);
    let hidden = name.split('/').any(|part| part.starts_with('.'));
    !hidden
        && !METADATA_FILES.contains(&&*file.to_ascii_lowercase())
        && ROW_EXTENSIONS.into_iter().any(|end| plain.ends_with(end))
}

/// The shards that an index names.
///
/// # Errors
/// What is wrong with the index, as the end of a sentence that starts with the repository.
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

/// Whether a file name stays inside its folder.
pub(crate) fn is_inside(name: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    !name.contains(['\\', ':', '\0']) && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(kind: Kind, names: &[&str]) -> Result<Vec<String>, String> {
        required_files(
            kind,
            &names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn required_files_of_a_checkpoint() {
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
    fn checkpoint_files_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in ["config.json", "README.md", "vocab.json", "x.safetensors"] {
            write(name, "");
        }
        write(INDEX, r#"{"weight_map": {"w": "x.safetensors"}}"#);
        let sharded = ["config.json", INDEX, "vocab.json", "x.safetensors"];
        assert_eq!(checkpoint_files(folder.path()), sharded);
        write(WEIGHTS, "");
        let single = ["config.json", WEIGHTS, "vocab.json"];
        assert_eq!(checkpoint_files(folder.path()), single);
        assert!(checkpoint_files(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn data_files_are_distinguished_from_metadata() {
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
    fn names_outside_the_folder_are_rejected() {
        for bad in ["../x", "/x", "a//b", "a/../b", "", ".", "a\\b", "c:x"] {
            assert!(!is_inside(bad), "{bad}");
        }
        assert!(is_inside("data/train-00000.parquet"));
    }
}
