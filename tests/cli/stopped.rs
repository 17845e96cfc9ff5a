//! Runs that are stopped by a signal, a full disk or a number that is not finite. Their files are complete,
//! and a resumed run gives the same bytes as an uninterrupted one.

use crate::folder;
use crate::program::{rlhf, text};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const TRAIN: &str = "train --model model --data prompts.jsonl --seed 7 --set sampling.rollouts=16 \
    --set sampling.max_new_tokens=6 --set optim.learning_rate=1e-3";
const REWARD: &str = "--reward token-share:3";

fn arguments(more: &str) -> Vec<String> {
    let line = format!("{TRAIN} {more}");
    line.split_whitespace().map(str::to_string).collect()
}

fn train(folder: &Path, more: &str) -> Output {
    let arguments = arguments(more);
    rlhf(
        folder,
        &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

/// Starts a run and waits until it has written `lines` lines of metrics.
fn start(folder: &Path, more: &str, run: &Path, lines: usize) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rlhf"))
        .args(arguments(more))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = || {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
        text.lines().count()
    };
    for _ in 0..120_000 {
        if written() >= lines {
            return child;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("{} has no {lines} steps", run.display());
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([name, &id])
            .status()
            .unwrap()
            .success()
    );
}

/// A folder with a tiny model and some prompts.
fn world() -> tempfile::TempDir {
    let folder = folder();
    let prompts: String = (1..9)
        .map(|id| format!("{{\"prompt\": \"{id}\"}}\n"))
        .collect();
    fs::write(folder.path().join("prompts.jsonl"), prompts).unwrap();
    folder
}

/// Every file below a folder except the timing, which the seed does not determine, and the intermediate
/// checkpoints, which depend on where a run was stopped.
fn bytes(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![run.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if !path.ends_with("timing.jsonl") {
                let name = path.strip_prefix(run).unwrap().to_path_buf();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn checkpoints(run: &Path) -> Vec<(String, bool)> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else {
        return vec![];
    };
    let mut all: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, path.join("optimizer.safetensors").exists())
        })
        .collect();
    all.sort();
    all
}

/// Before the first checkpoint, around one, and somewhere later.
#[test]
fn killed_at_any_moment_and_resumed_is_uninterrupted() {
    check_killed("", &[0, 2, 4, 13, 23]);
}

#[test]
fn an_adapter_that_was_killed_and_resumed_is_uninterrupted() {
    check_killed("--lora 2 --set model.critic=separate", &[2, 13]);
}

/// Kills a run after each of these numbers of steps, and resumes it.
fn check_killed(flags: &str, stops: &[usize]) {
    let folder = world();
    let folder = folder.path();
    let more =
        format!("{REWARD} {flags} --set train.iterations=24 --set train.checkpoints=6 --out");
    let whole = train(folder, &format!("{more} whole"));
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let expected = bytes(&folder.join("whole"));
    let kept = ["12", "16", "20", "24", "4", "8"];
    let kept: Vec<_> = kept
        .iter()
        .map(|n| (format!("step-{n}"), *n == "24"))
        .collect();
    assert_eq!(checkpoints(&folder.join("whole")), kept);
    for (index, &lines) in stops.iter().enumerate() {
        let name = format!("killed-{index}");
        let run = folder.join(&name);
        let mut child = start(folder, &format!("{more} {name}"), &run, lines);
        signal(&child, "-KILL");
        child.wait().unwrap();
        if !run.join("config.toml").exists() {
            // It had not begun, so it starts over.
            let again = train(folder, &format!("{more} {name} --overwrite"));
            assert!(again.status.success(), "{}", text(&again.stderr));
        }
        let resumed = rlhf(folder, &["train", "--resume", "--out", &name]);
        assert!(
            resumed.status.success(),
            "{lines}: {}",
            text(&resumed.stderr)
        );
        let found = bytes(&run);
        let names: Vec<_> = found.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{lines}");
        for (name, content) in &expected {
            assert!(found[name] == *content, "{lines}: {}", name.display());
        }
    }
}

#[test]
fn a_signal_ends_a_run_after_it_saved() {
    let folder = world();
    let folder = folder.path();
    for name in ["-INT", "-TERM"] {
        let run = folder.join(format!("run{name}"));
        let more = format!("{REWARD} --set train.iterations=100000 --out run{name}");
        let child = start(folder, &more, &run, 3);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(
            said.ends_with("everything is saved: continue with --resume\n"),
            "{said}"
        );
        let steps = fs::read_to_string(run.join("metrics.jsonl"))
            .unwrap()
            .lines()
            .count();
        assert_eq!(checkpoints(&run), [(format!("step-{steps}"), true)]);
    }
}

#[test]
fn a_full_disk_leaves_whole_checkpoints() {
    let folder = world();
    let folder = folder.path();
    // In blocks of 1,024 bytes: the samples outgrow it after some steps, or a checkpoint at once.
    for (blocks, iterations) in [(1, 9), (9, 9), (14, 400)] {
        let line = format!(
            "ulimit -f {blocks}; exec '{}' {TRAIN} {REWARD} --set train.iterations={iterations} \
             --set train.samples=16 --set train.checkpoints=100 --out run --overwrite",
            env!("CARGO_BIN_EXE_rlhf")
        );
        let output = Command::new("bash")
            .args(["-c", &line])
            .current_dir(folder)
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{blocks}: {said}");
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with("error: ") && last.contains("File too large"),
            "{said}"
        );
        let run = folder.join("run");
        for (name, _) in checkpoints(&run) {
            assert!(!name.ends_with("tmp"), "{name}");
            let path = format!("run/checkpoints/{name}");
            let looked = rlhf(folder, &["generate", "--model", &path, "--prompt", "1"]);
            assert!(looked.status.success(), "{}", text(&looked.stderr));
        }
        assert!(!run.join("final").exists() && !run.join("final.tmp").exists());
    }
    assert!(
        !checkpoints(&folder.join("run")).is_empty(),
        "a late one left some"
    );
}

#[test]
fn a_non_finite_number_is_reported_with_its_step() {
    let folder = world();
    let folder = folder.path();
    let begun = "no checkpoint was written yet";
    let diverged =
        "the policy has diverged; lower optim.learning_rate; no checkpoint was written yet";
    let only = "the policy has diverged; lower optim.learning_rate; there is no earlier checkpoint";
    let rate = "--reward token-share:3 --set optim.warmup=0.0 --set optim.learning_rate";
    for (name, more, expected, left) in [
        (
            "reward",
            "--reward length:1e38".into(),
            "in step 1 of 9: the score of sequence ",
            begun,
        ),
        // The second update of the step, the weights after one update, and their outputs.
        (
            "loss",
            format!("{rate}=1e20"),
            "in step 1 of 9: the log-prob of a response token is NaN: ",
            diverged,
        ),
        (
            "weights",
            format!("{rate}=1e38 --set method.epochs=1"),
            "in step 1 of 9: the weight transformer.",
            diverged,
        ),
        (
            "late",
            format!("{rate}=1e20 --set method.epochs=1"),
            "in step 2 of 9: the log-prob of a response token is NaN: ",
            only,
        ),
    ] {
        let more =
            format!("{more} --set train.iterations=9 --set train.checkpoints=9 --out {name}");
        let output = train(folder, &more);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with(&format!("error: {expected}")), "{said}");
        assert!(last.ends_with(left), "{said}");
        assert!(!folder.join(name).join("final").exists());
    }
}

#[test]
fn a_moved_run_finds_files_inside_its_folder() {
    let folder = world();
    let folder = folder.path();
    let tiny = "--set train.iterations=1 --set sampling.rollouts=4 --set eval.prompts=2 \
        --set eval.prior_samples=4";
    let run = |line: &str| {
        let output = rlhf(folder, &line.split_whitespace().collect::<Vec<_>>());
        (output.status.code(), text(&output.stderr))
    };
    // Its model, its reward and its data are inside.
    let (code, said) = run(&format!("train {tiny} --out first"));
    assert_eq!(code, Some(0), "{said}");
    let stored = fs::read_to_string(folder.join("first/config.toml")).unwrap();
    assert!(stored.contains("path = \"world/model\""), "{stored}");
    fs::create_dir(folder.join("elsewhere")).unwrap();
    fs::rename(folder.join("first"), folder.join("elsewhere/moved")).unwrap();
    for line in [
        "eval elsewhere/moved",
        "train --resume --out elsewhere/moved",
    ] {
        let (code, said) = run(line);
        assert_eq!(code, Some(0), "{said}");
    }
    // Here they are outside.
    let (code, said) = run(&format!("{TRAIN} {REWARD} {tiny} --out second"));
    assert_eq!(code, Some(0), "{said}");
    fs::rename(folder.join("model"), folder.join("renamed")).unwrap();
    let fix = "model: no longer exists. Write its new path to model.path in second/config.toml";
    for line in ["eval second", "train --resume --out second"] {
        let (code, said) = run(line);
        assert!(code == Some(1) && said.contains(fix), "{said}");
    }
}
