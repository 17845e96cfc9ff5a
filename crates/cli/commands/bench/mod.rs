//! `rlhf bench`: measures seconds, tokens per second and the fraction of the machine's peak.

mod growth;

use crate::args::BenchArgs;
use crate::output::print;
use anyhow::{Context, Result, ensure};
use rlhf_bench::{Speed, Workload, measure, start_threads};
use std::process::Command;

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    start_threads(args.threads)?;
    match (&args.growth, args.workload) {
        (Some(picture), _) => growth::run(args, picture),
        (None, Some(workload)) => one(args, workload),
        (None, None) => all(args),
    }
}

fn one(args: &BenchArgs, workload: Workload) -> Result<()> {
    let speed = measure(workload, &args.settings())?;
    if args.json {
        print(serde_json::to_string(&speed)?)
    } else {
        print(sentence(&speed))
    }
}

/// Runs every workload in its own process, so that each has its own peak memory.
fn all(args: &BenchArgs) -> Result<()> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    for (name, ..) in Workload::ALL {
        let mut command = Command::new(&program);
        command.args(["bench", "--workload", name, "--size", &args.size]);
        command.args(["--threads", &args.threads.to_string()]);
        command.args(["--repeats", &args.repeats.to_string()]);
        command.args(["--critic", args.critic.name(), "--dtype", args.dtype.name()]);
        command.args(["--frozen-dtype", args.frozen_dtype.name()]);
        command.args(args.shape.to_arguments());
        if args.json {
            command.arg("--json");
        }
        let status = command
            .status()
            .context("cannot start a workload's process")?;
        ensure!(status.success(), "the workload {name} failed");
    }
    Ok(())
}

fn sentence(speed: &Speed) -> String {
    let seconds = &speed.seconds;
    let mut text = format!(
        "{:<9}{:<6} {:.4} s [{:.4}, {:.4}]  {:.0} tokens/s  {:.0} GFLOP/s, {:.0} % of {:.0}  {:.0} MB ",
        speed.workload.name(),
        speed.size,
        seconds.median,
        seconds.least,
        seconds.most,
        speed.tokens_per_second,
        speed.gflops,
        100.0 * speed.share_of_peak,
        speed.peak_gflops,
        speed.peak_memory_mb.unwrap_or(f64::NAN),
    );
    for (name, phase) in &speed.phases {
        text += &format!(" {name} {:.4}", phase.seconds);
    }
    text
}
