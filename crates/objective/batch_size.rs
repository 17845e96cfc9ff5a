//! The size of a batch: how many items or tokens an optimizer step uses.

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The size of a batch: a number of items (`16`) or of tokens (`{ tokens = 4096 }`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// This many items of the method's data set: pairs, responses or documents.
    Items(usize),
    /// As many items as fit in this many tokens, prompts included, and at least one item.
    Tokens(usize),
}

impl Default for BatchSize {
    /// 16 items.
    fn default() -> Self {
        Self::Items(16)
    }
}

impl BatchSize {
    /// The number of items or of tokens.
    #[must_use]
    pub fn limit(self) -> usize {
        let (Self::Items(limit) | Self::Tokens(limit)) = self;
        limit
    }
}

impl Serialize for BatchSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Items(count) => count.serialize(serializer),
            Self::Tokens(most) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("tokens", most)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for BatchSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BatchSizeVisitor)
    }
}

/// Accepts an integer or a map with `tokens`.
struct BatchSizeVisitor;

impl<'de> Visitor<'de> for BatchSizeVisitor {
    type Value = BatchSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of items, or { tokens = a number of tokens }")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<BatchSize, E> {
        let count = usize::try_from(count).map_err(E::custom)?;
        Ok(BatchSize::Items(count))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<BatchSize, E> {
        let count = u64::try_from(count);
        let negative = |_| E::custom("must not be negative");
        self.visit_u64(count.map_err(negative)?)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<BatchSize, M::Error> {
        let mut size = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "tokens" {
                return Err(M::Error::unknown_field(&key, &["tokens"]));
            }
            size = Some(BatchSize::Tokens(map.next_value()?));
        }
        size.ok_or_else(|| M::Error::missing_field("tokens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_serialized_and_parsed() {
        for (text, size) in [
            ("16", BatchSize::Items(16)),
            (r#"{"tokens":512}"#, BatchSize::Tokens(512)),
        ] {
            assert_eq!(serde_json::from_str::<BatchSize>(text).unwrap(), size);
            assert_eq!(serde_json::to_string(&size).unwrap(), text);
        }
        for (text, named) in [
            ("-1", "must not be negative"),
            ("{}", "missing field `tokens`"),
            (r#"{"sequences":4}"#, "unknown field `sequences`"),
            (r#""many""#, "a number of items, or { tokens ="),
        ] {
            let error = serde_json::from_str::<BatchSize>(text).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
