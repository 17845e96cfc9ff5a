//! Tests of bf16, chosen by setting or by option.

use crate::program::{rlhf, text};
use crate::{folder, metrics, small_run};
use std::fs;

/// A run uses the precision that its plan names: its numbers are close to those of f32 and not
/// equal; π equals p₀ at the start, to the last bit, in either precision.
#[test]
fn a_run_computes_in_the_dtype_of_its_plan() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("bf16.toml"), "[model]\ndtype = \"bf16\"\n").unwrap();
    let run = |more: &[&str]| {
        let output = rlhf(path, &small_run("rloo", more));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let about = fs::read_to_string(path.join("run/run.json")).unwrap();
        let about: serde_json::Value = serde_json::from_str(&about).unwrap();
        let numbers = metrics(&path.join("run"));
        (
            text(&output.stderr).to_string(),
            about["dtype"].clone(),
            numbers,
        )
    };
    let (said, dtype, exact) = run(&[]);
    assert!(said.contains("products   in f32"), "{said}");
    assert_eq!(dtype, "f32");
    let (said, dtype, by_config) = run(&["--config", "bf16.toml"]);
    assert!(said.contains("rounded to bf16, sums in f32"), "{said}");
    assert_eq!(dtype, "bf16");
    let (_, dtype, by_flag) = run(&["--dtype", "bf16"]);
    assert_eq!(dtype, "bf16");
    assert_eq!(by_config, by_flag);
    let first = |metrics: &[serde_json::Value], name: &str| metrics[0][name].as_f64().unwrap();
    for metrics in [&exact, &by_config] {
        assert_eq!(first(metrics, "objective/kl"), 0.0);
    }
    let gap = |metrics: &[serde_json::Value]| first(metrics, "sampling/log_prob_gap");
    assert!(gap(&exact) < 1e-5);
    assert!(gap(&by_config) < 0.02);
    let entropy = |metrics: &[serde_json::Value]| first(metrics, "objective/entropy");
    assert_ne!(entropy(&exact), entropy(&by_config));
    assert!((entropy(&exact) / entropy(&by_config) - 1.0).abs() < 0.2);
}

/// A prior stored in bf16 differs slightly and deterministically from f32, and both the plan and the
/// run's record name the precision.
#[test]
fn a_prior_is_stored_in_the_frozen_dtype() {
    let folder = folder();
    let path = folder.path();
    let run = |more: &[&str]| {
        let output = rlhf(path, &small_run("ppo-kl", more));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let about = fs::read_to_string(path.join("run/run.json")).unwrap();
        let about: serde_json::Value = serde_json::from_str(&about).unwrap();
        let said = text(&output.stderr).to_string();
        (said, about, metrics(&path.join("run")))
    };
    let (said, exact_about, exact) = run(&[]);
    assert!(!said.contains("held in bf16"), "{said}");
    assert_eq!(exact_about["frozen_dtype"], "f32");
    let flag = ["--frozen-dtype", "bf16"];
    let (said, about, halves) = run(&flag);
    assert!(said.contains("frozen     weights stored in bf16"), "{said}");
    assert!(
        said.contains("rounded to it: KL is not exactly 0"),
        "{said}"
    );
    assert_eq!(about["frozen_dtype"], "bf16");
    assert_eq!(about["model"], exact_about["model"]);
    let sum = |about: &serde_json::Value| about["prior"]["models"][0]["sha256"].clone();
    assert_ne!(sum(&about), sum(&exact_about));
    let setting = ["--set", "model.frozen_dtype=bf16"];
    assert_eq!(run(&setting).2, halves);
    let kl = |metrics: &[serde_json::Value]| metrics[0]["objective/kl"].as_f64().unwrap();
    assert_eq!(kl(&exact), 0.0);
    assert!(
        kl(&halves) != 0.0 && kl(&halves).abs() < 1e-2,
        "{}",
        kl(&halves)
    );
    let (said, ..) = run(&[&flag[..], &["--prior", "counting"]].concat());
    assert!(
        said.contains("no frozen networks: neither the prior nor"),
        "{said}"
    );
}
