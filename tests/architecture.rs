//! The map in crates/README.md against the tree, and the rules about who may know whom.

use std::collections::{BTreeMap, BTreeSet};
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

#[test]
fn methods_know_no_prior_and_no_reward() {
    let all = members();
    for method in METHODS {
        let (ours, _) = &all[method];
        for unknown in ["prior", "reward", "lm", "data"] {
            assert!(!ours.contains(unknown), "{method} depends on {unknown}");
        }
    }
    for independent in ["oracle", "journal", "hub"] {
        let (ours, _) = &all[independent];
        assert!(
            ours.iter().all(|name| name == "files"),
            "{independent} depends on {ours:?}"
        );
    }
    let loops: Vec<_> = all["train"].0.iter().map(String::as_str).collect();
    assert!(
        !["ppo", "reinforce", "dpo", "sft", "prior", "reward"]
            .iter()
            .any(|name| loops.contains(name))
    );
}

#[test]
fn candle_and_unsafe_code_live_in_tensor_alone() {
    for (name, (_, others)) in members() {
        if name != "tensor" {
            let candle = others
                .iter()
                .find(|other| other.starts_with("candle") || *other == "gemm");
            assert_eq!(candle, None, "{name} depends on candle");
        }
    }
    let mut files = Vec::new();
    rust_files(&crates(), &mut files);
    for file in files
        .iter()
        .filter(|file| !file.starts_with(crates().join("tensor")))
    {
        let text = fs::read_to_string(file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let found = code.enumerate().find(|(_, line)| line.contains("unsafe "));
        assert!(found.is_none(), "{}: {found:?}", file.display());
    }
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
        "crates/tensor/LOG.md",
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
