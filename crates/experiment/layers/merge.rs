//! How one layer of settings is laid over another.

use toml::{Table, Value};

/// Tables of which one key is chosen: giving another replaces it.
const CHOICES: [&str; 1] = ["batch_size"];

/// Where a prior comes from: of these paths, giving one takes the other away.
const SOURCES: [[&str; 2]; 2] = [["model", "data"], ["data", "model"]];

/// Lays `upper` over `lower`, table by table. A table that names another `kind` replaces the whole.
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
