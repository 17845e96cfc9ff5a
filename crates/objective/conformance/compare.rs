//! How numbers are compared, and what is said where they differ.

use super::TOLERANCE;
use crate::{Decoder, Error, LogDist, PerToken, Result, Sequences, Start};
use std::ops::Range;

pub(super) fn law(law: &'static str, found: impl Into<String>) -> Error {
    Error::Law {
        law,
        found: found.into(),
    }
}

pub(super) fn same<T: PartialEq + std::fmt::Debug>(
    name: &'static str,
    expected: T,
    got: T,
) -> Result<()> {
    match expected == got {
        true => Ok(()),
        false => Err(law(name, format!("expected {expected:?}, got {got:?}"))),
    }
}

pub(super) fn near(name: &'static str, got: &[f32], expected: &[f32]) -> Result<()> {
    same(name, expected.len(), got.len())?;
    for (index, (&x, &y)) in got.iter().zip(expected).enumerate() {
        let (x, y) = (f64::from(x), f64::from(y));
        let close = (x - y).abs() <= TOLERANCE * y.abs().max(1.0);
        if !(close || x == y) {
            return Err(law(name, format!("number {index} is {x}, expected {y}")));
        }
    }
    Ok(())
}

pub(super) fn finite(name: &'static str, numbers: &[f32]) -> Result<()> {
    match numbers.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => Err(law(name, format!("number {index} is {}", numbers[index]))),
    }
}

pub(super) fn rows(log_dist: &LogDist<'_>, expected: usize) -> Result<Vec<Vec<f32>>> {
    let rows = log_dist.to_rows();
    same("one row a response token", expected, rows.len())?;
    Ok(rows)
}

/// The rows that were shown as a batch was read.
#[derive(Default)]
pub(super) struct Shown(Vec<Vec<f32>>);

impl Shown {
    pub(super) fn take(&mut self, rows: Range<usize>, log_dist: &LogDist<'_>) -> Result<()> {
        let law = "rows are shown in order, each once";
        same(law, self.0.len(), rows.start)?;
        same(law, rows.len(), log_dist.rows())?;
        self.0.extend(log_dist.to_rows());
        Ok(())
    }

    pub(super) fn are(&self, whole: &[Vec<f32>]) -> Result<()> {
        let law = "rows that are shown on the way are those that are answered";
        near(law, &self.0.concat(), &whole.concat())
    }
}

/// What each row gives the token taken.
pub(super) fn gather(name: &'static str, rows: &[Vec<f32>], s: &Sequences) -> Result<Vec<f32>> {
    let tokens = s.responses().iter().flat_map(|y| &y.ids);
    let entry = |(row, &token): (&Vec<f32>, &u32)| {
        let entry = row.get(token as usize).copied();
        entry.ok_or_else(|| law(name, format!("token {token} of {} entries", row.len())))
    };
    rows.iter().zip(tokens).map(entry).collect()
}

pub(super) fn sum_to_one(rows: &[Vec<f32>]) -> Result<()> {
    for (index, row) in rows.iter().enumerate() {
        let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        let one = (total - 1.0).abs() <= TOLERANCE;
        if !one {
            let found = format!("row {index} sums to {total}");
            return Err(law("the probabilities of a row sum to 1", found));
        }
    }
    Ok(())
}

pub(super) fn entropy_of(row: &[f32]) -> f32 {
    let term = |&x: &f32| match x == f32::NEG_INFINITY {
        true => 0.0,
        false => -f64::from(x).exp() * f64::from(x),
    };
    row.iter().map(term).sum::<f64>() as f32
}

pub(super) fn detached(log_probs: &PerToken) -> Result<()> {
    let gradients = log_probs.values().sum_all()?.backward()?;
    match gradients.get(log_probs.values()) {
        None => Ok(()),
        Some(_) => Err(law(
            "a prior's answers carry no gradient",
            "they are variables",
        )),
    }
}

/// The rows of a decoder that is led along the responses are those of reading them.
pub(super) fn decodes(decoder: &mut dyn Decoder, s: &Sequences, whole: &[Vec<f32>]) -> Result<()> {
    let starts: Vec<Start<'_>> = (0..s.len())
        .map(|index| Start {
            prompt: &s.prompt_of(index).ids,
            samples: 1,
            max_new_tokens: s.responses()[index].ids.len(),
        })
        .collect();
    decoder.start(&starts)?;
    let mut live: Vec<usize> = (0..s.len()).collect();
    for t in 0.. {
        same(
            "a decoder has a row for each live response",
            live.len(),
            decoder.rows(),
        )?;
        let rows = decoder.log_dist()?.to_rows();
        for (row, &index) in rows.iter().zip(&live) {
            let expected = &whole[s.offsets()[index] + t];
            let likely = |row: &[f32]| -> Vec<f32> {
                row.iter()
                    .zip(expected)
                    .map(|(x, y)| if *y < -50.0 { 0.0 } else { *x })
                    .collect()
            };
            near(
                "a decoder draws from the rows",
                &likely(row),
                &likely(expected),
            )?;
        }
        let goes_on = |&index: &usize| s.responses()[index].ids.len() > t + 1;
        let kept: Vec<usize> = (0..live.len()).filter(|&row| goes_on(&live[row])).collect();
        decoder.gather(&kept)?;
        live.retain(goes_on);
        if live.is_empty() {
            return Ok(());
        }
        let next: Vec<u32> = live
            .iter()
            .map(|&index| s.responses()[index].ids[t])
            .collect();
        decoder.step(&next)?;
    }
    Ok(())
}
