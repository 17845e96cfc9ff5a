//! Splits rows into a training and a held-out part.

use crate::shapes::{Shape, has};
use crate::{Fields, Row};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The largest share of the prompts that may be held out to reach `at_least`, if the fraction alone
/// gives fewer.
const MAX_SHARE: f64 = 0.25;

/// How much is held out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOut {
    /// The share of the distinct prompts, rounded.
    pub fraction: f64,
    /// The minimum number of prompts, because an average over fewer is too noisy. If the fraction
    /// gives fewer, this many are held out if that is at most a quarter of all, and otherwise none.
    pub at_least: usize,
}

impl HeldOut {
    /// Nothing is held out.
    pub const NOTHING: Self = Self {
        fraction: 0.0,
        at_least: 0,
    };

    /// The number of prompts held out of this many distinct ones; never all.
    #[must_use]
    pub fn count(self, prompts: usize) -> usize {
        if self.fraction <= 0.0 {
            return 0;
        }
        let of_fraction = ((prompts as f64 * self.fraction).round() as usize).max(1);
        let count = match of_fraction >= self.at_least {
            true => of_fraction,
            false if self.at_least as f64 <= MAX_SHARE * prompts as f64 => self.at_least,
            false => 0,
        };
        count.min(prompts.saturating_sub(1))
    }
}

/// The rows of the training and the held-out part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The training rows.
    pub train: Vec<u32>,
    /// The held-out rows.
    pub held_out: Vec<u32>,
    /// The number of distinct prompts in each.
    pub prompts: [usize; 2],
}

/// Groups rows by prompt, with 8 bytes per row.
#[derive(Debug, Default)]
pub struct PromptKeys(Vec<u64>);

impl PromptKeys {
    /// Records the prompt of the next row: its prompt field, or the common prefix of its pair. A
    /// row without one is a group of its own.
    pub fn push(&mut self, row: &Row, fields: &Fields) {
        let mut hasher = DefaultHasher::new();
        if has(row, &fields.prompt) {
            let ids = format!("{}_ids", fields.prompt);
            for name in [&ids, &fields.prompt, &fields.input] {
                hash_value(
                    row.fields.get(name).filter(|_| !name.is_empty()),
                    &mut hasher,
                );
            }
        } else if !hash_implied_prompt(row, fields, &mut hasher) {
            ("row", self.0.len()).hash(&mut hasher);
        }
        self.0.push(hasher.finish());
    }

    /// Splits rows into a training and a held-out part, each in file order. Rows with the same
    /// prompt stay in the same part. `shuffle` decides which prompts are held out.
    #[must_use]
    pub fn split(self, held_out: HeldOut, shuffle: impl FnOnce(&mut [usize])) -> Split {
        let (groups, count) = self.groups();
        let mut order: Vec<usize> = (0..count).collect();
        shuffle(&mut order);
        let wanted = held_out.count(count);
        let mut held = vec![false; count];
        for &group in order.iter().take(wanted) {
            held[group] = true;
        }
        let rows = groups.iter().zip(0..);
        let (held_out, train): (Vec<_>, Vec<_>) =
            rows.partition(|(group, _)| held[**group as usize]);
        let rows = |side: Vec<(&u32, u32)>| side.into_iter().map(|(_, row)| row).collect();
        Split {
            train: rows(train),
            held_out: rows(held_out),
            prompts: [count - wanted, wanted],
        }
    }

    /// The group of each row, numbered by first appearance, and the number of groups.
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
            groups[row] = if leader == row {
                count += 1;
                count - 1
            } else {
                groups[leader]
            };
        }
        (groups, count as usize)
    }
}

/// Hashes the prompt that a pair shares.
fn hash_implied_prompt(row: &Row, fields: &Fields, hasher: &mut DefaultHasher) -> bool {
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
                hash_value(Some(message), hasher);
            }
        }
        _ => return false,
    }
    true
}

/// Hashes a value, including its type and structure.
pub(crate) fn hash_value(value: Option<&serde_json::Value>, hasher: &mut impl Hasher) {
    use serde_json::Value;
    match value {
        None => 0u8.hash(hasher),
        Some(Value::Null) => 1u8.hash(hasher),
        Some(Value::Bool(yes)) => (2u8, yes).hash(hasher),
        Some(Value::Number(number)) => (3u8, number).hash(hasher),
        Some(Value::String(text)) => (4u8, text).hash(hasher),
        Some(Value::Array(items)) => {
            (5u8, items.len()).hash(hasher);
            items.iter().for_each(|item| hash_value(Some(item), hasher));
        }
        Some(Value::Object(fields)) => {
            (6u8, fields.len()).hash(hasher);
            for (name, item) in fields {
                name.hash(hasher);
                hash_value(Some(item), hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::path::Path;

    fn keys(rows: &[Value]) -> PromptKeys {
        let mut keys = PromptKeys::default();
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
    fn equal_prompts_stay_in_one_part() {
        let prompts = ["a", "b", "a", "c", "d", "c"].map(|prompt| json!({"prompt": prompt}));
        let half = HeldOut {
            fraction: 0.5,
            at_least: 1,
        };
        let split = keys(&prompts).split(half, |order| order.reverse());
        assert_eq!(
            (split.train, split.held_out),
            (vec![0, 1, 2], vec![3, 4, 5])
        );
        assert_eq!(split.prompts, [2, 2]);
        let rows = [
            json!({"prompt": "a", "input": "x"}),
            json!({"prompt": "a"}),
            json!({"prompt_ids": [1]}),
            json!({"prompt": "a", "input": "x"}),
        ];
        assert_eq!(keys(&rows).groups(), (vec![0, 1, 2, 0], 3));
    }

    #[test]
    fn pairs_are_grouped_by_their_common_prompt() {
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
    fn held_out_count_respects_minimum_and_never_takes_all() {
        let held = |fraction, at_least, prompts: usize| {
            let rows = vec![json!({"text": "same"}); prompts];
            let split = keys(&rows).split(HeldOut { fraction, at_least }, |_| {});
            assert_eq!(split.train.len() + split.held_out.len(), prompts);
            assert_eq!(split.prompts, [split.train.len(), split.held_out.len()]);
            split.held_out.len()
        };
        assert_eq!(held(0.0, 5, 100), 0);
        assert_eq!(held(0.01, 1, 10), 1);
        assert_eq!(held(0.2, 1, 10), 2);
        assert_eq!(held(1.0, 1, 10), 9);
        assert_eq!(held(0.5, 1, 1), 0);
        assert_eq!(held(0.5, 5, 0), 0);
        // A tenth of 8 prompts is one, and five of them would be more than a quarter.
        assert_eq!(held(0.1, 5, 8), 0);
        assert_eq!(held(0.1, 5, 19), 0);
        assert_eq!(held(0.1, 5, 20), 5);
        assert_eq!(held(0.1, 5, 49), 5);
        assert_eq!(held(0.1, 5, 60), 6);
        assert_eq!(held(0.5, 5, 10), 5);
        assert_eq!(held(0.5, 5, 8), 0);
    }
}
