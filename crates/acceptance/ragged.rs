//! The suite `ragged`: useful tokens per second of ragged batches, with lengths from 8 to 64, compared
//! with the same sequences padded to 64.

use crate::suite::{Outcome, Required, Suite, SuiteContext, Verdict};
use anyhow::Result;
use rlhf_bench::{Size, tokens};
use rlhf_experiment::DtypeName;
use rlhf_journal::Estimate;
use rlhf_lm::{Model, OutputHeads};
use rlhf_objective::{
    Decoder, Draw, Finish, LogDist, OutputGrads, OutputSpec, Prompt, Response,
    Result as ObjectiveResult, Sequences, Start,
};
use rlhf_policy::{Sampling, sample};
use rlhf_tensor::{AdamW, Rng, Storage, Stream};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(crate) const SUITE: Suite = Suite {
    name: "ragged",
    about: "useful tokens per second with lengths from 8 to 64, against all padded to 64",
    run,
};

const SIZES: [&str; 2] = ["tiny", "small"];
/// The minimum and the maximum length.
const LENGTHS: (usize, usize) = (8, 64);
const SEQUENCES: usize = 128;
/// The tokens of a prompt, and the rows sampled at once.
const PROMPT: usize = 32;
const ROWS: usize = 16;
/// The rounds in which both are timed in turn. The range of six independent ratios contains their
/// median with probability 1 − 2⁻⁵ = 0.97.
const ROUNDS: usize = 6;
/// The token that ends a response.
const STOP: u32 = 0;
const REQUIRED: f64 = 1.3;

fn run(context: &SuiteContext<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for name in SIZES {
        let scratch = context.scratch.join(name);
        std::fs::create_dir(&scratch)?;
        let size = Size::open((name, None), [DtypeName::F32; 2], &scratch)?;
        measure(name, &size, &mut outcome)?;
    }
    Ok(outcome)
}

fn measure(size_name: &str, size: &Size, outcome: &mut Outcome) -> Result<()> {
    for (name, [ragged, padded]) in [("train", training(size)?), ("generate", sampling(size)?)] {
        let ratios = ragged.iter().zip(&padded).map(|(a, b)| a / b);
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        outcome.rows.push(json!({"workload": name, "size": size_name, "lengths": LENGTHS,
            "sequences": SEQUENCES, "useful_tokens_per_second": {"ragged": ragged, "padded": padded}}));
        outcome.verdicts.push(Verdict {
            name: format!("{size_name}, {name}: useful tokens per second, ragged over padded"),
            required: Required::AtLeast(REQUIRED),
            reached: Estimate::within(
                f64::midpoint(ratios[ROUNDS / 2 - 1], ratios[ROUNDS / 2]),
                ratios[0],
                ratios[ROUNDS - 1],
            ),
        });
    }
    Ok(())
}

/// Evenly spaced lengths in a seeded random order.
fn lengths() -> Vec<usize> {
    let spread = LENGTHS.1 - LENGTHS.0;
    let mut lengths: Vec<usize> = (0..SEQUENCES)
        .map(|i| LENGTHS.0 + i * spread / (SEQUENCES - 1))
        .collect();
    Rng::new(1, Stream::Data, 1, 0).shuffle(&mut lengths);
    lengths
}

/// Useful tokens per second of each round, ragged and padded in turn, after one warm-up round.
fn time_in_turn(mut workloads: [&mut dyn FnMut() -> Result<usize>; 2]) -> Result<[Vec<f64>; 2]> {
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let mut useful = 0;
        for (work, rates) in workloads.iter_mut().zip(&mut rates) {
            let since = Instant::now();
            // The ragged workload returns the number of useful tokens, the padded one 0.
            useful = work()?.max(useful);
            if round > 0 {
                rates.push(useful as f64 / since.elapsed().as_secs_f64());
            }
        }
    }
    Ok(rates)
}

/// Supervised fine-tuning steps on documents: forward, backward, optimizer step.
fn training(size: &Size) -> Result<[Vec<f64>; 2]> {
    let model = std::cell::RefCell::new(size.load(Storage::Trainable, OutputHeads::Language)?);
    let documents = |padded_length: fn(usize) -> usize| -> Result<Sequences> {
        let mut rng = Rng::new(1, Stream::Data, 0, 0);
        let responses = lengths().into_iter().enumerate().map(|(index, length)| {
            let ids = tokens(&mut rng, size.shape.vocab, padded_length(length) - 1);
            Response::new(index, ids, Finish::Length)
        });
        let responses = responses.collect();
        let prompts = (0..SEQUENCES).map(|_| Prompt::from_ids(vec![STOP]));
        Ok(Sequences::new(prompts.collect(), responses)?)
    };
    let (ragged, padded) = (documents(|length| length)?, documents(|_| LENGTHS.1)?);
    time_in_turn([
        &mut || step(&mut **model.borrow_mut(), &ragged).map(|()| lengths().iter().sum()),
        &mut || step(&mut **model.borrow_mut(), &padded).map(|()| 0),
    ])
}

fn step(model: &mut dyn Model, sequences: &Sequences) -> Result<()> {
    model.forward(sequences, OutputSpec::TRAIN)?;
    let gradient = -1.0 / sequences.tokens() as f32;
    model.backward(&OutputGrads {
        log_probs: Some(vec![gradient; sequences.tokens()]),
        ..OutputGrads::default()
    })?;
    model.optimizer_step(&AdamW::default(), 1e-6, 1.0);
    Ok(())
}

/// Sampling. Ragged: responses that end at their lengths, with continuous batching. Padded: batches
/// whose rows all have the maximum length.
fn sampling(size: &Size) -> Result<[Vec<f64>; 2]> {
    let model = std::cell::RefCell::new(size.load(Storage::Frozen, OutputHeads::Language)?);
    let mut rng = Rng::new(1, Stream::Data, 0, 0);
    let prompt = |_| Arc::new(Prompt::from_ids(tokens(&mut rng, size.shape.vocab, PROMPT)));
    let prompts: Vec<_> = (0..SEQUENCES).map(prompt).collect();
    let sampling = Sampling {
        samples: 1,
        max_new_tokens: LENGTHS.1,
        rows: ROWS,
        stop: vec![STOP],
        context: size.shape.context,
        draw: Draw::Sample,
        seed: 1,
        step: 0,
    };
    let full_length = Sampling {
        stop: Vec::new(),
        ..sampling.clone()
    };
    time_in_turn([
        &mut || {
            let mut model = model.borrow_mut();
            let mut decoder = ForcedLengths::new(model.decoder()?);
            let sampled = sample(&mut decoder, &prompts, &sampling, &|_| String::new())?;
            Ok(sampled.sequences.tokens())
        },
        &mut || {
            let mut model = model.borrow_mut();
            let mut decoder = model.decoder()?;
            for batch in prompts.chunks(ROWS) {
                sample(&mut *decoder, batch, &full_length, &|_| String::new())?;
            }
            Ok(0)
        },
    ])
}

/// A decoder that forces [`STOP`] at predetermined lengths, because a random network would not stop there.
struct ForcedLengths<'a> {
    decoder: Box<dyn Decoder + 'a>,
    pending: VecDeque<usize>,
    /// The tokens left for each live row.
    left: Vec<usize>,
    /// The scores with [`STOP`] forced; empty where no row is at its last token.
    forced: Vec<f32>,
}

impl<'a> ForcedLengths<'a> {
    fn new(decoder: Box<dyn Decoder + 'a>) -> Self {
        Self {
            decoder,
            pending: lengths().into(),
            left: Vec::new(),
            forced: Vec::new(),
        }
    }

    fn force(&mut self) -> ObjectiveResult<()> {
        self.forced.clear();
        if !self.left.contains(&1) {
            return Ok(());
        }
        self.decoder.log_dist()?.copy_scores(&mut self.forced);
        let rows = self.forced.chunks_exact_mut(self.decoder.vocab());
        for (row, _) in rows.zip(&self.left).filter(|(_, left)| **left == 1) {
            row.fill(-1e9);
            row[STOP as usize] = 0.0;
        }
        Ok(())
    }
}

impl Decoder for ForcedLengths<'_> {
    fn vocab(&self) -> usize {
        self.decoder.vocab()
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> ObjectiveResult<()> {
        self.decoder.start(prompts)?;
        let lengths = prompts.iter().filter_map(|_| self.pending.pop_front());
        self.left.extend(lengths);
        self.force()
    }

    fn rows(&self) -> usize {
        self.decoder.rows()
    }

    fn log_dist(&self) -> ObjectiveResult<LogDist<'_>> {
        if self.forced.is_empty() {
            return self.decoder.log_dist();
        }
        LogDist::of_scores(&self.forced[..], self.vocab())
    }

    fn step(&mut self, tokens: &[u32]) -> ObjectiveResult<()> {
        self.decoder.step(tokens)?;
        self.left.iter_mut().for_each(|left| *left -= 1);
        self.force()
    }

    fn gather(&mut self, rows: &[usize]) -> ObjectiveResult<()> {
        self.decoder.gather(rows)?;
        self.left = rows.iter().map(|&row| self.left[row]).collect();
        self.force()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_evenly_spaced() {
        let mut lengths = lengths();
        lengths.sort_unstable();
        assert_eq!((lengths[0], lengths[SEQUENCES - 1]), LENGTHS);
        let mean = lengths.iter().sum::<usize>() as f64 / SEQUENCES as f64;
        assert!((mean - 36.0).abs() < 0.6, "{mean}");
    }
}
