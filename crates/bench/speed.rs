//! Measures the speed of a workload, also as a fraction of the machine's peak in the same process.

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

/// The measurement of a workload; serialized as JSON.
#[derive(Debug, Serialize)]
pub struct Speed {
    /// The workload.
    pub workload: Workload,
    /// The name of a size, or a checkpoint folder.
    pub size: String,
    /// The precision of matrix products.
    pub dtype: DtypeName,
    /// Where PPO's values came from; `None` for other workloads.
    pub critic: Option<Critic>,
    /// The precision in which prior and reward models were stored.
    pub frozen_dtype: DtypeName,
    /// The vocabulary size.
    pub vocab: usize,
    /// The number of parameters.
    pub parameters: u64,
    /// `train.activation_checkpointing`.
    pub activation_checkpointing: String,
    /// Prompts per batch.
    pub prompts: usize,
    /// Responses per prompt.
    pub responses: usize,
    /// Tokens per prompt.
    pub prompt: usize,
    /// Tokens per response.
    pub response: usize,
    /// Timed repetitions.
    pub repeats: usize,
    /// Seconds per repetition.
    pub seconds: Spread,
    /// Tokens per second: response tokens if they are sampled, else all input tokens.
    pub tokens_per_second: f64,
    /// The floating-point operations of its matrix products, in 10⁹.
    pub gflop: f64,
    /// The same per second.
    pub gflops: f64,
    /// The peak of a large matrix product in this process, in 10⁹ per second.
    pub peak_gflops: f64,
    /// `gflops` as a fraction of the peak.
    pub share_of_peak: f64,
    /// Its phases, by name.
    pub phases: BTreeMap<String, Phase>,
    /// The peak resident memory of this process, in MB of 2²⁰ bytes; `None` if the system does not report
    /// it.
    pub peak_memory_mb: Option<f64>,
    /// The program and the machine.
    pub machine: Machine,
}

/// A phase of a workload.
#[derive(Debug, Serialize)]
pub struct Phase {
    /// The median over repetitions.
    pub seconds: f64,
    /// Its operations, if they are counted.
    #[serde(flatten)]
    pub computed: Option<Computed>,
}

/// The floating-point operations of a phase.
#[derive(Debug, Serialize)]
pub struct Computed {
    /// In 10⁹.
    pub gflop: f64,
    /// In 10⁹ per second.
    pub gflops: f64,
}

/// The spread of the times of repetitions, seconds.
#[derive(Debug, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The fastest.
    pub least: f64,
    /// The slowest.
    pub most: f64,
}

/// Times one workload in this process. The reported memory is the peak of the process.
///
/// # Errors
/// If the network cannot be initialized or loaded, or a run fails.
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
    // Measured twice, because other processes may slow the machine down.
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
        let operations = found.phase_operations.get(name.as_str());
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
    fn median_of_even_and_odd_counts() {
        let spread = |times: &[f64]| Spread::of(times).median;
        assert_eq!(spread(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(spread(&[]).is_nan());
        let all = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!((all.least, all.most), (1.0, 3.0));
    }
}
