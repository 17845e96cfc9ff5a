//! Tests of `rlhf bench`.

use crate::program::{rlhf, text};
use std::fs;

/// The JSON of `bench` has the expected fields, and its numbers are consistent.
#[test]
fn bench_measures_a_step_by_phase() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "bench --workload dpo --size tiny --repeats 1 --json";
    let arguments: Vec<_> = arguments.split(' ').collect();
    let output = rlhf(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let seconds = number(&line["seconds"]["median"]);
    let phase = |name: &str| number(&line["phases"][name]["seconds"]);
    let parts = ["forward", "loss", "backward", "optimizer", "prior"].map(phase);
    let sum: f64 = parts.iter().sum();
    assert!(sum <= seconds && sum > 0.5 * seconds, "{line}");
    let rate = number(&line["gflop"]) / seconds;
    assert!(
        (number(&line["gflops"]) / rate - 1.0).abs() < 1e-6,
        "{line}"
    );
    assert!(number(&line["peak_gflops"]) > 0.0, "{line}");
    assert!(line["machine"]["cores"].as_u64().unwrap() > 0, "{line}");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}
