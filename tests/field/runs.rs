//! Runs that are stopped, resumed, locked, or whose reward fails.
#![cfg(unix)]

use crate::program::{done, rlhf, text};
use rlhf_loopback::{Responder, RewardEndpoint};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const TRAIN: &str = "train --model model --data prompts.jsonl --seed 7 --set sampling.rollouts=8 \
    --set sampling.max_new_tokens=6 --set optim.learning_rate=1e-3 --set data.held_out_fraction=0.0";
const REWARD: &str = "--reward token-share:3";
/// More steps than any test waits for.
const ENDLESS: &str = "--set train.iterations=1000000";

fn arguments(more: &str) -> Vec<String> {
    let line = format!("{TRAIN} {more}");
    line.split_whitespace().map(str::to_string).collect()
}

fn train(folder: &Path, more: &str) -> Output {
    let all = arguments(more);
    rlhf(folder, &all.iter().map(String::as_str).collect::<Vec<_>>())
}

fn resume(folder: &Path, run: &str) -> Output {
    rlhf(folder, &["train", "--resume", "--out", run])
}

/// A folder with a small random model of this width and number of layers, and some prompts.
fn world(width: usize, layers: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"model_type": "gpt2", "vocab_size": 11, "n_positions": 12, "n_embd": width,
        "n_layer": layers, "n_head": 2, "eos_token_id": 10, "bos_token_id": 10});
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    done(folder.path(), &["model", "init", "config.json", "model"]);
    let prompts: String = (1..9)
        .map(|id| format!("{{\"prompt\": \"{id}\"}}\n"))
        .collect();
    fs::write(folder.path().join("prompts.jsonl"), prompts).unwrap();
    folder
}

fn tiny() -> tempfile::TempDir {
    world(8, 1)
}

/// Starts a command in a process group of its own.
fn spawn(folder: &Path, program: &str, arguments: &[String]) -> Child {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn start(folder: &Path, more: &str) -> Child {
    spawn(folder, env!("CARGO_BIN_EXE_rlhf"), &arguments(more))
}

/// Waits until a condition holds.
#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn steps(run: &Path) -> usize {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    text.lines().count()
}

#[track_caller]
fn has_begun(run: &Path) {
    until("it makes no steps", || steps(run) >= 3);
}

/// Sends a signal to processes, and to process groups where a number is negative, right after each other.
fn signal(name: &str, to: &[i64]) {
    let to: Vec<String> = to.iter().map(i64::to_string).collect();
    let sent = Command::new("kill")
        .args([name, "--"])
        .args(to)
        .status()
        .unwrap();
    assert!(sent.success());
}

fn id(child: &Child) -> i64 {
    child.id().into()
}

/// The stderr of a process that a signal ended after it saved, and the step it saved.
#[track_caller]
fn saved(mut child: Child, run: &Path) -> (String, usize) {
    let end = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("the run went on after the signal");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    let words = "interrupted; everything is saved: continue with --resume\n";
    assert!(said.ends_with(words), "{said}");
    let steps = steps(run);
    let checkpoint = run.join(format!("checkpoints/step-{steps}"));
    assert!(
        checkpoint.join("optimizer.safetensors").exists(),
        "{steps}: {said}"
    );
    assert!(!checkpoint.with_extension("tmp").exists());
    (said, steps)
}

/// Every file below a run folder except the timing, which the seed does not determine, and one checkpoint.
fn bytes(run: &Path, but: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![run.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("timing.jsonl") || path.ends_with(but) {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(run).unwrap().to_path_buf();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[track_caller]
fn same(run: &Path, but: &str, uninterrupted: &Path) {
    let (found, expected) = (bytes(run, but), bytes(uninterrupted, but));
    let names = |all: &BTreeMap<PathBuf, _>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (name, content) in expected {
        assert!(found[&name] == content, "{}", name.display());
    }
}

/// A program that scores by the length of what it is asked. As long as there is no file `mended`, it
/// answers `None` when it is asked for the 50th time, in the seventh step, or, where there is a file
/// `dies`, ends then and whenever it is started again.
const JUDGE: &str = "#!/bin/sh
if [ -e broken ] && [ ! -e mended ]; then exit 1; fi
n=0
while read -r line; do n=$((n+1))
if [ $n -ne 50 ] || [ -e mended ]; then echo \"${#line}\"
elif [ -e dies ]; then touch broken; exit 1
else echo None; fi
done
";

#[test]
fn a_reward_program_that_returns_no_number_in_step_seven() {
    let folder = tiny();
    let folder = folder.path();
    let judge = folder.join("judge");
    fs::write(&judge, JUDGE).unwrap();
    fs::set_permissions(&judge, fs::Permissions::from_mode(0o755)).unwrap();
    let mended = folder.join("mended");
    fs::write(&mended, "").unwrap();
    let more = "--reward command:./judge --set train.iterations=9 --set train.checkpoints=2 --out";
    let whole = train(folder, &format!("{more} whole"));
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    for run in ["none", "died"] {
        fs::remove_file(&mended).unwrap();
        if run == "died" {
            fs::write(folder.join("dies"), "").unwrap();
        }
        let output = train(folder, &format!("{more} {run}"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with("error: in step 7 of 9: reward command"),
            "{said}"
        );
        let left = format!("; {run}/checkpoints/step-6 is complete: continue with --resume");
        assert!(last.ends_with(&left), "{said}");
        fs::write(&mended, "").unwrap();
        let resumed = resume(folder, run);
        assert!(resumed.status.success(), "{}", text(&resumed.stderr));
        same(&folder.join(run), "step-6", &folder.join("whole"));
    }
}

/// An endpoint that scores two steps of eight responses and then returns status 500.
#[test]
fn an_endpoint_that_returns_500_five_times() {
    let folder = tiny();
    let folder = folder.path();
    let scores: Responder = |body| {
        let responses = body["responses"].as_array().unwrap().len();
        Some((200, json!(vec![0.5; responses]).to_string()))
    };
    let broken: Responder = |_| Some((500, "out of memory".into()));
    let answers = [scores, scores].into_iter().chain([broken; 5]);
    let server = RewardEndpoint::start(answers);
    let url = server.url();
    let output = train(
        folder,
        &format!("--reward {url} --set train.iterations=9 --set train.checkpoints=1 --out run"),
    );
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(server.requests(), 7);
    let last = said.lines().last().unwrap();
    for part in [
        "in step 3 of 9: ",
        "5 times; run/checkpoints/step-2 is complete: continue with --resume",
    ] {
        assert!(last.contains(part), "{said}");
    }
    assert!(
        folder
            .join("run/checkpoints/step-2/optimizer.safetensors")
            .exists()
    );
}

/// A program that scores, and from the 40th question on says nothing for as long as there is no file
/// `mended`; its process is in the file `pid`.
const HANGS: &str = "#!/bin/sh
echo $$ > pid
n=0
while read -r line; do n=$((n+1))
if [ $n -eq 40 ] && [ ! -e mended ]; then touch hangs; exec sleep 300; fi
echo \"${#line}\"
done
";

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn ctrl_c_while_the_reward_hangs_in_step_five() {
    let folder = tiny();
    let folder = folder.path();
    program(&folder.join("judge"), HANGS);
    let mended = folder.join("mended");
    fs::write(&mended, "").unwrap();
    let more = "--reward command:./judge --set train.iterations=7 --set train.checkpoints=1 --out";
    let whole = train(folder, &format!("{more} whole"));
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    fs::remove_file(&mended).unwrap();
    let child = start(folder, &format!("{more} run"));
    until("it does not hang", || folder.join("hangs").exists());
    let began = Instant::now();
    signal("-INT", &[id(&child)]);
    let (_, steps) = saved(child, &folder.join("run"));
    assert_eq!(steps, 4);
    assert!(began.elapsed() < Duration::from_secs(30));
    fs::write(&mended, "").unwrap();
    let resumed = resume(folder, "run");
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    same(&folder.join("run"), "step-4", &folder.join("whole"));
}

#[test]
fn ctrl_c_while_the_endpoint_does_not_reply() {
    let folder = tiny();
    let folder = folder.path();
    let scores: Responder = |body| {
        let responses = body["responses"].as_array().unwrap().len();
        Some((200, json!(vec![0.5; responses]).to_string()))
    };
    // It accepts the request and closes the connection a minute later.
    let silent: Responder = |_| {
        std::thread::sleep(Duration::from_secs(60));
        None
    };
    let server = RewardEndpoint::start([scores, scores, silent]);
    let url = server.url();
    let more =
        format!("--reward {url} --set train.iterations=9 --set train.checkpoints=1 --out run");
    let child = start(folder, &more);
    let run = folder.join("run");
    until("it makes no steps", || steps(&run) == 2);
    std::thread::sleep(Duration::from_millis(100));
    signal("-INT", &[id(&child)]);
    let began = Instant::now();
    let (_, steps) = saved(child, &run);
    assert_eq!(steps, 2);
    assert!(began.elapsed() < Duration::from_secs(30));
}

/// In the last step it prints one score too many, too late to be noticed in that step.
#[test]
fn a_reward_program_that_prints_one_score_too_many() {
    let folder = tiny();
    let folder = folder.path();
    let judge = "#!/bin/sh\nn=0\nwhile read -r line; do n=$((n+1)); echo $n
if [ $n -eq 16 ]; then sleep 0.1; echo 5; fi; done\necho that is all\n";
    program(&folder.join("judge"), judge);
    let more = "--reward command:./judge --set train.checkpoints=1 --out";
    let output = train(folder, &format!("{more} run --set train.iterations=2"));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap();
    for part in [
        "error: in step 2 of 2: reward command `./judge`: wrote a line too many: `5`, after its \
         answers to batch 2 of this process: those may belong to other responses; ",
        "run/checkpoints/step-1 is complete: continue with --resume",
    ] {
        assert!(last.contains(part), "{said}");
    }
    // Its output at exit is not a score.
    let output = train(folder, &format!("{more} short --set train.iterations=1"));
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_run_with_a_script_as_reward_is_resumed_from_another_folder() {
    let folder = tiny();
    let folder = folder.path();
    program(&folder.join("judge"), HANGS);
    fs::write(folder.join("mended"), "").unwrap();
    fs::write(folder.join("words"), "").unwrap();
    // The program has two files: its executable and its argument.
    let more = "--set train.iterations=4 --set train.checkpoints=4 --out run";
    let mut all = arguments(more);
    all.extend(["--reward", "command:./judge words"].map(str::to_string));
    let output = rlhf(folder, &all.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run = folder.join("run");
    // As before its first checkpoint.
    for part in ["checkpoints", "final"] {
        fs::remove_dir_all(run.join(part)).unwrap();
    }
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("mended"), "").unwrap();
    let before = bytes(&run, "none");
    fs::copy(folder.join("judge"), other.join("judge")).unwrap();
    let refused = resume(&other, "../run");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let path = fs::canonicalize(folder.join("words")).unwrap();
    for part in [
        "error: words (reward.program[1]): not found from this folder; ".to_string(),
        format!("was started with {}. ", path.display()),
    ] {
        assert!(said.contains(&part), "{said}");
    }
    assert!(bytes(&run, "none") == before);
    let resumed = resume(folder, "run");
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    assert!(
        !text(&resumed.stderr).contains("changed"),
        "{}",
        text(&resumed.stderr)
    );
}

/// Nothing has been computed yet, so nothing is saved.
#[test]
fn ctrl_c_while_the_reward_hangs_in_the_first_step() {
    let folder = tiny();
    let folder = folder.path();
    program(&folder.join("judge"), &HANGS.replace("40", "2"));
    let more = "--reward command:./judge --set train.iterations=2 --out run";
    let child = start(folder, more);
    until("it does not hang", || folder.join("hangs").exists());
    signal("-INT", &[id(&child)]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    fs::write(folder.join("mended"), "").unwrap();
    let resumed = resume(folder, "run");
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    assert_eq!(rlhf_rows(&folder.join("run")), [0, 1]);
}

#[test]
fn timeout_signals_the_run_and_its_group() {
    let folder = tiny();
    let folder = folder.path();
    // The program itself where there is one, and what it does.
    let timeout = ["--preserve-status", "1000", env!("CARGO_BIN_EXE_rlhf")];
    let timeout = timeout.map(str::to_string).to_vec();
    let wrapped = |run: &str| {
        let all = arguments(&format!("{REWARD} {ENDLESS} --out {run}"));
        spawn(folder, "timeout", &[timeout.clone(), all].concat())
    };
    if Command::new("timeout").arg("--version").output().is_ok() {
        let run = folder.join("wrapped");
        let child = wrapped("wrapped");
        has_begun(&run);
        signal("-TERM", &[id(&child)]);
        saved(child, &run);
    }
    let more = format!("{REWARD} --set train.iterations=2000 --set train.checkpoints=1 --out");
    let run = folder.join("grouped");
    let child = start(folder, &format!("{more} grouped"));
    has_begun(&run);
    signal("-TERM", &[id(&child), -id(&child), -id(&child)]);
    let (_, steps) = saved(child, &run);
    let resumed = resume(folder, "grouped");
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    let whole = train(folder, &format!("{more} whole"));
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    same(&run, &format!("step-{steps}"), &folder.join("whole"));
}

#[test]
fn the_terminal_closed() {
    let folder = tiny();
    let run = folder.path().join("run");
    // These tests may run below nohup themselves: the run must not inherit that.
    let whole = format!("{REWARD} {ENDLESS} --out run");
    let mut line: Vec<String> = ["-e", "$SIG{HUP} = 'DEFAULT'; exec @ARGV or die"]
        .map(str::to_string)
        .to_vec();
    line.push(env!("CARGO_BIN_EXE_rlhf").into());
    line.extend(arguments(&whole));
    let child = spawn(folder.path(), "perl", &line);
    has_begun(&run);
    signal("-HUP", &[id(&child)]);
    saved(child, &run);
}

#[test]
fn the_terminal_closed_and_the_run_was_started_with_nohup() {
    let folder = tiny();
    let run = folder.path().join("run");
    let all = arguments(&format!("{REWARD} {ENDLESS} --out run")).join(" ");
    let line = format!("trap '' HUP; exec '{}' {all}", env!("CARGO_BIN_EXE_rlhf"));
    let child = spawn(folder.path(), "sh", &["-c".into(), line]);
    has_begun(&run);
    signal("-HUP", &[id(&child)]);
    let before = steps(&run);
    until("it was stopped", || steps(&run) > before + 3);
    signal("-INT", &[id(&child)]);
    saved(child, &run);
}

/// The second signal arrives while the process is paused in the middle of saving, two seconds after
/// the first one.
#[test]
fn a_second_ctrl_c_while_the_policy_is_saved() {
    let folder = world(256, 4);
    let folder = folder.path();
    let run = folder.join("run");
    let child = start(
        folder,
        &format!(
            "{REWARD} {ENDLESS} --set train.checkpoints=1 --set sampling.max_new_tokens=2 --out run"
        ),
    );
    has_begun(&run);
    let pid = id(&child);
    signal("-INT", &[pid]);
    let first = Instant::now();
    let unfinished = || {
        let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten();
        let mut names = entries.map(|entry| entry.unwrap().path());
        names.any(|path| {
            path.join("config.json").exists() && path.to_string_lossy().ends_with("tmp")
        })
    };
    until("nothing is saved", unfinished);
    signal("-STOP", &[pid]);
    assert!(unfinished(), "it was stopped too late to be saving");
    std::thread::sleep(Duration::from_millis(2200).saturating_sub(first.elapsed()));
    signal("-INT", &[pid]);
    signal("-CONT", &[pid]);
    let (_, steps) = saved(child, &run);
    let checkpoint = format!("run/checkpoints/step-{steps}");
    done(
        folder,
        &["generate", "--model", &checkpoint, "--prompt", "1"],
    );
}

#[test]
fn ctrl_c_while_the_trained_model_is_shown() {
    let folder = tiny();
    let folder = folder.path();
    let run = folder.join("run");
    // A second process of the reward is started to score the samples; it never replies.
    let program = "#!/bin/sh\nif [ -e started ]; then touch again; while read -r line; do :; done; exit; fi\n\
                   touch started\nwhile read -r line; do echo 1; done\n";
    let path = folder.join("judge");
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let more = "--reward command:./judge --set data.held_out=prompts.jsonl --set train.iterations=3 --out run";
    let child = start(folder, more);
    until("the second process of the reward has started", || {
        folder.join("again").exists()
    });
    signal("-TERM", &[id(&child)]);
    let (_, steps) = saved(child, &run);
    assert!(steps == 3 && run.join("final/model.safetensors").exists());
    fs::remove_file(folder.join("started")).unwrap();
    let done = resume(folder, "run");
    // The resumed run makes no step, so the first process scores the samples.
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(run.join("before_after.jsonl").exists());
}

/// The reward program and its child processes end with a run that a signal ends at once.
#[test]
fn ctrl_c_while_the_reward_hangs_after_the_last_step() {
    let folder = tiny();
    let folder = folder.path();
    // A second process of the reward is started to score the samples.
    let judge = "#!/bin/sh\nif [ -e started ]; then sleep 300 & echo $! > child; echo $$ > pid; touch again; \
                 wait; fi\ntouch started\nwhile read -r line; do echo 1; done\n";
    program(&folder.join("judge"), judge);
    let more = "--reward command:./judge --set data.held_out=prompts.jsonl --set train.iterations=3 --out run";
    let child = start(folder, more);
    until("the second process of the reward has started", || {
        folder.join("again").exists()
    });
    signal("-INT", &[id(&child)]);
    let (_, steps) = saved(child, &folder.join("run"));
    assert_eq!(steps, 3);
    for name in ["pid", "child"] {
        let pid = fs::read_to_string(folder.join(name)).unwrap();
        until("it still runs", || !runs(pid.trim()));
    }
}

/// Whether a process exists and is not a zombie.
fn runs(pid: &str) -> bool {
    let ps = Command::new("ps")
        .args(["-o", "stat=", "-p", pid])
        .output()
        .unwrap();
    let state = text(&ps.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

#[test]
fn two_processes_on_one_run_folder() {
    let folder = tiny();
    let folder = folder.path();
    let run = folder.join("run");
    let more = format!("{REWARD} {ENDLESS} --set train.checkpoints=1000000 --out run");
    let child = start(folder, &more);
    has_begun(&run);
    let holder = format!("run is in use by process {} on ", child.id());
    let config = fs::read(run.join("config.toml")).unwrap();
    for other in [
        resume(folder, "run"),
        train(folder, &format!("{more} --overwrite")),
        train(folder, &more),
        train(folder, &format!("{more} --dry-run")),
    ] {
        let said = text(&other.stderr);
        assert_eq!(other.status.code(), Some(1), "{said}");
        assert!(said.contains(&holder), "{said}");
    }
    // Commands that only read are not blocked.
    done(
        folder,
        &[
            "generate",
            "--model",
            "run/checkpoints/step-1",
            "--prompt",
            "1",
        ],
    );
    assert_eq!(fs::read(run.join("config.toml")).unwrap(), config);
    let before = steps(&run);
    until("it was stopped", || steps(&run) > before);
    signal("-INT", &[id(&child)]);
    let (_, steps) = saved(child, &run);
    let rows = rlhf_rows(&run);
    assert_eq!(rows, (0..steps).collect::<Vec<_>>());
    assert_eq!(
        fs::read_dir(run.join("checkpoints")).unwrap().count(),
        steps
    );
    assert_eq!(fs::read(run.join(".lock")).unwrap(), b"");
}

fn rlhf_rows(run: &Path) -> Vec<usize> {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let step = |row: serde_json::Value| usize::try_from(row["step"].as_u64().unwrap()).unwrap();
    crate::program::rows(&metrics)
        .into_iter()
        .map(step)
        .collect()
}

#[test]
fn a_killed_process_holds_no_run_folder() {
    let folder = tiny();
    let folder = folder.path();
    let run = folder.join("run");
    let more = format!("{REWARD} --set train.iterations=2000 --out run");
    let mut child = start(folder, &more);
    has_begun(&run);
    signal("-KILL", &[id(&child)]);
    child.wait().unwrap();
    assert!(!fs::read(run.join(".lock")).unwrap().is_empty());
    let resumed = resume(folder, "run");
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
}

#[test]
fn five_runs_started_at_once_without_a_folder() {
    let folder = tiny();
    let folder = folder.path();
    let plan = train(
        folder,
        &format!("{REWARD} --set train.iterations=2 --dry-run"),
    );
    assert!(plan.status.success() && !folder.join("runs").exists());
    let more = format!("{REWARD} --set train.iterations=2");
    let children: Vec<Child> = (0..5).map(|_| start(folder, &more)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    for number in 0..5 {
        let run = folder.join(format!("runs/ppo-kl-00{number}"));
        assert_eq!(rlhf_rows(&run), [0, 1]);
        same(&run, "none", &folder.join("runs/ppo-kl-000"));
    }
    assert_eq!(fs::read_dir(folder.join("runs")).unwrap().count(), 5);
}

#[test]
fn two_runs_started_at_once_in_one_folder() {
    let folder = tiny();
    let folder = folder.path();
    let more = format!("{REWARD} --set train.iterations=2 --out run");
    let children = [start(folder, &more), start(folder, &more)];
    let mut codes = children.map(|child| {
        let output = child.wait_with_output().unwrap();
        output.status.code()
    });
    codes.sort();
    assert_eq!(codes, [Some(0), Some(1)]);
    assert_eq!(rlhf_rows(&folder.join("run")), [0, 1]);
}
