//! How fast: sampling, scoring, and whole training steps, as a share of what the machine's matrix
//! products reach in the same run.

use super::machine::{Machine, peak_memory};
use super::operations::Batch;
use super::size::Size;
use super::workloads::{self, Measured};
use crate::args::{BenchArgs, Workload};
use crate::config::BackendName;
use crate::output::print;
use crate::wiring::backend;
use anyhow::{Context, Result, ensure};
use rlhf_device::{Cpu, Device, Matrix, Precision, Slice, SliceMut, Write};
use rlhf_lm::{Backend, Summary};
use serde::Serialize;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Instant;

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    match args.workload {
        Some(workload) => {
            let line = one(args, workload)?;
            match args.json {
                true => print(line),
                false => print(sentence(&line)),
            }
        }
        None => all(args),
    }
}

/// Every workload in a process of its own, so that each has its own peak of memory.
fn all(args: &BenchArgs) -> Result<()> {
    let program = std::env::current_exe().context("this program's own path")?;
    for workload in Workload::ALL {
        let mut command = Command::new(&program);
        command.args(["bench", "--workload", workload.name(), "--size", &args.size]);
        command.args(["--threads", &args.threads.to_string()]);
        command.args(["--repeats", &args.repeats.to_string()]);
        command.args(["--critic", args.critic.name(), "--dtype", args.dtype.name()]);
        command.args(["--frozen-dtype", args.frozen_dtype.name()]);
        command.args(args.shape.typed());
        if args.json {
            command.arg("--json");
        }
        let status = command.status().context("cannot start a workload")?;
        ensure!(status.success(), "the workload {} failed", workload.name());
    }
    Ok(())
}

fn one(args: &BenchArgs, workload: Workload) -> Result<Value> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let size = Size::open(
        (&args.size, args.shape.vocab),
        [args.dtype, args.frozen_dtype],
        scratch.path(),
    )?;
    let precision = match backend(BackendName::Engine, args.dtype) {
        Backend::Engine(precision) => precision,
        Backend::Plain => Precision::F32,
    };
    let before = matrix_peak(precision);
    let found = workloads::measure(workload, &size, args, scratch.path())?;
    // A machine that others use is at its best only now and then.
    let peak = before.max(matrix_peak(precision));
    Ok(report(args, (workload, &size.shape), &found, peak))
}

fn report(
    args: &BenchArgs,
    (workload, shape): (Workload, &Summary),
    found: &Measured,
    peak: f64,
) -> Value {
    let seconds = Spread::of(&found.seconds);
    let rate = |operations: f64, seconds: f64| operations / seconds / 1e9;
    let phases: serde_json::Map<_, _> = found
        .phases
        .iter()
        .map(|(name, times)| {
            let spread = Spread::of(times);
            let mut phase = json!({"seconds": spread.median});
            if let Some(operations) = found.of_phase.get(name.as_str()) {
                phase["gflop"] = json!(operations / 1e9);
                phase["gflops"] = json!(rate(*operations, spread.median));
            }
            (name.clone(), phase)
        })
        .collect();
    let Batch {
        count,
        responses,
        prompt,
        response,
    } = found.batch;
    let critic = (workload == Workload::Ppo).then(|| args.critic.name());
    let gflops = rate(found.operations, seconds.median);
    let recompute = args.shape.recompute.as_deref().unwrap_or("none");
    json!({
        "workload": workload.name(), "size": args.size, "dtype": args.dtype.name(), "critic": critic,
        "frozen_dtype": args.frozen_dtype.name(),
        "vocab": shape.vocab, "parameters": shape.parameters, "recompute": recompute,
        "prompts": count, "responses": responses, "prompt": prompt, "response": response,
        "repeats": found.seconds.len(), "seconds": seconds,
        "tokens_per_second": found.tokens as f64 / seconds.median,
        "gflop": found.operations / 1e9, "gflops": gflops, "peak_gflops": peak,
        "share_of_peak": gflops / peak, "phases": phases, "peak_memory_mb": peak_memory(),
        "machine": Machine::here(),
    })
}

fn sentence(line: &Value) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let seconds = &line["seconds"];
    let mut text = format!(
        "{:<9}{:<6} {:.4} s [{:.4}, {:.4}]  {:.0} tokens/s  {:.0} GFLOP/s, {:.0} % of {:.0}  {:.0} MB ",
        line["workload"].as_str().unwrap_or_default(),
        line["size"].as_str().unwrap_or_default(),
        number(&seconds["median"]),
        number(&seconds["least"]),
        number(&seconds["most"]),
        number(&line["tokens_per_second"]),
        number(&line["gflops"]),
        100.0 * number(&line["share_of_peak"]),
        number(&line["peak_gflops"]),
        number(&line["peak_memory_mb"]),
    );
    for (name, phase) in line["phases"].as_object().into_iter().flatten() {
        text += &format!(" {name} {:.4}", number(&phase["seconds"]));
    }
    text
}

/// Repetitions in three numbers.
#[derive(Debug, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
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

/// The most floating-point operations a second, in 10⁹, of a large matrix product.
fn matrix_peak(precision: Precision) -> f64 {
    // A cube, and a layer of GPT-2's: which of them is faster depends on caches.
    const SHAPES: [[usize; 3]; 2] = [[1024, 1024, 1024], [2048, 768, 3072]];
    let mut best: f64 = 0.0;
    for [m, k, n] in SHAPES {
        let [mut left, mut right, mut product] = [m * k, k * n, m * n].map(|n| Cpu.zeroed(n));
        left.fill(0.5);
        right.fill(0.5);
        for _ in 0..8 {
            let since = Instant::now();
            Cpu.run(|| {
                let product = SliceMut::first(&mut product, m * n);
                let left = Matrix::new(Slice::first(&left, m * k), k);
                let right = Matrix::new(Slice::first(&right, k * n), n);
                Cpu.matmul(precision, product, Write::Over, 1.0, left, right);
            });
            let operations = 2.0 * (m * k * n) as f64;
            best = best.max(operations / since.elapsed().as_secs_f64());
        }
    }
    best / 1e9
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
