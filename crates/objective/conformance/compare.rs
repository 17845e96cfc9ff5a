//! Comparisons of conformance checks, which return errors that name the property.

use super::TOLERANCE;
use crate::{Decoder, Error, LogDist, PerToken, Result, Sequences, Start};
use std::ops::Range;

pub(super) fn violation(property: &'static str, found: impl Into<String>) -> Error {
    Error::Conformance {
        property,
        found: found.into(),
    }
}

pub(super) fn check_same<T: PartialEq + std::fmt::Debug>(
    name: &'static str,
    expected: T,
    got: T,
) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(violation(
        name,
        format!("expected {expected:?}, got {got:?}"),
    ))
}

pub(super) fn check_close(name: &'static str, got: &[f32], expected: &[f32]) -> Result<()> {
    check_same(name, expected.len(), got.len())?;
    for (index, (&x, &y)) in got.iter().zip(expected).enumerate() {
        let (x, y) = (f64::from(x), f64::from(y));
        let close = (x - y).abs() <= TOLERANCE * y.abs().max(1.0);
        if !(close || x == y) {
            return Err(violation(
                name,
                format!("number {index} is {x}, expected {y}"),
            ));
        }
    }
    Ok(())
}

pub(super) fn check_finite(name: &'static str, numbers: &[f32]) -> Result<()> {
    match numbers.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => Err(violation(
            name,
            format!("number {index} is {}", numbers[index]),
        )),
    }
}

pub(super) fn rows(log_dist: &LogDist<'_>, expected: usize) -> Result<Vec<Vec<f32>>> {
    let rows = log_dist.to_rows();
    check_same("there is one row per response token", expected, rows.len())?;
    Ok(rows)
}

/// Collects the rows that a callback receives during a forward pass.
#[derive(Default)]
pub(super) struct RowRecorder(Vec<Vec<f32>>);

impl RowRecorder {
    pub(super) fn record(&mut self, rows: Range<usize>, log_dist: &LogDist<'_>) -> Result<()> {
        let property = "the callback is called with each row once, in order";
        check_same(property, self.0.len(), rows.start)?;
        check_same(property, rows.len(), log_dist.rows())?;
        self.0.extend(log_dist.to_rows());
        Ok(())
    }

    pub(super) fn check_equal(&self, whole: &[Vec<f32>]) -> Result<()> {
        let property = "the callback receives the rows that log_dist returns";
        check_close(property, &self.0.concat(), &whole.concat())
    }
}

/// The entry of each row at the token taken.
pub(super) fn gather(name: &'static str, rows: &[Vec<f32>], s: &Sequences) -> Result<Vec<f32>> {
    let tokens = s.responses().iter().flat_map(|y| &y.ids);
    let entry = |(row, &token): (&Vec<f32>, &u32)| {
        let entry = row.get(token as usize).copied();
        entry.ok_or_else(|| violation(name, format!("token {token} of {} entries", row.len())))
    };
    rows.iter().zip(tokens).map(entry).collect()
}

pub(super) fn sum_to_one(rows: &[Vec<f32>]) -> Result<()> {
    for (index, row) in rows.iter().enumerate() {
        let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        let one = (total - 1.0).abs() <= TOLERANCE;
        if !one {
            let found = format!("row {index} sums to {total}");
            return Err(violation("the probabilities of a row sum to 1", found));
        }
    }
    Ok(())
}

pub(super) fn entropy_of(row: &[f32]) -> f32 {
    let term = |&x: &f32| {
        if x == f32::NEG_INFINITY {
            0.0
        } else {
            -f64::from(x).exp() * f64::from(x)
        }
    };
    row.iter().map(term).sum::<f64>() as f32
}

pub(super) fn check_detached(log_probs: &PerToken) -> Result<()> {
    let gradients = log_probs.values().sum_all()?.backward()?;
    match gradients.get(log_probs.values()) {
        None => Ok(()),
        Some(_) => Err(violation(
            "the log-probs of a prior carry no gradient",
            "they are variables of the autograd",
        )),
    }
}

/// Steps a decoder along the responses and checks that its rows equal those of the forward pass.
pub(super) fn check_decoder(
    decoder: &mut dyn Decoder,
    s: &Sequences,
    whole: &[Vec<f32>],
) -> Result<()> {
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
        check_same(
            "the decoder has one row per live response",
            live.len(),
            decoder.rows(),
        )?;
        let rows = decoder.log_dist()?.to_rows();
        for (row, &index) in rows.iter().zip(&live) {
            let expected = &whole[s.offsets()[index] + t];
            // Log-probs below −50 are not compared: they depend on rounding, or are −∞.
            let likely = |row: &[f32]| -> Vec<f32> {
                row.iter()
                    .zip(expected)
                    .map(|(x, y)| if *y < -50.0 { 0.0 } else { *x })
                    .collect()
            };
            check_close(
                "the decoder's rows equal those of the forward pass",
                &likely(row),
                &likely(expected),
            )?;
        }
        let continues = |&index: &usize| s.responses()[index].ids.len() > t + 1;
        let kept: Vec<usize> = (0..live.len())
            .filter(|&row| continues(&live[row]))
            .collect();
        decoder.gather(&kept)?;
        live.retain(continues);
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
