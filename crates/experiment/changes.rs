//! What changed since a run was started: said, refused or accepted.

use crate::notes::note;
use crate::progress::Phase;
use anyhow::{Result, bail};
use rlhf_journal::{Input, InputChange, InputFile, input_changes};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Settings whose values are paths, by the last part of their keys: where a file is may change, what is
/// in it may not.
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

/// What to do with a run whose files changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Leave it as it is, and fail.
    Refuse,
    /// Note them in `run.json`, and go on.
    Accept,
}

/// The changes, with a bar where files must be read for them.
pub(crate) fn compare(recorded: &[InputFile], present: &mut [Input]) -> Result<Vec<InputChange>> {
    let total = present.iter().map(|input| input.file.stamp.size).sum();
    let mut phase = Phase::new("checking files", "bytes", total, 0);
    let changes = input_changes(recorded, present, &mut |bytes| phase.advance(bytes))?;
    drop(phase);
    Ok(changes)
}

/// What `run.json` is told of changes that are accepted.
pub(crate) fn accept(
    found: &[InputChange],
    changes: Changes,
    folder: &Path,
    step: usize,
) -> Result<Vec<Value>> {
    for change in found {
        note(format_args!("changed: {}", told(change)));
    }
    if let (Changes::Refuse, Some(first)) = (changes, found.first().and_then(InputChange::file)) {
        let others = match found.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        bail!(
            "{} ({}){others}: not what the run in {} was started with. Put it back, or go on with \
             --accept-changes, which notes the change in run.json",
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

/// A change in words.
pub(crate) fn told(change: &InputChange) -> String {
    let side = |file: &Option<InputFile>, none: &str, when: &str| match file {
        None => none.to_string(),
        Some(file) => {
            let sum = file.sha256.as_deref().unwrap_or("not known");
            format!("sha256 {sum}, {} bytes {when}", file.stamp.size)
        }
    };
    let file = change.file();
    format!(
        "{} ({}): {}; {}",
        file.map_or("", |file| &file.path),
        file.map_or("", |file| &file.setting),
        side(&change.recorded, "not there before", "before"),
        side(&change.present, "not there now", "now")
    )
}

/// Settings that were changed by hand, which is no mistake, but is said and noted.
pub(crate) fn settings_changes(
    before: &Value,
    now: &Value,
    folder: &Path,
    step: usize,
) -> Vec<Value> {
    let (mut old, mut new) = (Map::new(), Map::new());
    leaves("", before, &mut old);
    leaves("", now, &mut new);
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

/// Every value that is no table, by its key.
fn leaves(prefix: &str, value: &Value, into: &mut Map<String, Value>) {
    let key = |name: &str| match prefix {
        "" => name.to_string(),
        _ => format!("{prefix}.{name}"),
    };
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                leaves(&key(name), value, into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, value) in items.iter().enumerate() {
                leaves(&key(&index.to_string()), value, into);
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
    fn settings_are_compared_by_value_and_paths_are_not() {
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
