//! Merges one layer of settings into another.

use toml::{Table, Value};

/// Tables that hold one of several keys; the upper layer's table replaces the lower layer's.
const CHOICES: [&str; 1] = ["batch_size"];

/// The sources of a prior, which exclude each other: `[given, other]`. Giving one removes the other.
const SOURCES: [[&str; 2]; 2] = [["model", "data"], ["data", "model"]];

/// Merges `upper` into `lower`, table by table. A table with a different `kind` replaces the whole table.
pub(super) fn merge(lower: &mut Table, upper: &Table) {
    for [given, other] in SOURCES {
        if upper.get(given).is_some_and(Value::is_str) && !upper.contains_key(other) {
            lower.remove(other);
        }
    }
    for (key, value) in upper {
        match (lower.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new))
                if !CHOICES.contains(&key.as_str())
                    && new
                        .get("kind")
                        .is_none_or(|kind| old.get("kind") == Some(kind)) =>
            {
                merge(old, new);
            }
            _ => {
                lower.insert(key.clone(), value.clone());
            }
        }
    }
}
