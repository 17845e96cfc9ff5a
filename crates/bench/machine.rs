//! Describes the program and the machine of a measurement.

use serde::Serialize;
use std::process::Command;

/// The program, the machine and the date.
#[derive(Debug, Serialize)]
pub struct Machine {
    rlhf: &'static str,
    /// The commit of the sources, followed by `+` if the working tree has changes.
    commit: String,
    date: String,
    cpu: String,
    cores: usize,
    threads: usize,
    features: Vec<&'static str>,
}

impl Machine {
    /// This program on this machine, now.
    #[must_use]
    pub fn here() -> Self {
        Self {
            rlhf: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            date: format!("{:.0}", jiff::Timestamp::now()),
            cpu: cpu(),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            threads: rayon::current_num_threads(),
            features: features(),
        }
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let output = git
            .args(["-C", env!("CARGO_MANIFEST_DIR")])
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_string())
    };
    let changed = git(&["status", "--porcelain", "-uno"]).is_some_and(|lines| !lines.is_empty());
    let hash = git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".into());
    format!("{hash}{}", if changed { "+" } else { "" })
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let unknown = || std::env::consts::ARCH.to_string();
    match (field("cpu family"), field("model\t")) {
        (Some(family), Some(model)) => {
            let name = field("model name").unwrap_or_else(unknown);
            format!("{name}, family {family} model {model}")
        }
        _ => field("model name").unwrap_or_else(unknown),
    }
}

/// The instruction sets that our kernels use and this processor has.
fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let found: [(&'static str, bool); 0] = [];
    found
        .into_iter()
        .filter(|(_, has)| *has)
        .map(|(name, _)| name)
        .collect()
}

/// The peak resident memory of this process, in MB of 2²⁰ bytes; `None` if the system does not report it.
pub(crate) fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
