//! Tests of the `rlhf-acceptance` program.

use serde_json::Value;
use std::process::{Command, Output};

fn acceptance(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_rlhf-acceptance"));
    program.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_unknown_suite_is_a_usage_error() {
    let output = acceptance(&["speling"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(output.stdout.is_empty());
    for expected in ["'speling'", "acceptance", "trees", "rewards"] {
        assert!(
            stderr.contains(expected),
            "{stderr}\nshould contain: {expected}"
        );
    }
}

#[test]
fn the_help_lists_every_suite_and_an_example() {
    let output = acceptance(&["--help"]);
    let stderr = text(&output.stdout);
    assert!(output.status.success(), "{stderr}");
    for expected in ["Example:", "acceptance:", "harmless:", "--real-data <DIR>"] {
        assert!(
            stderr.contains(expected),
            "{stderr}\nshould contain: {expected}"
        );
    }
}

/// A suite that fails to run reports the error in the JSON, on stderr and by the exit code.
#[test]
fn a_suite_without_its_data_reports_the_missing_folder() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_rlhf-acceptance"));
    program.args(["rewards", "--seeds", "1", "--json"]);
    let output = program.env_remove("RLHF_TEST_DATA").output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = report["suites"][0]["error"].as_str().unwrap();
    assert!(
        error.contains("set RLHF_TEST_DATA to their folder"),
        "{error}"
    );
    assert_eq!(report["pass"], false);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("1 of 1 suites could not be run"),
        "{stderr}"
    );
}

/// Small reward models reach their accuracies on film snippets and politeness, and are calibrated. The
/// suite requires 0.9 for politeness over three seeds; the bound here is lower, because one seed has
/// about a hundred pairs.
#[test]
#[ignore = "needs RLHF_TEST_DATA: sentiment-vader-human, pref-polite-synthetic, gpt2-bpe"]
fn reward_models_learn_real_preferences() {
    let output = acceptance(&["rewards", "--seeds", "1", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let suite = &report["suites"][0];
    assert_eq!(suite["error"], Value::Null);
    assert!(
        report["commit"].is_string() && report["cpu"].is_string(),
        "{report}"
    );
    let number = |value: &Value| value.as_f64().unwrap();
    let [films, politeness] = [0, 1].map(|index| &suite["rows"][index]);
    let accuracy = |row: &Value| number(&row["accuracy"]["value"]);
    assert!(accuracy(films) >= 0.75, "{films}");
    assert!(
        accuracy(films) > number(&films["lexicon"]["value"]) + 0.03,
        "{films}"
    );
    assert!(accuracy(politeness) >= 0.85, "{politeness}");
    for row in [films, politeness] {
        assert!(row["pairs"].as_u64().unwrap() > 90, "{row}");
        assert!(
            number(&row["calibration"]["expected_error"]) < 0.15,
            "{row}"
        );
    }
    // The exit code agrees with the verdicts.
    assert_eq!(
        output.status.success(),
        report["pass"].as_bool().unwrap(),
        "{report}"
    );
}
