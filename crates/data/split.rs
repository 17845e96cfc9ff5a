//! Rows to learn from and rows held out.

use crate::{Fields, Row};
use std::collections::BTreeMap;

/// Cuts rows into those to train on and those held out, each in their order. Rows with the same
/// prompt stay on one side; a row without a prompt stands for itself. `fraction` of the prompts,
/// rounded, is held out: at least one where it is positive and there are two, and never all.
/// `shuffle` decides which.
#[must_use]
pub fn split(
    rows: Vec<Row>,
    fields: &Fields,
    fraction: f64,
    shuffle: impl FnOnce(&mut [usize]),
) -> (Vec<Row>, Vec<Row>) {
    let groups = groups(&rows, fields);
    let count = groups.iter().max().map_or(0, |last| last + 1);
    let mut order: Vec<usize> = (0..count).collect();
    shuffle(&mut order);
    let held = if fraction > 0.0 {
        let wanted = (count as f64 * fraction).round() as usize;
        wanted.max(1).min(count.saturating_sub(1))
    } else {
        0
    };
    let mut held_out = vec![false; count];
    for &group in order.iter().take(held) {
        held_out[group] = true;
    }
    let (mut train, mut held) = (Vec::new(), Vec::new());
    for (row, group) in rows.into_iter().zip(groups) {
        if held_out[group] {
            held.push(row);
        } else {
            train.push(row);
        }
    }
    (train, held)
}

/// Numbers rows 0, 1, 2, … by their prompts: equal prompts have equal numbers.
fn groups(rows: &[Row], fields: &Fields) -> Vec<usize> {
    let ids = format!("{}_ids", fields.prompt);
    let names = [&ids, &fields.prompt, &fields.input];
    let mut known = BTreeMap::new();
    let mut next = 0;
    let mut number = || {
        next += 1;
        next - 1
    };
    rows.iter()
        .map(|row| {
            let parts = names.map(|name| row.fields.get(name).map(ToString::to_string));
            if parts[0].is_none() && parts[1].is_none() {
                return number();
            }
            *known.entry(parts).or_insert_with(&mut number)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn rows(prompts: &[serde_json::Value]) -> Vec<Row> {
        let row = |(index, fields): (usize, &serde_json::Value)| Row {
            path: Path::new("x.jsonl").into(),
            line: index,
            fields: fields.as_object().unwrap().clone(),
        };
        prompts.iter().enumerate().map(row).collect()
    }

    fn lines(rows: &[Row]) -> Vec<usize> {
        rows.iter().map(|row| row.line).collect()
    }

    #[test]
    fn equal_prompts_stay_together() {
        let prompts = ["a", "b", "a", "c", "d", "c"].map(|prompt| json!({"prompt": prompt}));
        let fields = Fields::default();
        let (train, held) = split(rows(&prompts), &fields, 0.5, |order| order.reverse());
        assert_eq!(
            (lines(&train), lines(&held)),
            (vec![0, 1, 2], vec![3, 4, 5])
        );
        let prompts = [
            json!({"prompt": "a", "input": "x"}),
            json!({"prompt": "a"}),
            json!({"prompt_ids": [1]}),
        ];
        assert_eq!(groups(&rows(&prompts), &fields), [0, 1, 2]);
    }

    #[test]
    fn never_all_never_none() {
        let shapes = |n: usize, fraction| {
            let rows = rows(&vec![json!({"text": "same"}); n]);
            let (train, held) = split(rows, &Fields::default(), fraction, |_| {});
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
