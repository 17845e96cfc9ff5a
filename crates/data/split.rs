//! Rows to learn from and rows held out.

use crate::shapes::{Shape, has};
use crate::{Fields, Row};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Tells which rows have the same prompt, in 8 bytes a row.
#[derive(Debug, Default)]
pub struct Keys(Vec<u64>);

impl Keys {
    /// Takes down the prompt of the next row: its field, or what its pair shares. A row without one
    /// stands for itself.
    pub fn push(&mut self, row: &Row, fields: &Fields) {
        let mut hasher = DefaultHasher::new();
        if has(row, &fields.prompt) {
            let ids = format!("{}_ids", fields.prompt);
            for name in [&ids, &fields.prompt, &fields.input] {
                hash(
                    row.fields.get(name).filter(|_| !name.is_empty()),
                    &mut hasher,
                );
            }
        } else if !implied(row, fields, &mut hasher) {
            ("row", self.0.len()).hash(&mut hasher);
        }
        self.0.push(hasher.finish());
    }

    /// Cuts rows into those to train on and those held out, each in their order. Rows with the same
    /// prompt stay on one side. `fraction` of the prompts, rounded, is held out: at least one where it
    /// is positive and there are two, and never all. `shuffle` decides which.
    #[must_use]
    pub fn split(self, fraction: f64, shuffle: impl FnOnce(&mut [usize])) -> (Vec<u32>, Vec<u32>) {
        let (groups, count) = self.groups();
        let mut order: Vec<usize> = (0..count).collect();
        shuffle(&mut order);
        let wanted = match fraction > 0.0 {
            true => ((count as f64 * fraction).round() as usize).max(1),
            false => 0,
        };
        let mut held_out = vec![false; count];
        for &group in order.iter().take(wanted.min(count.saturating_sub(1))) {
            held_out[group] = true;
        }
        let rows = groups.iter().zip(0..);
        let (held, train): (Vec<_>, Vec<_>) =
            rows.partition(|(group, _)| held_out[**group as usize]);
        let rows = |side: Vec<(&u32, u32)>| side.into_iter().map(|(_, row)| row).collect();
        (rows(train), rows(held))
    }

    /// The group of each row, numbered by first appearance, and how many there are.
    fn groups(self) -> (Vec<u32>, usize) {
        let mut sorted: Vec<(u64, u32)> = self.0.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let mut groups = vec![0; sorted.len()];
        // First the row that leads each group, then its number among the leaders.
        let mut leader = 0;
        for (index, (key, row)) in sorted.iter().enumerate() {
            if index == 0 || sorted[index - 1].0 != *key {
                leader = *row;
            }
            groups[*row as usize] = leader;
        }
        let mut count = 0;
        for row in 0..groups.len() {
            let leader = groups[row] as usize;
            groups[row] = match leader == row {
                true => {
                    count += 1;
                    count - 1
                }
                false => groups[leader],
            };
        }
        (groups, count as usize)
    }
}

/// The prompt that a pair implies.
fn implied(row: &Row, fields: &Fields, hasher: &mut DefaultHasher) -> bool {
    if Shape::of(row, fields) != Some(Shape::ImplicitPreference) {
        return false;
    }
    match row.get(&fields.chosen) {
        Some(serde_json::Value::String(text)) => match text.rfind(&fields.turn) {
            Some(end) => text[..end].hash(hasher),
            None => return false,
        },
        Some(serde_json::Value::Array(messages)) if messages.len() > 1 => {
            for message in &messages[..messages.len() - 1] {
                hash(Some(message), hasher);
            }
        }
        _ => return false,
    }
    true
}

/// Hashes a value, telling its type and structure.
pub(crate) fn hash(value: Option<&serde_json::Value>, hasher: &mut impl Hasher) {
    use serde_json::Value;
    match value {
        None => 0u8.hash(hasher),
        Some(Value::Null) => 1u8.hash(hasher),
        Some(Value::Bool(yes)) => (2u8, yes).hash(hasher),
        Some(Value::Number(number)) => (3u8, number).hash(hasher),
        Some(Value::String(text)) => (4u8, text).hash(hasher),
        Some(Value::Array(items)) => {
            (5u8, items.len()).hash(hasher);
            items.iter().for_each(|item| hash(Some(item), hasher));
        }
        Some(Value::Object(fields)) => {
            (6u8, fields.len()).hash(hasher);
            for (name, item) in fields {
                name.hash(hasher);
                hash(Some(item), hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::path::Path;

    fn keys(rows: &[Value]) -> Keys {
        let mut keys = Keys::default();
        for (index, fields) in rows.iter().enumerate() {
            let row = Row {
                path: Path::new("x.jsonl").into(),
                line: index,
                fields: fields.as_object().unwrap().clone(),
            };
            keys.push(&row, &Fields::default());
        }
        keys
    }

    #[test]
    fn equal_prompts_stay_together() {
        let prompts = ["a", "b", "a", "c", "d", "c"].map(|prompt| json!({"prompt": prompt}));
        let (train, held) = keys(&prompts).split(0.5, |order| order.reverse());
        assert_eq!((train, held), (vec![0, 1, 2], vec![3, 4, 5]));
        let rows = [
            json!({"prompt": "a", "input": "x"}),
            json!({"prompt": "a"}),
            json!({"prompt_ids": [1]}),
            json!({"prompt": "a", "input": "x"}),
        ];
        assert_eq!(keys(&rows).groups(), (vec![0, 1, 2, 0], 3));
    }

    #[test]
    fn pairs_are_grouped_by_what_they_share() {
        let pair = |question: &str, answer: &str| {
            let text = format!("\n\nHuman: {question}\n\nAssistant: ");
            json!({"chosen": format!("{text}{answer}"), "rejected": format!("{text}no")})
        };
        let rows = [pair("x", "1"), pair("y", "2"), pair("x", "3")];
        assert_eq!(keys(&rows).groups(), (vec![0, 1, 0], 2));
        let said = |text: &str| json!({"role": "user", "content": text});
        let chat = |question: &str, answer: &str| json!({"chosen": [said(question), said(answer)], "rejected": []});
        let rows = [chat("x", "1"), chat("x", "2"), chat("y", "1")];
        assert_eq!(keys(&rows).groups(), (vec![0, 0, 1], 2));
    }

    #[test]
    fn never_all_never_none() {
        let shapes = |n: usize, fraction| {
            let (train, held) = keys(&vec![json!({"text": "same"}); n]).split(fraction, |_| {});
            (train.len(), held.len())
        };
        assert_eq!(shapes(10, 0.0), (10, 0));
        assert_eq!(shapes(10, 0.01), (9, 1));
        assert_eq!(shapes(10, 0.2), (8, 2));
        assert_eq!(shapes(10, 1.0), (1, 9));
        assert_eq!(shapes(1, 0.5), (1, 0));
        assert_eq!(shapes(0, 0.5), (0, 0));
    }
}
