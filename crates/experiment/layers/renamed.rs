//! Reads settings under the names that they had in earlier versions.

use toml::{Table, Value};

/// A setting that was renamed.
struct Renamed {
    old: &'static str,
    new: &'static str,
    /// The objectives that had the setting; empty for all.
    objectives: &'static [&'static str],
}

const RENAMED: [Renamed; 6] = [
    Renamed::always("train.tokens_per_batch", "train.micro_batch_tokens"),
    Renamed::always("train.recompute", "train.activation_checkpointing"),
    Renamed::always("train.batch_pairs", "train.batch_size"),
    Renamed::always("prior.fit.per_step", "prior.fit.batch_size"),
    Renamed {
        old: "method.per_step",
        new: "train.batch_size",
        objectives: &["sft"],
    },
    Renamed {
        old: "method.answers_per_step",
        new: "train.batch_size",
        objectives: &["kto"],
    },
];

impl Renamed {
    const fn always(old: &'static str, new: &'static str) -> Self {
        Self {
            old,
            new,
            objectives: &[],
        }
    }

    fn applies_to(&self, objective: &str) -> bool {
        self.objectives.is_empty() || self.objectives.contains(&objective)
    }
}

/// A key that was given under its old name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OldName {
    pub(super) old: &'static str,
    pub(super) new: &'static str,
}

/// The old names of a key, or of the setting that contains it, to find where it was given.
pub(super) fn old_names(key: &str, objective: &str) -> impl Iterator<Item = &'static str> {
    let known = RENAMED.iter().filter(|one| one.applies_to(objective));
    let inside = |key: &str, new: &str| key.starts_with(&format!("{new}."));
    known
        .filter(move |one| one.new == key || inside(key, one.new))
        .map(|one| one.old)
}

/// Moves the settings of a layer to their new names, and returns those that had old ones.
///
/// # Errors
/// If a setting is given under both names.
pub(super) fn rename(layer: &mut Table, objective: &str) -> Result<Vec<OldName>, OldName> {
    let mut found = Vec::new();
    for Renamed { old, new, .. } in RENAMED.iter().filter(|one| one.applies_to(objective)) {
        let Some(value) = take(layer, old) else {
            continue;
        };
        if get(layer, new).is_some() {
            return Err(OldName { old, new });
        }
        put(layer, new, new_value(value));
        found.push(OldName { old, new });
    }
    Ok(found)
}

/// Rewrites `{ sequences = 16 }` to `16`. Other values stay.
fn new_value(value: Value) -> Value {
    match &value {
        Value::Table(table) if table.len() == 1 => match table.get("sequences") {
            Some(count) => count.clone(),
            None => value,
        },
        _ => value,
    }
}

fn get<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((section, rest)) => get(table.get(section)?.as_table()?, rest),
    }
}

/// Removes a value, and its section if that becomes empty.
fn take(table: &mut Table, path: &str) -> Option<Value> {
    let Some((section, rest)) = path.split_once('.') else {
        return table.remove(path);
    };
    let inner = table.get_mut(section)?.as_table_mut()?;
    let value = take(inner, rest)?;
    if inner.is_empty() {
        table.remove(section);
    }
    Some(value)
}

fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.into(), value);
        }
        Some((section, rest)) => {
            let new = || Value::Table(Table::new());
            let inner = table.entry(section).or_insert_with(new);
            // If the section is not a table, deserialization reports the error.
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
