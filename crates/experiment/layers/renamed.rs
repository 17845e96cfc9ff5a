//! Settings that had another name in an earlier version: they are still read, with a warning.

use toml::{Table, Value};

/// A setting that was renamed.
struct Renamed {
    old: &'static str,
    new: &'static str,
    /// The objectives whose setting it was; empty for all.
    of: &'static [&'static str],
}

const RENAMED: [Renamed; 6] = [
    Renamed::of_all("train.tokens_per_batch", "train.micro_batch_tokens"),
    Renamed::of_all("train.recompute", "train.activation_checkpointing"),
    Renamed::of_all("train.batch_pairs", "train.batch_size"),
    Renamed::of_all("prior.fit.per_step", "prior.fit.batch_size"),
    Renamed {
        old: "method.per_step",
        new: "train.batch_size",
        of: &["sft"],
    },
    Renamed {
        old: "method.answers_per_step",
        new: "train.batch_size",
        of: &["kto"],
    },
];

impl Renamed {
    const fn of_all(old: &'static str, new: &'static str) -> Self {
        Self { old, new, of: &[] }
    }

    fn concerns(&self, objective: &str) -> bool {
        self.of.is_empty() || self.of.contains(&objective)
    }
}

/// A key that was given by its old name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OldName {
    pub(super) old: &'static str,
    pub(super) new: &'static str,
}

/// The old names of a key of an objective, or of the setting that the key is inside, for errors that say
/// where a key was given.
pub(super) fn old_names(key: &str, objective: &str) -> impl Iterator<Item = &'static str> {
    let known = RENAMED.iter().filter(|one| one.concerns(objective));
    let inside = |key: &str, new: &str| key.starts_with(&format!("{new}."));
    known
        .filter(move |one| one.new == key || inside(key, one.new))
        .map(|one| one.old)
}

/// Gives the settings of a layer their names of today, and says which had others.
///
/// # Errors
/// If a setting is given by both names.
pub(super) fn rename(layer: &mut Table, objective: &str) -> Result<Vec<OldName>, OldName> {
    let mut found = Vec::new();
    for Renamed { old, new, .. } in RENAMED.iter().filter(|one| one.concerns(objective)) {
        let Some(value) = take(layer, old) else {
            continue;
        };
        if get(layer, new).is_some() {
            return Err(OldName { old, new });
        }
        put(layer, new, of_today(value));
        found.push(OldName { old, new });
    }
    Ok(found)
}

/// `{ sequences = 16 }` is written `16` now. Values of the other renamed settings stay.
fn of_today(value: Value) -> Value {
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

/// Takes a value out, and the section that it leaves empty.
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
            // A section that is no table is an error that the typed settings explain.
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
