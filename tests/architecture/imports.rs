//! Finds which files of a crate use which others, from imports and paths. Test code is left out.
//!
//! An import leads to the file that defines the item: re-exports are followed. A file uses the modules it
//! declares. What a module takes from a file that contains it (its parent, its parent's parent) does not
//! count, because a file and its own modules are one idea in several files; everything else does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One file, as a module.
#[derive(Debug, Default)]
struct Module {
    /// Every path that its code names, from the crate's root.
    paths: Vec<Vec<String>>,
    /// The names under which its imports bind these paths, to follow re-exports.
    names: BTreeMap<String, Vec<String>>,
}

/// The code of a file without comments and without `#[cfg(test)]` items.
pub(crate) fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if let Some(indent) = line.find("#[cfg(").filter(|_| is_for_tests(line)) {
            // Attributes, then an item of one line, or an item that ends with a brace at its indentation.
            let close = format!("{}}}", " ".repeat(indent));
            let first = lines
                .by_ref()
                .find(|line| !line.trim_start().starts_with("#["));
            if !first.is_some_and(|line| line.ends_with([';', ',', '}'])) {
                lines.by_ref().find(|line| line.starts_with(&close));
            }
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

fn is_for_tests(line: &str) -> bool {
    line.contains("cfg(test)") || line.contains("cfg(all(test")
}

/// The files of the crate whose root is this file, by module path, with their code; without modules that
/// are compiled for tests alone.
pub(crate) fn modules(root: &Path) -> BTreeMap<Vec<String>, (PathBuf, String)> {
    let mut found = BTreeMap::new();
    add(root, root.parent().unwrap(), Vec::new(), &mut found);
    found
}

fn add(
    file: &Path,
    folder: &Path,
    name: Vec<String>,
    found: &mut BTreeMap<Vec<String>, (PathBuf, String)>,
) {
    let code = code(file);
    for child in declared(&code) {
        let beside = folder.join(format!("{child}.rs"));
        let below = folder.join(&child);
        let file = if beside.exists() {
            beside
        } else {
            below.join("mod.rs")
        };
        let name = [&name[..], &[child]].concat();
        add(&file, &below, name, found);
    }
    found.insert(name, (file.to_path_buf(), code));
}

/// The modules that a file declares without a body.
fn declared(code: &str) -> Vec<String> {
    let lines = code.lines().filter_map(|line| {
        let line = line.strip_suffix(';')?;
        let (before, name) = line.split_once("mod ")?;
        (before.is_empty() || before.starts_with("pub")).then(|| name.to_string())
    });
    lines.collect()
}

/// Every path that a tree of imports names, `a::{b, c::d as e}` as `a::b` and `a::c::d`, with its name.
pub(crate) fn expand(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    if let Some((before, inner)) = tree.split_once('{') {
        let prefix = segments(before);
        let inner = inner.strip_suffix('}').expect("braces match");
        let mut depth = 0;
        let parts = inner.split(|letter| {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            letter == ',' && depth == 0
        });
        return parts
            .filter(|part| !part.trim().is_empty())
            .flat_map(expand)
            .map(|(path, name)| {
                let path = [&prefix[..], &path].concat();
                match path.split_last() {
                    Some((last, path)) if last == "self" => {
                        (path.to_vec(), prefix.last().unwrap().clone())
                    }
                    _ => (path, name),
                }
            })
            .collect();
    }
    let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
    let path = segments(path);
    let name = if name.is_empty() {
        path.last().unwrap()
    } else {
        name
    };
    vec![(path.clone(), name.to_string())]
}

fn segments(path: &str) -> Vec<String> {
    let parts = path.split("::").map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_string)
        .collect()
}

/// The imports of a file, each one's text between `use` and `;`, and the code without them.
pub(crate) fn imports(code: &str) -> (Vec<String>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let start = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "]
            .iter()
            .find_map(|start| line.trim_start().strip_prefix(start));
        let Some(start) = start else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut text = start.to_string();
        while !text.ends_with(';') {
            text.push(' ');
            text.push_str(lines.next().unwrap().trim());
        }
        found.push(text.trim_end_matches(';').to_string());
    }
    (found, rest)
}

/// A path as seen from a module, from the crate's root; nothing where it leads out of the crate.
fn absolute(path: &[String], here: &[String], children: &[String]) -> Option<Vec<String>> {
    let mut base = here.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            base.truncate(here.len().checked_sub(up)?);
            rest = &path[up - 1..];
        }
        child if children.iter().any(|name| name == child) => return Some([here, path].concat()),
        _ => return None,
    }
    Some([&base[..], &rest[1..]].concat())
}

/// The paths `crate::a::b` and `super::a` in code other than imports.
fn paths_in(code: &str) -> Vec<Vec<String>> {
    let starts = ["crate::", "super::", "self::"]
        .iter()
        .flat_map(|start| code.match_indices(start).map(|(at, _)| at));
    let whole = starts.filter(|at| !code[..*at].ends_with([':', '_', '$']));
    let path = |at: usize| {
        let end = code[at..]
            .find(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
        segments(&code[at..end.map_or(code.len(), |end| at + end)])
    };
    whole.map(path).collect()
}

fn read(here: &[String], code: &str) -> Module {
    let children = declared(code);
    let (trees, rest) = imports(code);
    let mut module = Module::default();
    for (path, name) in trees.iter().flat_map(|tree| expand(tree)) {
        if let Some(path) = absolute(&path, here, &children) {
            module.names.insert(name, path.clone());
            module.paths.push(path);
        }
    }
    let used = paths_in(&rest);
    module.paths.extend(
        used.iter()
            .filter_map(|path| absolute(path, here, &children)),
    );
    for child in children {
        module.paths.push([here, &[child]].concat());
    }
    module
}

/// The module whose file defines what a path names.
fn definition(
    path: &[String],
    modules: &BTreeMap<Vec<String>, Module>,
    depth: usize,
) -> Vec<String> {
    assert!(depth < 20, "{path:?} leads nowhere");
    let mut at = 0;
    while at < path.len() && modules.contains_key(&path[..=at]) {
        at += 1;
    }
    let (module, rest) = path.split_at(at);
    match rest
        .first()
        .and_then(|name| modules[module].names.get(name))
    {
        Some(source) if source != path => {
            definition(&[source, &rest[1..]].concat(), modules, depth + 1)
        }
        _ => module.to_vec(),
    }
}

/// Files that use each other, directly or through others: each circle once, its files with those of them
/// that each uses.
pub(crate) fn circles(root: &Path) -> BTreeSet<BTreeMap<PathBuf, Vec<PathBuf>>> {
    let files = modules(root);
    let modules: BTreeMap<Vec<String>, Module> = files
        .iter()
        .map(|(name, (_, code))| (name.clone(), read(name, code)))
        .collect();
    let uses: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = modules
        .iter()
        .map(|(name, module)| {
            let targets = module
                .paths
                .iter()
                .map(|path| definition(path, &modules, 0));
            (
                name,
                targets.filter(|target| !name.starts_with(target)).collect(),
            )
        })
        .collect();
    let reached: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> = uses
        .keys()
        .map(|start| {
            let (mut seen, mut waiting) = (BTreeSet::new(), vec![*start]);
            while let Some(next) = waiting.pop() {
                waiting.extend(uses[next].iter().filter(|used| seen.insert(*used)));
            }
            (*start, seen)
        })
        .collect();
    let mut circles = BTreeSet::new();
    for (name, seen) in &reached {
        let circle: BTreeSet<&Vec<String>> = seen
            .iter()
            .copied()
            .filter(|other| reached[*other].contains(name))
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    let file = |name: &Vec<String>| files[name].0.clone();
    let describe = |circle: BTreeSet<&Vec<String>>| {
        let used = |name| uses[name].iter().filter(|used| circle.contains(used));
        circle
            .iter()
            .map(|name| (file(name), used(name).map(file).collect()))
            .collect()
    };
    circles.into_iter().map(describe).collect()
}
