//! Compares the files and settings of a resumed run with those it was started with, and refuses or records
//! the changes.

use crate::notes::note;
use crate::progress::Phase;
use anyhow::{Result, bail};
use rlhf_journal::{Input, InputChange, InputFile, input_changes};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Settings whose values are paths, by the last part of their keys. A file may move; its contents may not
/// change.
const PATHS: [&str; 11] = [
    "path",
    "train",
    "held_out",
    "chat_template",
    "model",
    "data",
    "file",
    "folder",
    "folders",
    "policy",
    "prior",
];

/// What to do when the files of a resumed run changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Fail and write nothing.
    Refuse,
    /// Record the changes in `run.json` and continue.
    Accept,
}

/// The inputs that differ from the recorded ones, with a progress bar while checksums are computed.
pub(crate) fn compare(recorded: &[InputFile], present: &mut [Input]) -> Result<Vec<InputChange>> {
    let total = present.iter().map(|input| input.file.stamp.size).sum();
    let mut phase = Phase::new("checking files", "bytes", total, 0);
    let changes = input_changes(recorded, present, &mut |bytes| phase.advance(bytes))?;
    drop(phase);
    Ok(changes)
}

/// Notes each change. Refuses them, or returns their entries for `run.json`.
pub(crate) fn accept(
    found: &[InputChange],
    changes: Changes,
    folder: &Path,
    step: usize,
) -> Result<Vec<Value>> {
    for change in found {
        note(format_args!("changed: {}", describe(change)));
    }
    if let (Changes::Refuse, Some(first)) = (changes, found.first().and_then(InputChange::file)) {
        let others = match found.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        bail!(
            "{} ({}){others}: changed since the run in {} was started. Restore it, or continue with \
             --accept-changes, which records the change in run.json",
            first.path,
            first.setting,
            folder.display()
        );
    }
    let of = |file: &Option<InputFile>| match file {
        None => Value::Null,
        Some(file) => json!({"size": file.stamp.size, "sha256": file.sha256}),
    };
    let entry = |change: &InputChange| {
        let file = change.file();
        json!({
            "step": step,
            "setting": file.map(|file| &file.setting),
            "path": file.map(|file| &file.path),
            "from": of(&change.recorded),
            "to": of(&change.present),
        })
    };
    Ok(found.iter().map(entry).collect())
}

/// A change in words: the file, its setting, and its size and checksum before and now.
pub(crate) fn describe(change: &InputChange) -> String {
    let side = |file: &Option<InputFile>, none: &str, when: &str| match file {
        None => none.to_string(),
        Some(file) => {
            let sum = file.sha256.as_deref().unwrap_or("unknown");
            format!("sha256 {sum}, {} bytes {when}", file.stamp.size)
        }
    };
    let file = change.file();
    format!(
        "{} ({}): {}; {}",
        file.map_or("", |file| &file.path),
        file.map_or("", |file| &file.setting),
        side(&change.recorded, "absent before", "before"),
        side(&change.present, "absent now", "now")
    )
}

/// Notes settings that were edited in `config.toml` since the run was started, and returns their entries
/// for `run.json`. Editing them is allowed.
pub(crate) fn settings_changes(
    before: &Value,
    now: &Value,
    folder: &Path,
    step: usize,
) -> Vec<Value> {
    let (mut old, mut new) = (Map::new(), Map::new());
    flatten("", before, &mut old);
    flatten("", now, &mut new);
    let mut keys: Vec<&String> = old.keys().collect();
    keys.extend(new.keys().filter(|key| !old.contains_key(*key)));
    let mut changes = Vec::new();
    for key in keys {
        let (from, to) = (old.get(key), new.get(key));
        let last = key.rsplit('.').next().unwrap_or(key);
        if from == to || PATHS.contains(&last) {
            continue;
        }
        let shown = |value: Option<&Value>| value.map_or("not set".into(), Value::to_string);
        note(format_args!(
            "{}: {key} is {}; the run was started with {}",
            folder.join("config.toml").display(),
            shown(to),
            shown(from)
        ));
        changes.push(json!({"step": step, "setting": key, "from": from, "to": to}));
    }
    changes
}

/// Collects every value that is not a table, by its dotted key.
fn flatten(prefix: &str, value: &Value, into: &mut Map<String, Value>) {
    let key = |name: &str| match prefix {
        "" => name.to_string(),
        _ => format!("{prefix}.{name}"),
    };
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                flatten(&key(name), value, into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&key(&index.to_string()), value, into);
            }
        }
        value => {
            into.insert(prefix.into(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_and_paths_are_ignored() {
        let rule = |folder: &str, weight: f64| json!({"weight": weight, "rule": {"kind": "model", "folder": folder}});
        let before = json!({
            "beta": 0.1,
            "model": {"path": "a"},
            "reward": {"kind": "sum", "rules": [rule("a", 1.0), rule("b", 2.0)]},
        });
        let now = json!({
            "beta": 0.1,
            "model": {"path": "b"},
            "reward": {"kind": "sum", "rules": [rule("c", 1.0), rule("b", 3.0)]},
            "train": {"threads": 2},
        });
        let expected = [
            json!({"step": 4, "setting": "reward.rules.1.weight", "from": 2.0, "to": 3.0}),
            json!({"step": 4, "setting": "train.threads", "from": null, "to": 2}),
        ];
        assert_eq!(
            settings_changes(&before, &now, Path::new("run"), 4),
            expected
        );
    }
}
