//! The map in crates/README.md against the tree, and the rules about who may know whom.

#[path = "architecture/imports.rs"]
mod imports;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates that turn outputs into a loss.
const METHODS: [&str; 4] = ["ppo", "dpo", "sft", "reinforce"];
/// The crate that may hold `unsafe` code, and the one that may depend on candle.
const UNSAFE: &str = "device";
const CANDLE: &str = "tensor";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn crates() -> PathBuf {
    root().join("crates")
}

/// What cargo says of the packages of the workspace.
struct Package {
    /// Normal and build dependencies of ours, by the names of their folders.
    ours: BTreeSet<String>,
    /// Everybody else's, those of tests too.
    others: BTreeSet<String>,
    /// The root file of the library, and of each program and example.
    targets: Vec<(String, PathBuf)>,
}

impl Package {
    /// The root files of what is shipped.
    fn roots(&self) -> impl Iterator<Item = &Path> {
        let shipped = self.targets.iter().filter(|(kind, _)| kind != "example");
        shipped.map(|(_, root)| root.as_path())
    }

    /// The code of every file that is shipped, without its tests.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        self.roots()
            .flat_map(|root| imports::modules(root).into_values())
            .collect()
    }
}

/// Every package by the name of its folder; the root package is `cli`.
fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| (short(package), read(package)))
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn short(package: &Value) -> String {
    match text(package, "name") {
        "rlhf" => "cli".to_string(),
        name => name.strip_prefix("rlhf-").unwrap().to_string(),
    }
}

fn read(package: &Value) -> Package {
    let (mut ours, mut others) = (BTreeSet::new(), BTreeSet::new());
    for dependency in package["dependencies"].as_array().unwrap() {
        match text(dependency, "name").strip_prefix("rlhf-") {
            None => _ = others.insert(text(dependency, "name").to_string()),
            Some(name) if dependency["kind"] != "dev" => _ = ours.insert(name.to_string()),
            Some(_) => {}
        }
    }
    let targets = package["targets"].as_array().unwrap().iter();
    let targets = targets
        .map(|target| {
            let kind = target["kind"][0].as_str().unwrap().to_string();
            (kind, PathBuf::from(text(target, "src_path")))
        })
        .filter(|(kind, _)| ["lib", "bin", "example"].contains(&kind.as_str()));
    Package {
        ours,
        others,
        targets: targets.collect(),
    }
}

/// Everything of ours that a crate reaches, directly or through others.
fn reached(start: &str, packages: &BTreeMap<String, Package>) -> BTreeSet<String> {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![start.to_string()]);
    while let Some(next) = waiting.pop() {
        for used in &packages[&next].ours {
            if seen.insert(used.clone()) {
                waiting.push(used.clone());
            }
        }
    }
    seen
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
    let packages = packages();
    let real: BTreeMap<String, BTreeSet<String>> = packages
        .iter()
        .map(|(name, package)| (name.clone(), package.ours.clone()))
        .collect();
    assert_eq!(map(), real);
}

#[test]
fn methods_reach_no_prior_and_no_reward() {
    let packages = packages();
    let never = |crates: &[&str], unknown: &[&str]| {
        for name in crates {
            let reached = reached(name, &packages);
            let found = unknown.iter().find(|unknown| reached.contains(**unknown));
            assert_eq!(found, None, "{name} reaches it: it reaches {reached:?}");
        }
    };
    never(&METHODS, &["prior", "reward", "lm", "data"]);
    never(&["train"], &METHODS);
    never(&["train"], &["prior", "reward", "lm", "data"]);
    never(
        &["prior", "policy"],
        &["prior", "reward", "lm", "data", "train", "policy"],
    );
    for independent in ["oracle", "journal", "hub", "device"] {
        let reached = reached(independent, &packages);
        let files = reached.iter().all(|name| name == "files");
        assert!(files, "{independent} reaches {reached:?}");
    }
}

/// The compiler refuses `unsafe` where the root of a library or program forbids it, whatever a file in it
/// allows; and every crate takes the workspace's lints.
#[test]
fn unsafe_code_is_forbidden_outside_the_engine() {
    for (name, package) in packages() {
        for (kind, path) in package.targets {
            let text = fs::read_to_string(&path).unwrap();
            let forbids = text.lines().any(|line| line == "#![forbid(unsafe_code)]");
            let may = name == UNSAFE && kind == "lib";
            assert_eq!(forbids, !may, "{}: #![forbid(unsafe_code)]", path.display());
        }
        let manifest = match name.as_str() {
            "cli" => root().join("Cargo.toml"),
            name => crates().join(name).join("Cargo.toml"),
        };
        let manifest: toml::Table = fs::read_to_string(&manifest).unwrap().parse().unwrap();
        assert_eq!(manifest["lints"]["workspace"], true.into(), "{name}");
    }
}

#[test]
fn candle_is_handed_on_by_name() {
    for (name, package) in packages() {
        for other in package.others {
            let owner = match other.as_str() {
                // The library of products.
                "gemm" => UNSAFE,
                other if other.starts_with("candle") => CANDLE,
                _ => continue,
            };
            assert_eq!(name, owner, "{name} depends on {other}");
        }
    }
    // What it hands on, by name.
    let code = imports::code(&crates().join("tensor/lib.rs"));
    let (trees, _) = imports::imports(&code);
    let paths = trees.iter().flat_map(|tree| imports::expand(tree));
    let handed: Vec<String> = paths
        .map(|(path, _)| path.join("::"))
        .filter(|path| path.starts_with("candle"))
        .collect();
    let expected = [
        "candle_core::D",
        "candle_core::DType",
        "candle_core::Device",
        "candle_core::Error",
        "candle_core::Tensor",
        "candle_core::Var",
        "candle_nn::ops",
    ];
    assert_eq!(handed, expected);
}

/// The engine and what it lends are generic over the device: one file of `lm` picks it, besides tests.
#[test]
fn devices_are_named_in_one_place() {
    let packages = packages();
    let files = ["lm", "objective"].map(|name| packages[name].files());
    let naming = files.iter().flatten().filter(|(_, code)| {
        let word = |line: &str| {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            // candle has a `Device::Cpu` of its own.
            words.any(|word| word == "cpu" || word == "Cpu") && !line.contains("Device::Cpu")
        };
        code.lines().any(word)
    });
    let naming: Vec<_> = naming
        .map(|(file, _)| file.strip_prefix(crates()).unwrap().display().to_string())
        .collect();
    assert_eq!(naming, ["lm/model.rs"]);
}

/// Whoever reads arguments or signals is the command line. (That nobody else reads the environment or
/// ends the process is a lint, in clippy.toml.)
#[test]
fn arguments_and_signals_belong_to_the_command_line() {
    for (name, package) in packages() {
        for other in ["clap", "signal-hook"] {
            let depends = package.others.contains(other);
            let program = ["cli", "acceptance"].contains(&name.as_str());
            assert!(!depends || program, "{name} depends on {other}");
        }
    }
}

/// A method is named where it declares itself; elsewhere, nobody decides by a name.
#[test]
fn nobody_matches_on_the_names_of_methods_and_priors() {
    let names = [
        "ppo",
        "ppo-kl",
        "maxent",
        "imitation",
        "rloo",
        "reinforce",
        "grpo",
        "vargrad",
        "dpo",
        "kto",
        "counting",
        "uniform",
        "reference",
        "demonstrations",
        "mixture",
    ];
    let deciding = |line: &str| line.contains("=>") || line.contains("==") || line.contains("!=");
    let mut found = Vec::new();
    let files = packages()["experiment"].files();
    for (file, code) in files
        .iter()
        .filter(|(file, _)| !file.ends_with("recipe.rs"))
    {
        for line in code.lines().filter(|line| deciding(line)) {
            if names
                .iter()
                .any(|name| line.contains(&format!("\"{name}\"")))
            {
                found.push(format!("{}: {}", file.display(), line.trim()));
            }
        }
    }
    // What the small world has beside its model is demonstrations; and so are items called.
    let spoken = ["small_world.rs", "LearnsFrom::Demonstrations => "];
    found.retain(|line| !spoken.iter().any(|spoken| line.contains(spoken)));
    assert!(found.is_empty(), "{found:#?}");
}

/// Lines of a crate without its tests, at most.
const LINES: usize = 8000;

#[test]
fn no_files_use_each_other_in_a_circle() {
    let circles = packages().into_iter().map(|(name, package)| {
        let found: BTreeSet<_> = package.roots().flat_map(imports::circles).collect();
        (name, found)
    });
    let found: BTreeMap<_, _> = circles.filter(|(_, found)| !found.is_empty()).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_crate_is_too_long_to_know() {
    let lines = packages().into_iter().map(|(name, package)| {
        let files = package.files();
        let lines: usize = files.values().map(|code| code.lines().count()).sum();
        (name, lines)
    });
    let found: BTreeMap<_, _> = lines.filter(|(_, lines)| *lines > LINES).collect();
    assert!(found.is_empty(), "{found:?}");
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
