//! Invalid data, settings and paths are refused with one line that names the problem and the fix, with the
//! right exit code, and no files are left behind.

use crate::folder;
use crate::program::{rlhf, text};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Checks what every refusal has in common.
fn refused(arguments: &str, output: &Output, code: i32, expected: &str) {
    let said = text(&output.stderr);
    assert!(
        said.contains(expected),
        "{arguments}\n{said}\nshould say: {expected}"
    );
    assert_eq!(output.status.code(), Some(code), "{arguments}\n{said}");
    assert!(!said.contains("panicked"), "{arguments}\n{said}");
    // Usage errors of clap have several lines.
    let ours = !said.contains("For more information");
    let errors = said.lines().skip_while(|line| !line.starts_with("error: "));
    assert!(
        !ours || errors.count() == 1,
        "one line: {arguments}\n{said}"
    );
    let repeated = said.matches("os error").count();
    assert!(repeated <= 1, "told twice: {arguments}\n{said}");
}

pub(crate) fn check(folder: &Path, arguments: &str, code: i32, expected: &str) {
    let output = rlhf(folder, &arguments.split(' ').collect::<Vec<_>>());
    refused(arguments, &output, code, expected);
}

#[test]
fn invalid_data_are_refused() {
    let folder = folder();
    let folder = folder.path();
    let long = format!(
        "{{\"prompt\": \"{}\", \"completion\": \"2\"}}\n",
        "1 ".repeat(20)
    );
    for (name, content, arguments, expected) in [
        (
            "empty",
            "",
            "--reward length:1",
            "empty.jsonl: holds no row",
        ),
        (
            "type",
            "{\"prompt\": 3}\n",
            "--reward length:1",
            "type.jsonl:1: field `prompt` must be",
        ),
        (
            "list",
            "{\"prompt\": \"1\"}\n[1]\n",
            "--reward length:1",
            "list.jsonl:2: ",
        ),
        (
            "half",
            "{\"prompt\": \"1\"}\n{\"pro\n",
            "--reward length:1",
            "half.jsonl:2: not JSON",
        ),
        (
            "beyond",
            "{\"prompt\": \"11\"}\n",
            "--reward length:1",
            "beyond.jsonl:1: ",
        ),
        (
            "pairs",
            "{\"prompt\": \"1\"}\n",
            "--objective dpo",
            "pairs.jsonl:1: no field `chosen`",
        ),
        (
            "sft",
            "{\"prompt\": \"1\"}\n",
            "--objective sft",
            "sft.jsonl:1: no field `completion`",
        ),
    ] {
        fs::write(folder.join(format!("{name}.jsonl")), content).unwrap();
        let train = format!("train --model model --data {name}.jsonl --out run {arguments}");
        check(folder, &train, 1, expected);
        assert!(!folder.join("run").exists(), "{name}");
    }
    fs::write(folder.join("long.jsonl"), long).unwrap();
    let score = "score --model model --input long.jsonl";
    check(
        folder,
        score,
        1,
        "long.jsonl:1: 20 tokens, but the context of the checkpoint is 12",
    );
    fs::write(
        folder.join("none.jsonl"),
        "{\"prompt\": \"1\", \"completion\": \"\"}",
    )
    .unwrap();
    let score = "score --model model --input none.jsonl";
    check(folder, score, 1, "none.jsonl:1: `completion` has no tokens");
    // A prompt that is too long, or empty, is used with a note.
    for (prompt, note) in [
        (
            "1 ".repeat(20),
            "1 prompt is too long: only its end is kept",
        ),
        (String::new(), "BOS token"),
    ] {
        let output = rlhf(
            folder,
            &["generate", "--model", "model", "--prompt", &prompt],
        );
        assert!(output.status.success() && text(&output.stderr).contains(note));
    }
}

#[test]
fn invalid_settings_are_refused() {
    let folder = folder();
    let folder = folder.path();
    let train = "train --model model --reward length:1 --data good.jsonl --out run";
    for beta in ["-1", "nan", "inf"] {
        fs::write(folder.join("beta.toml"), format!("beta = {beta}\n")).unwrap();
        let given = [
            format!("--beta={beta}"),
            format!("--set beta={beta}"),
            "--config beta.toml".to_string(),
        ];
        for given in given {
            check(
                folder,
                &format!("{train} {given}"),
                2,
                "must be a number from 0, the price of a nat of KL",
            );
        }
    }
    fs::write(folder.join("half.toml"), "[optim]\nclip = \n").unwrap();
    for (given, code, expected) in [
        ("--objective nonsense", 2, "invalid value 'nonsense'"),
        ("--set objective=nonsense", 2, "unknown variant `nonsense`"),
        ("--set nonsense=1", 2, "unknown key `nonsense`"),
        ("--set optim.nonsense=1", 2, "unknown key `optim.nonsense`"),
        ("--set optim=3", 2, "expected a section of settings"),
        (
            "--set train.iterations=-3",
            2,
            "expected a whole number from 0",
        ),
        (
            "--set train.threads=100000",
            2,
            "train.threads = 100000: at most",
        ),
        ("--config half.toml", 2, "half.toml:2: not valid TOML"),
        (
            "--set reward={kind=\"token-share\",token=11}",
            1,
            "token 11 is not in the vocabulary: ids end at 10",
        ),
        (
            "--set reward={kind=\"length\",per_token=nan}",
            1,
            "not a finite number",
        ),
        ("--resume", 2, "cannot be used with"),
    ] {
        check(folder, &format!("{train} {given}"), code, expected);
        assert!(!folder.join("run").exists(), "{given}");
    }
    for (arguments, expected) in [
        ("generate --model model --prompt 1 -n 0", "'0' for '-n <N>'"),
        (
            "generate --model model --prompt 1 --max-new-tokens 0",
            "--max-new-tokens",
        ),
        (
            "generate --model model --prompt 1 --stop 11",
            "--stop \"11\" is not one token",
        ),
        (
            "score --model model --input good.jsonl --temperature 0",
            "must be a positive number",
        ),
    ] {
        check(folder, arguments, 2, expected);
    }
}

#[test]
fn unwritable_folders_are_refused() {
    let folder = folder();
    let folder = folder.path();
    let train = "train --model model --reward length:1 --data good.jsonl \
        --set train.iterations=1 --set sampling.rollouts=2 --set sampling.max_new_tokens=2 \
        --set data.held_out_at_least=1";
    let lines = |name: &str| {
        fs::read_to_string(folder.join(name))
            .unwrap()
            .lines()
            .count()
    };
    check(
        folder,
        &format!("{train} --out good.jsonl"),
        1,
        "good.jsonl is not a folder",
    );
    check(
        folder,
        &format!("{train} --out good.jsonl/run"),
        1,
        "choose another --out",
    );
    check(
        folder,
        &format!("{train} --out /proc/run"),
        1,
        "choose another --out",
    );
    assert_eq!(lines("good.jsonl"), 2);
    fs::create_dir(folder.join("thesis")).unwrap();
    fs::write(folder.join("thesis/chapter"), "one\n").unwrap();
    for more in ["", " --overwrite", " --dry-run"] {
        let arguments = format!("{train} --out thesis{more}");
        check(
            folder,
            &arguments,
            1,
            "thesis is not empty but holds no run",
        );
    }
    assert_eq!(lines("thesis/chapter"), 1);
    let first = rlhf(
        folder,
        &format!("{train} --out run")
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    assert!(first.status.success(), "{}", text(&first.stderr));
    let before = fs::read(folder.join("run/metrics.jsonl")).unwrap();
    check(
        folder,
        &format!("{train} --out run"),
        1,
        "run already holds a run: continue it with",
    );
    assert_eq!(fs::read(folder.join("run/metrics.jsonl")).unwrap(), before);
    check(
        folder,
        "train --resume --out thesis",
        1,
        "thesis holds no run: config.toml is missing",
    );
    check(
        folder,
        "eval thesis",
        1,
        "thesis holds no run: config.toml is missing",
    );
    check(
        folder,
        "eval none",
        1,
        "none holds no run: config.toml is missing",
    );
    assert!(!folder.join("none").exists());
    check(
        folder,
        "eval run --out good.jsonl",
        1,
        "cannot write to good.jsonl",
    );
    check(
        folder,
        "model init config.json /proc/model",
        1,
        "/proc/model",
    );
}

/// Runs every command that prints, with stdout on a full device.
#[test]
fn a_full_device_is_an_error_and_a_closed_pipe_is_not() {
    let folder = folder();
    let folder = folder.path();
    let shell = |line: &str| {
        let program = format!(
            "rlhf() {{ '{}' \"$@\"; }}; {line}",
            env!("CARGO_BIN_EXE_rlhf")
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &program])
            .current_dir(folder)
            .output()
            .unwrap()
    };
    let train = "train --model model --reward length:1 --data good.jsonl --overwrite \
        --set train.iterations=1 --set sampling.rollouts=2 --set sampling.max_new_tokens=2";
    for arguments in [
        "--help",
        "train --help",
        "--version",
        "model inspect model",
        "generate --model model --prompt 1 -n 50",
        "generate --model model --prompt 1 -n 50 --json",
        "score --model model --input good.jsonl",
        &format!("{train} --dry-run --json"),
        &format!("{train} --out run"),
        "eval run --prompts good.jsonl",
    ] {
        let full = shell(&format!("rlhf {arguments} > /dev/full"));
        let expected = "cannot write to standard output: No space left on device";
        refused(arguments, &full, 1, expected);
        let closed = shell(&format!("rlhf {arguments} | true; exit ${{PIPESTATUS[0]}}"));
        let said = text(&closed.stderr);
        assert_eq!(closed.status.code(), Some(0), "{arguments}\n{said}");
        assert!(!said.contains("error"), "{arguments}\n{said}");
    }
    let silent = shell("rlhf model inspect none 2> /dev/full");
    assert_eq!(silent.status.code(), Some(1));
}
