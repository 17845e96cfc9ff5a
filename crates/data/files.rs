//! Finds the data files at a path.

use crate::formats::format_of;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The maximum depth of the search in a folder.
const MAX_DEPTH: usize = 4;

/// The names of the parts of a data set. The first of a group is its canonical name.
const SPLITS: [&[&str]; 3] = [
    &["train", "training"],
    &["validation", "valid", "val", "dev"],
    &["test", "testing", "eval", "evaluation"],
];

/// Files of a repository that describe it and hold no rows.
const METADATA_FILES: [&str; 9] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "metadata.json",
    "config.json",
    "requirements.txt",
    "license.txt",
    "readme.txt",
];

/// The data files at a path: the file itself, or the files of a folder, sorted by name. If the
/// names of the files or their folders name parts of a data set (`train-00000-of-00002.parquet`,
/// `test.jsonl.gz`, `validation/0.csv`), the files of the part `split` are taken; by default
/// `train`, or the only part there is. A `split` may also name a file in the folder, or a folder in
/// it with or without a part: `harmless-base`, `harmless-base/test`.
///
/// # Errors
/// If there is no such file, or `split` is given for a file.
pub fn files(path: &Path, split: Option<&str>) -> Result<Vec<PathBuf>> {
    if let Some((folder, rest)) = split.and_then(|split| folder_of_split(path, split)) {
        return files(&folder, rest);
    }
    if !path.is_dir() {
        return match split {
            None => Ok(vec![path.into()]),
            Some(split) => Err(Error::file(
                path,
                format!("is a file: data.split = \"{split}\" chooses among the files of a folder"),
            )),
        };
    }
    let mut found = Vec::new();
    search(path, MAX_DEPTH, &mut found)?;
    found.sort();
    if found.is_empty() {
        let message = "holds no data file (.jsonl, .json, .csv, .tsv, .txt, .parquet, also .gz and \
                       .zst)";
        return Err(Error::file(path, message));
    }
    choose(path, found, split)
}

/// The file or folder in `path` that a split names, and the part in it. The usual part names are
/// never read as folder names.
fn folder_of_split<'a>(path: &Path, split: &'a str) -> Option<(PathBuf, Option<&'a str>)> {
    let below = |part: Component| matches!(part, Component::Normal(_));
    if split.is_empty() || canonical(split).is_some() || !Path::new(split).components().all(below) {
        return None;
    }
    let parted = split.rsplit_once('/');
    let parted = parted.map(|(folder, part)| (folder, Some(part)));
    [Some((split, None)), parted]
        .into_iter()
        .flatten()
        .map(|(folder, part)| (path.join(folder), part))
        .find(|(inside, part)| inside.is_dir() || (part.is_none() && inside.is_file()))
}

fn choose(path: &Path, found: Vec<PathBuf>, split: Option<&str>) -> Result<Vec<PathBuf>> {
    let named: Vec<_> = found.iter().map(|file| split_of(path, file)).collect();
    let known: BTreeSet<&str> = named.iter().flatten().map(String::as_str).collect();
    let list = known.iter().copied().collect::<Vec<_>>().join(", ");
    let wanted = match split {
        Some(split) => {
            let split = split.to_ascii_lowercase();
            canonical(&split).map_or(split.clone(), str::to_string)
        }
        None if known.is_empty() => return Ok(found),
        None if known.contains("train") => "train".into(),
        None if known.len() == 1 => list.clone(),
        None => {
            let message = format!("has the parts {list}: choose one with data.split");
            return Err(Error::file(path, message));
        }
    };
    let of_split = |(file, name): (&PathBuf, &Option<String>)| {
        let by_word = || words(path, file).any(|word| word == wanted);
        (name.as_deref() == Some(&wanted) || (name.is_none() && by_word())).then(|| file.clone())
    };
    let chosen: Vec<_> = found.iter().zip(&named).filter_map(of_split).collect();
    if chosen.is_empty() {
        let message = if known.is_empty() {
            format!("no file in it is named \"{wanted}\" (data.split)")
        } else {
            format!("has no part \"{wanted}\" (data.split); it has {list}")
        };
        return Err(Error::file(path, message));
    }
    Ok(chosen)
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let error = |source| Error::io(folder, source);
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || METADATA_FILES.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                search(&path, depth - 1, found)?;
            }
        } else if format_of(&path).is_some() {
            found.push(path);
        }
    }
    Ok(())
}

/// The words in the names of a file and of its folders below the root, the file's first.
fn words<'a>(root: &Path, file: &'a Path) -> impl Iterator<Item = String> + use<'a> {
    let below = file.strip_prefix(root).unwrap_or(file).to_path_buf();
    let parts: Vec<String> = below
        .components()
        .rev()
        .map(|part| part.as_os_str().to_string_lossy().to_ascii_lowercase())
        .collect();
    let words = |part: String| -> Vec<String> {
        part.split(|c: char| !c.is_alphanumeric())
            .map(str::to_string)
            .collect()
    };
    parts.into_iter().flat_map(words)
}

fn split_of(root: &Path, file: &Path) -> Option<String> {
    words(root, file).find_map(|word| canonical(&word).map(str::to_string))
}

fn canonical(word: &str) -> Option<&'static str> {
    let group = SPLITS.iter().find(|group| group.contains(&word))?;
    Some(group[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}\n").unwrap();
        }
        folder
    }

    fn found(names: &[&str], split: Option<&str>) -> std::result::Result<Vec<String>, String> {
        let folder = folder(names);
        let name = |path: PathBuf| {
            let path = path.strip_prefix(folder.path()).unwrap();
            path.to_str().unwrap().to_string()
        };
        let found = files(folder.path(), split).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(name).collect())
    }

    #[test]
    fn a_folder_gives_the_files_of_a_split() {
        let hub = [
            "README.md",
            ".gitattributes",
            "dataset_infos.json",
            "data/train-00001-of-00002.parquet",
            "data/train-00000-of-00002.parquet",
            "data/test-00000-of-00001.parquet",
            "data/val.parquet",
        ];
        let train = [
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
        ];
        assert_eq!(found(&hub, None).unwrap(), train);
        assert_eq!(found(&hub, Some("train")).unwrap(), train);
        assert_eq!(
            found(&hub, Some("validation")).unwrap(),
            ["data/val.parquet"]
        );
        let error = found(&hub, Some("tests")).unwrap_err();
        assert!(error.contains("no part \"tests\" (data.split); it has test, train, validation"));
        assert_eq!(
            found(&["b.jsonl", "a.csv"], None).unwrap(),
            ["a.csv", "b.jsonl"]
        );
        assert_eq!(found(&["en/test/0.jsonl.gz"], None).unwrap().len(), 1);
        let error = found(&["test.jsonl", "dev.jsonl"], None).unwrap_err();
        assert!(
            error.contains("the parts test, validation: choose one"),
            "{error}"
        );
        assert_eq!(
            found(&["harmless.jsonl", "helpful.jsonl"], Some("helpful")).unwrap(),
            ["helpful.jsonl"]
        );
        assert!(
            found(&["README.md"], None)
                .unwrap_err()
                .contains("holds no data file")
        );
    }

    #[test]
    fn a_split_may_name_a_folder() {
        let hub = [
            "harmless/train.jsonl.gz",
            "harmless/test.jsonl.gz",
            "helpful/train.jsonl.gz",
            "red/Attempts_made.jsonl",
        ];
        let of = |split| found(&hub, Some(split));
        assert_eq!(of("train").unwrap(), [hub[0], hub[2]]);
        assert_eq!(of("harmless").unwrap(), [hub[0]]);
        assert_eq!(of("harmless/test").unwrap(), [hub[1]]);
        assert_eq!(of("red").unwrap(), [hub[3]]);
        assert_eq!(of("Attempts").unwrap(), [hub[3]]);
        assert_eq!(of(hub[1]).unwrap(), [hub[1]]);
        for (split, expected) in [
            (
                "helpful/test",
                "has no part \"test\" (data.split); it has train",
            ),
            ("none", "has no part \"none\""),
            ("../harmless", "has no part \"../harmless\""),
        ] {
            let error = of(split).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_file_has_no_split() {
        let folder = folder(&["x.jsonl"]);
        let file = folder.path().join("x.jsonl");
        assert_eq!(files(&file, None).unwrap(), std::slice::from_ref(&file));
        let error = files(&file, Some("train")).unwrap_err().to_string();
        assert!(error.contains("is a file: data.split"), "{error}");
    }
}
