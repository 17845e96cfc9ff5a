//! How fast: sampling, scoring, and whole training steps, as a share of what the machine's matrix
//! products reach in the same run.

use crate::machine::{Machine, peak_memory};
use crate::peak::matrix_peak;
use crate::settings::{Settings, Workload};
use crate::size::Size;
use crate::workloads::{self, Measured};
use anyhow::{Context, Result};
use rlhf_experiment::{BackendName, Critic, DtypeName, backend};
use rlhf_lm::{Backend, Precision, Summary};
use serde::Serialize;
use std::collections::BTreeMap;

/// What was measured of a workload, in the form in which it is kept as JSON.
#[derive(Debug, Serialize)]
pub struct Speed {
    /// What was timed.
    pub workload: Workload,
    /// The name of a size, or a checkpoint folder.
    pub size: String,
    /// What products were computed in.
    pub dtype: DtypeName,
    /// Where values came from, of PPO.
    pub critic: Option<Critic>,
    /// What prior and reward models were held in.
    pub frozen_dtype: DtypeName,
    /// Vocabulary entries.
    pub vocab: usize,
    /// Numbers that the network has.
    pub parameters: u64,
    /// What training kept for the backward pass, as `train.activation_checkpointing` names it.
    pub activation_checkpointing: String,
    /// Prompts at a time.
    pub prompts: usize,
    /// Responses to each.
    pub responses: usize,
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens of a response.
    pub response: usize,
    /// How often it was timed.
    pub repeats: usize,
    /// What it took.
    pub seconds: Spread,
    /// Tokens a second: of responses where they are sampled, else all that are read.
    pub tokens_per_second: f64,
    /// The additions and multiplications of matrix products that it needs, in 10⁹.
    pub gflop: f64,
    /// The same a second.
    pub gflops: f64,
    /// What a large matrix product reached in this process, in 10⁹ a second.
    pub peak_gflops: f64,
    /// The share of that.
    pub share_of_peak: f64,
    /// Its parts, by name.
    pub phases: BTreeMap<String, Phase>,
    /// The most memory that this process held, in MB of 2²⁰ bytes; none where the system does not say.
    pub peak_memory_mb: Option<f64>,
    /// Where.
    pub machine: Machine,
}

/// A part of a workload.
#[derive(Debug, Serialize)]
pub struct Phase {
    /// The median of its repetitions.
    pub seconds: f64,
    /// What it computes, where that is known.
    #[serde(flatten)]
    pub computed: Option<Computed>,
}

/// The operations of a part.
#[derive(Debug, Serialize)]
pub struct Computed {
    /// In 10⁹.
    pub gflop: f64,
    /// In 10⁹ a second.
    pub gflops: f64,
}

/// Repetitions in three numbers, seconds.
#[derive(Debug, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The fastest.
    pub least: f64,
    /// The slowest.
    pub most: f64,
}

/// Times one workload in this process, whose memory is reported as the workload's.
///
/// # Errors
/// If the network cannot be made or loaded, or a run fails.
pub fn measure(workload: Workload, settings: &Settings) -> Result<Speed> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let size = Size::open(
        (&settings.size, settings.shape.vocab),
        [settings.dtype, settings.frozen_dtype],
        scratch.path(),
    )?;
    let precision = match backend(BackendName::Engine, settings.dtype) {
        Backend::Engine(precision) => precision,
        Backend::Plain => Precision::F32,
    };
    let before = matrix_peak(precision);
    let found = workloads::measure(workload, &size, settings, scratch.path())?;
    // A machine that others use is at its best only now and then.
    let peak = before.max(matrix_peak(precision));
    Ok(report(settings, (workload, &size.shape), &found, peak))
}

fn report(
    settings: &Settings,
    (workload, shape): (Workload, &Summary),
    found: &Measured,
    peak: f64,
) -> Speed {
    let seconds = Spread::of(&found.seconds);
    let rate = |operations: f64, seconds: f64| operations / seconds / 1e9;
    let phase = |(name, times): (&String, &Vec<f64>)| {
        let seconds = Spread::of(times).median;
        let operations = found.of_phase.get(name.as_str());
        let computed = operations.map(|&operations| Computed {
            gflop: operations / 1e9,
            gflops: rate(operations, seconds),
        });
        (name.clone(), Phase { seconds, computed })
    };
    let gflops = rate(found.operations, seconds.median);
    Speed {
        workload,
        size: settings.size.clone(),
        dtype: settings.dtype,
        critic: (workload == Workload::Ppo).then_some(settings.critic),
        frozen_dtype: settings.frozen_dtype,
        vocab: shape.vocab,
        parameters: shape.parameters,
        activation_checkpointing: settings.shape.activation_checkpointing().into(),
        prompts: found.batch.count,
        responses: found.batch.responses,
        prompt: found.batch.prompt,
        response: found.batch.response,
        repeats: found.seconds.len(),
        tokens_per_second: found.tokens as f64 / seconds.median,
        gflop: found.operations / 1e9,
        gflops,
        peak_gflops: peak,
        share_of_peak: gflops / peak,
        phases: found.phases.iter().map(phase).collect(),
        peak_memory_mb: peak_memory(),
        machine: Machine::here(),
        seconds,
    }
}

impl Spread {
    fn of(times: &[f64]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let (below, above) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
        Self {
            median: 0.5 * (at(below) + at(above)),
            least: at(0),
            most: at(sorted.len().saturating_sub(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_even_and_odd_numbers() {
        let spread = |times: &[f64]| Spread::of(times).median;
        assert_eq!(spread(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(spread(&[]).is_nan());
        let all = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!((all.least, all.most), (1.0, 3.0));
    }
}
