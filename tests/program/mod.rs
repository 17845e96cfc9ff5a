//! Runs the built program in tests.
#![allow(dead_code)] // Each test binary has a part of it.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in `folder`; it may fail.
pub(crate) fn rlhf(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rlhf"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The stdout of the program, which must succeed.
#[track_caller]
pub(crate) fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = rlhf(folder, arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "rlhf {arguments:?}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Parses JSON lines.
pub(crate) fn rows(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
