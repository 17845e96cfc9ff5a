//! `rlhf bench --growth`: plots tokens per second and memory against one parameter at a time.

use crate::args::BenchArgs;
use crate::output::{note, print};
use anyhow::{Context, Result, ensure};
use rlhf_bench::Machine;
use rlhf_journal::write_atomic;
use rlhf_report::{GrowthPoint, growth_svg};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// The parameters that are varied: name, option and values. The others are as in [`BASE`].
const VARIED: [(&str, &str, &[usize]); 3] = [
    ("sequences in a batch", "--batch", &[1, 2, 4, 8, 16, 32, 64]),
    (
        "tokens of a sequence",
        "--response",
        &[64, 128, 256, 512, 1024],
    ),
    ("vocabulary", "--vocab", &[1024, 4096, 16384, 65536]),
];
/// The options of the parameters that are not varied. A sequence is a prompt of one token and a response.
const BASE: [(&str, &str); 5] = [
    ("--size", "tiny"),
    ("--batch", "8"),
    ("--prompt", "1"),
    ("--response", "64"),
    ("--vocab", "4096"),
];
const SIZES: [&str; 3] = ["tiny", "small", "gpt2"];
const WORKLOADS: [&str; 2] = ["train", "generate"];

/// Measures every point in its own process, plots the points and prints the path or the JSON.
pub(super) fn run(args: &BenchArgs, picture: &Path) -> Result<()> {
    // Taken first, because the working tree may change while this runs.
    let machine = Machine::here();
    let mut lines = Vec::new();
    let threads = rayon::current_num_threads();
    for workload in WORKLOADS {
        let mut measure = |against: &str, value: Option<usize>, changes: &[(&str, String)]| {
            note(format_args!("{workload}, {against} {changes:?}"));
            let line = run_workload(args, workload, changes)?;
            lines.push(point(against, value, line)?);
            anyhow::Ok(())
        };
        for (against, flag, values) in VARIED {
            for value in values {
                measure(against, Some(*value), &[(flag, value.to_string())])?;
            }
        }
        for size in SIZES {
            measure("parameters, millions", None, &[("--size", size.into())])?;
        }
        for count in (0..).map(|n| 1 << n).take_while(|count| *count <= threads) {
            measure("threads", Some(count), &[("--threads", count.to_string())])?;
        }
    }
    let points: Vec<GrowthPoint> = lines.iter().map(plot_point).collect();
    write_atomic(picture, growth_svg(&points).as_bytes())?;
    let report = json!({"machine": machine, "base": BASE, "points": lines});
    if args.json {
        print(serde_json::to_string_pretty(&report)?)
    } else {
        print(picture.display())
    }
}

/// Runs one workload in a child process; returns its JSON.
fn run_workload(args: &BenchArgs, workload: &str, changes: &[(&str, String)]) -> Result<Value> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let mut command = Command::new(program);
    command.args(["bench", "--workload", workload, "--json"]);
    command.args(["--repeats", &args.repeats.to_string()]);
    let threads = ("--threads", args.threads.to_string());
    let base = BASE.map(|(flag, value)| (flag, value.to_string()));
    for (flag, value) in base.into_iter().chain([threads]) {
        let changed = changes.iter().find(|(changed, _)| *changed == flag);
        command.args([flag, changed.map_or(&value, |(_, value)| value)]);
    }
    let output = command
        .output()
        .context("cannot start a workload's process")?;
    ensure!(
        output.status.success(),
        "{workload} {changes:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The JSON of a point. The value of a model size is its number of parameters.
fn point(against: &str, value: Option<usize>, line: Value) -> Result<Value> {
    let parameters = line["parameters"].as_f64().context("no parameters")?;
    let value = value.map_or(parameters / 1e6, |value| value as f64);
    let rounded = (value * 10.0).round() / 10.0;
    Ok(
        json!({"against": against, "value": rounded, "workload": line["workload"],
        "tokens_per_second": line["tokens_per_second"], "peak_memory_mb": line["peak_memory_mb"],
        "seconds": line["seconds"], "gflops": line["gflops"], "share_of_peak": line["share_of_peak"]}),
    )
}

fn plot_point(line: &Value) -> GrowthPoint {
    let number = |key: &str| line[key].as_f64().unwrap_or(0.0);
    let words = |key: &str| line[key].as_str().unwrap_or_default().to_string();
    GrowthPoint {
        against: words("against"),
        value: number("value"),
        workload: words("workload"),
        tokens_per_second: number("tokens_per_second"),
        peak_memory_mb: number("peak_memory_mb"),
    }
}
