//! The map in crates/README.md against the tree, and the rules about who may know whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates that turn outputs into a loss.
const METHODS: [&str; 4] = ["ppo", "dpo", "sft", "reinforce"];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates")
}

fn manifest(path: &Path) -> toml::Table {
    fs::read_to_string(path).unwrap().parse().unwrap()
}

/// The crates of ours that a manifest depends on, and everybody else's.
fn dependencies(path: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let manifest = manifest(path);
    let names = manifest["dependencies"].as_table().unwrap().keys().cloned();
    let (ours, others): (BTreeSet<_>, BTreeSet<_>) =
        names.partition(|name| name.starts_with("rlhf-"));
    (
        ours.iter()
            .map(|name| name["rlhf-".len()..].to_string())
            .collect(),
        others,
    )
}

/// Every crate folder with a manifest.
fn members() -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let folders = fs::read_dir(crates())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    folders
        .filter(|folder| folder.join("Cargo.toml").exists())
        .map(|folder| {
            let name = folder.file_name().unwrap().to_str().unwrap().to_string();
            (name, dependencies(&folder.join("Cargo.toml")))
        })
        .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Rows "| `crate` | edges | … |" of the map's table, edges in backquotes.
fn map() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(crates().join("README.md")).unwrap();
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_string)
            .collect()
    };
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            (
                quoted(cells[1]).remove(0),
                quoted(cells[2]).into_iter().collect(),
            )
        })
        .collect()
}

#[test]
fn the_map_names_every_crate_and_every_edge() {
    let mut real: BTreeMap<String, BTreeSet<String>> = members()
        .into_iter()
        .map(|(name, (ours, _))| (name, ours))
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    real.insert("cli".into(), dependencies(&root).0);
    assert_eq!(map(), real);
}

/// A shortest path of dependencies from one crate to another, both included; none if it does not reach it.
fn path(
    all: &BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>,
    from: &str,
    to: &str,
) -> Option<Vec<String>> {
    let mut paths = VecDeque::from([vec![from.to_string()]]);
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        let last = &path[path.len() - 1];
        if last == to {
            return Some(path);
        }
        if seen.insert(last.clone()) {
            let (ours, _) = &all[last];
            paths.extend(
                ours.iter()
                    .map(|next| [&path[..], &[next.clone()]].concat()),
            );
        }
    }
    None
}

/// Neither a method nor what it is run by depends on a language model, a prior, a reward or files of data:
/// not directly, and not through others.
#[test]
fn methods_reach_no_prior_no_reward_and_no_language_model() {
    let all = members();
    for blind in METHODS.into_iter().chain(["train", "policy"]) {
        for unknown in ["prior", "reward", "lm", "data"] {
            let path = path(&all, blind, unknown).map(|path| path.join(" → "));
            assert_eq!(path, None, "{blind} reaches {unknown}");
        }
    }
    // What is found where there is a path.
    let found = path(&all, "data", "tensor").map(|path| path.len());
    assert_eq!(found, Some(3));
    for independent in ["oracle", "journal", "hub"] {
        assert!(
            all[independent].0.is_empty(),
            "{independent} depends on {:?}",
            all[independent].0
        );
    }
    for method in METHODS {
        assert_eq!(path(&all, "train", method), None, "train knows {method}");
    }
}

/// The lines of a file that are code, before its tests.
fn code(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(str::to_string)
        .collect()
}

#[test]
fn unsafe_code_lives_in_device_alone() {
    let mut files = Vec::new();
    rust_files(&crates(), &mut files);
    for file in files
        .iter()
        .filter(|file| !file.starts_with(crates().join("device")))
    {
        let text = fs::read_to_string(file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let found = code.enumerate().find(|(_, line)| line.contains("unsafe "));
        assert!(found.is_none(), "{}: {found:?}", file.display());
    }
}

/// candle is known to `tensor` alone, the library of products to `device` alone, and what `tensor` exports
/// of candle is listed.
#[test]
fn candle_is_exported_by_name() {
    for (name, (_, others)) in members() {
        for other in others {
            let owner = match other.as_str() {
                "gemm" => "device",
                other if other.starts_with("candle") => "tensor",
                _ => continue,
            };
            assert_eq!(name, owner, "{name} depends on {other}");
        }
    }
    let exports = code(&crates().join("tensor/lib.rs")).join(" ");
    let exports: Vec<&str> = exports
        .split("pub use candle")
        .skip(1)
        .filter_map(|rest| rest.split(';').next())
        .collect();
    assert!(!exports.is_empty());
    for export in exports {
        let whole = !export.contains("::") || export.contains("self") || export.contains('*');
        assert!(!whole, "tensor exports all of candle{export}");
    }
}

/// The engine and what it lends are generic over the device: one file of `lm` picks it, besides tests.
#[test]
fn devices_are_named_in_one_place() {
    let mut files = Vec::new();
    for folder in ["lm", "objective"] {
        rust_files(&crates().join(folder), &mut files);
    }
    let naming = files.iter().filter(|file| {
        let name = file.to_str().unwrap_or_default();
        let test = name.contains("/tests") || name.ends_with("_tests.rs");
        let word = |line: &String| {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            // candle has a `Device::Cpu` of its own.
            words.any(|word| word == "cpu" || word == "Cpu") && !line.contains("Device::Cpu")
        };
        !test && code(file).iter().any(word)
    });
    let naming: Vec<_> = naming
        .map(|file| file.strip_prefix(crates()).unwrap().display().to_string())
        .collect();
    assert_eq!(naming, ["lm/model.rs"]);
}

/// The kind of prior is matched in one file, and only the command line turns text into objects.
#[test]
fn the_kind_of_prior_is_matched_once() {
    let mut files = Vec::new();
    rust_files(&crates(), &mut files);
    let matching = files.iter().filter(|file| {
        let text = fs::read_to_string(file).unwrap();
        text.lines()
            .any(|line| line.contains("PriorKind::") && line.contains("=>"))
    });
    let names: Vec<_> = matching
        .map(|file| file.strip_prefix(crates()).unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["cli/wiring.rs"]);
}

/// Every page that is written by hand, and where its links lead.
#[test]
fn links_lead_somewhere() {
    let root = crates().parent().unwrap().to_path_buf();
    let mut count = 0;
    for page in [
        "README.md",
        "CHANGELOG.md",
        "crates/README.md",
        "crates/device/LOG.md",
    ] {
        let path = root.join(page);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let found = path.parent().unwrap().join(target);
            assert!(found.exists(), "{page} links to {target}");
            count += 1;
        }
    }
    assert!(count > 20, "{count} links");
}
