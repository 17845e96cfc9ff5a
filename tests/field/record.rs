//! Runs whose files changed between start and resume, and saved prior log-probs.

use crate::program::{rlhf, rows, text};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A folder with a tiny random checkpoint without a tokenizer in `model`, another one in `other`,
/// prompts and pairs.
fn world() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write(
        "config.json",
        r#"{"model_type": "gpt2", "vocab_size": 11, "n_positions": 12, "n_embd": 8, "n_layer": 1,
            "n_head": 2, "eos_token_id": 10, "bos_token_id": 10}"#,
    );
    for (name, seed) in [("model", "0"), ("other", "1")] {
        done(
            folder.path(),
            &format!("model init config.json {name} --seed {seed}"),
        );
    }
    let prompts = (1..9).map(|id| format!("{{\"prompt\": \"{id}\"}}\n"));
    write("prompts.jsonl", &prompts.collect::<String>());
    let pair = |i: u32| {
        let (x, y, z) = (i % 9 + 1, i % 7 + 1, i % 5 + 2);
        format!("{{\"prompt\": \"{x} {z}\", \"chosen\": \"{y} 3\", \"rejected\": \"{z} {x} 5\"}}\n")
    };
    write("pairs.jsonl", &(0..200).map(pair).collect::<String>());
    write("words.txt", "3\t1.0\n");
    folder
}

fn run(folder: &Path, line: &str) -> (Option<i32>, String) {
    let output = rlhf(folder, &line.split_whitespace().collect::<Vec<_>>());
    (output.status.code(), text(&output.stderr))
}

#[track_caller]
fn done(folder: &Path, line: &str) -> String {
    let (code, said) = run(folder, line);
    assert_eq!(code, Some(0), "{line}\n{said}");
    said
}

const PPO: &str = "train --model model --prior other --data prompts.jsonl --reward lexicon:words.txt \
    --set sampling.rollouts=8 --set sampling.max_new_tokens=4 --set train.iterations=2";
const RESUME: &str = "train --resume --out run";

fn record(run: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(run.join("run.json")).unwrap()).unwrap()
}

/// Reverts a run to its state before the first checkpoint.
fn rewind(run: &Path) {
    for part in ["checkpoints", "final"] {
        fs::remove_dir_all(run.join(part)).unwrap();
    }
}

/// Reverts a finished run to its state after the last checkpoint.
fn unfinish(run: &Path) {
    fs::remove_dir_all(run.join("final")).unwrap();
}

/// Every file of a run except those that depend on time.
fn bytes(run: &Path) -> Vec<(String, Vec<u8>)> {
    let names = [
        "metrics.jsonl",
        "final/model.safetensors",
        "prior_log_probs/train.jsonl",
        "prior_log_probs/held-out.jsonl",
        "run.json",
    ];
    let read = |name: &str| Some((name.to_string(), fs::read(run.join(name)).ok()?));
    names.into_iter().filter_map(read).collect()
}

#[test]
fn run_json_lists_every_file_with_the_checksum_of_sha256sum() {
    let folder = world();
    let folder = folder.path();
    done(
        folder,
        &format!("{PPO} --set train.checkpoints=2 --out run"),
    );
    let about = record(&folder.join("run"));
    let files = about["files"].as_array().unwrap();
    let named: Vec<_> = files
        .iter()
        .map(|file| {
            let name = file["name"].as_str().unwrap_or("");
            format!("{} {name}", file["setting"].as_str().unwrap())
        })
        .collect();
    let expected = [
        "model.path config.json",
        "model.path model.safetensors",
        "data.train ",
        "prior.model config.json",
        "prior.model model.safetensors",
        "reward ",
    ];
    assert_eq!(named, expected);
    for file in files {
        let path = file["path"].as_str().unwrap();
        let output = Command::new("sha256sum").arg(path).output().unwrap();
        let sum = text(&output.stdout);
        assert_eq!(
            sum.split_whitespace().next(),
            file["sha256"].as_str(),
            "{path}"
        );
        assert_eq!(file["size"], fs::metadata(path).unwrap().len(), "{path}");
    }
    assert!(about.get("accepted_changes").is_none());
}

#[test]
fn resumed_with_other_files_than_it_was_started_with() {
    let folder = world();
    let folder = folder.path();
    let out = folder.join("run");
    done(
        folder,
        &format!("{PPO} --set train.checkpoints=2 --out run"),
    );
    let whole = bytes(&out);
    for (path, other, setting) in [
        (
            "other/model.safetensors",
            "model/model.safetensors",
            "prior.model",
        ),
        (
            "model/model.safetensors",
            "other/model.safetensors",
            "model.path",
        ),
        ("words.txt", "prompts.jsonl", "reward"),
        ("prompts.jsonl", "words.txt", "data.train"),
    ] {
        rewind(&out);
        let before = bytes(&out);
        let kept = fs::read(folder.join(path)).unwrap();
        let sum = |of: &Path| {
            let output = Command::new("sha256sum").arg(of).output().unwrap();
            text(&output.stdout)[..64].to_string()
        };
        let (old, new) = (sum(&folder.join(path)), sum(&folder.join(other)));
        fs::copy(folder.join(other), folder.join(path)).unwrap();
        let (code, said) = run(folder, RESUME);
        assert_eq!(code, Some(1), "{said}");
        for part in [
            path,
            setting,
            &old,
            &new,
            "changed since the run in run was started",
            "--accept-changes",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(bytes(&out), before, "nothing is touched");
        // A restored file with another modification time is not a change.
        fs::write(folder.join(path), kept).unwrap();
        done(folder, RESUME);
        assert_eq!(bytes(&out), whole, "{path}");
    }
}

#[test]
fn an_accepted_change_is_recorded_and_not_reported_again() {
    let folder = world();
    let folder = folder.path();
    let out = folder.join("run");
    done(
        folder,
        &format!("{PPO} --set train.checkpoints=2 --out run"),
    );
    unfinish(&out);
    let recorded = record(&out)["files"][5].clone();
    fs::write(folder.join("words.txt"), "3\t1.0\n4\t-1.0\n").unwrap();
    done(folder, &format!("{RESUME} --accept-changes"));
    let about = record(&out);
    let change = &about["accepted_changes"][0];
    assert_eq!(
        (&change["step"], &change["setting"]),
        (&2.into(), &"reward".into())
    );
    assert_eq!(change["from"]["sha256"], recorded["sha256"]);
    assert_eq!(change["to"]["sha256"], about["files"][5]["sha256"]);
    assert_ne!(change["from"]["sha256"], change["to"]["sha256"]);
    unfinish(&out);
    done(folder, RESUME);
    assert_eq!(
        record(&out)["accepted_changes"].as_array().unwrap().len(),
        1
    );
    let (code, said) = run(
        folder,
        "train --accept-changes --model model --data prompts.jsonl",
    );
    assert!(code == Some(2) && said.contains("--resume"), "{said}");
}

#[test]
fn a_tokenizer_or_eos_file_that_appears_is_a_change() {
    let folder = world();
    let folder = folder.path();
    let out = folder.join("run");
    done(
        folder,
        &format!("{PPO} --set train.checkpoints=2 --out run"),
    );
    rewind(&out);
    let added = folder.join("model/generation_config.json");
    fs::write(&added, r#"{"eos_token_id": 10}"#).unwrap();
    let (code, said) = run(folder, RESUME);
    assert!(code == Some(1) && said.contains("absent before"), "{said}");
    fs::rename(&added, folder.join("model/notes.json")).unwrap();
    done(folder, RESUME);
}

#[test]
fn a_file_was_added_to_a_folder_of_data() {
    let folder = world();
    let folder = folder.path();
    let (data, out) = (folder.join("data"), folder.join("run"));
    fs::create_dir(&data).unwrap();
    fs::rename(folder.join("prompts.jsonl"), data.join("train-0.jsonl")).unwrap();
    fs::write(data.join("test-0.jsonl"), "{\"prompt\": \"1\"}\n").unwrap();
    let line = PPO.replace("prompts.jsonl", "data");
    done(
        folder,
        &format!("{line} --set data.held_out_split=test --out run"),
    );
    unfinish(&out);
    fs::write(data.join("README.md"), "not read").unwrap();
    done(folder, RESUME);
    for (name, setting) in [
        ("train-1.jsonl", "data.train"),
        ("test-1.jsonl", "data.held_out_split"),
    ] {
        unfinish(&out);
        fs::write(data.join(name), "{\"prompt\": \"2\"}\n").unwrap();
        let (code, said) = run(folder, RESUME);
        let expected = format!("{name} ({setting}): changed since the run in run was started");
        assert!(code == Some(1) && said.contains(&expected), "{said}");
        fs::remove_file(data.join(name)).unwrap();
        done(folder, RESUME);
    }
}

#[test]
fn files_and_folders_that_were_moved_are_the_same() {
    let folder = world();
    let folder = folder.path();
    let out = folder.join("run");
    done(
        folder,
        &format!("{PPO} --set train.checkpoints=2 --out run"),
    );
    let whole = bytes(&out);
    rewind(&out);
    fs::create_dir(folder.join("away")).unwrap();
    for name in ["other", "prompts.jsonl", "words.txt"] {
        fs::rename(folder.join(name), folder.join("away").join(name)).unwrap();
    }
    let config = out.join("config.toml");
    let mut settings = fs::read_to_string(&config).unwrap();
    for name in ["other", "prompts.jsonl", "words.txt"] {
        settings = settings.replace(
            folder.join(name).to_str().unwrap(),
            folder.join("away").join(name).to_str().unwrap(),
        );
    }
    fs::write(&config, settings).unwrap();
    done(folder, RESUME);
    let model = |all: &[(String, Vec<u8>)]| all[..2].to_vec();
    assert_eq!(model(&bytes(&out)), model(&whole));
    assert!(record(&out).get("accepted_changes").is_none());
}

#[test]
fn edited_settings_are_noted_and_recorded() {
    let folder = world();
    let folder = folder.path();
    let out = folder.join("run");
    done(
        folder,
        &format!("{PPO} --set train.checkpoints=2 --out run"),
    );
    unfinish(&out);
    let config = out.join("config.toml");
    let settings = fs::read_to_string(&config).unwrap();
    assert!(settings.contains("iterations = 2"));
    fs::write(
        &config,
        settings.replace("iterations = 2", "iterations = 3"),
    )
    .unwrap();
    let said = done(folder, RESUME);
    let expected = "train.iterations is 3; the run was started with 2";
    assert!(said.contains(expected), "{said}");
    let change = &record(&out)["accepted_changes"][0];
    assert_eq!(change["setting"], "train.iterations");
    assert_eq!((&change["from"], &change["to"]), (&2.into(), &3.into()));
}

#[test]
fn a_run_of_an_earlier_version_resumes_with_a_note() {
    let folder = world();
    let folder = folder.path();
    let out = folder.join("run");
    done(
        folder,
        &format!("{PPO} --set train.checkpoints=2 --out run"),
    );
    unfinish(&out);
    let mut about = record(&out);
    for name in ["files", "settings"] {
        about.as_object_mut().unwrap().remove(name);
    }
    fs::write(out.join("run.json"), about.to_string()).unwrap();
    let said = done(folder, RESUME);
    assert!(said.contains("holds no checksums"), "{said}");
    assert_eq!(record(&out)["files"].as_array().unwrap().len(), 6);
    unfinish(&out);
    assert!(!done(folder, RESUME).contains("no checksums"));
}

#[test]
fn the_script_of_a_reward_was_edited() {
    let folder = world();
    let folder = folder.path();
    fs::write(
        folder.join("score.sh"),
        "while read -r line; do echo 1; done\n",
    )
    .unwrap();
    let ppo = PPO.replace("lexicon:words.txt", "command:sh|score.sh");
    let line: Vec<String> = format!("{ppo} --set train.checkpoints=2 --out run")
        .split_whitespace()
        .map(|word| word.replace('|', " "))
        .collect();
    let output = rlhf(folder, &line.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", text(&output.stderr));
    rewind(&folder.join("run"));
    fs::write(
        folder.join("score.sh"),
        "while read -r line; do echo 2; done\n",
    )
    .unwrap();
    let (code, said) = run(folder, RESUME);
    assert!(
        code == Some(1) && said.contains("score.sh (reward.program)"),
        "{said}"
    );
}

#[test]
fn evaluation_notes_a_changed_prior() {
    let folder = world();
    let folder = folder.path();
    done(
        folder,
        &format!("{PPO} --set train.checkpoints=1 --out run"),
    );
    let eval = "eval run --prompts prompts.jsonl";
    let said = done(folder, eval);
    assert!(!said.contains("changed since run was trained"), "{said}");
    fs::copy(
        folder.join("model/model.safetensors"),
        folder.join("other/model.safetensors"),
    )
    .unwrap();
    let said = done(folder, eval);
    assert_eq!(
        said.matches("changed since run was trained").count(),
        1,
        "{said}"
    );
    assert!(said.contains("model.safetensors (prior.model)"), "{said}");
}

const DPO: &str = "train --objective dpo --model model --prior other --data pairs.jsonl \
    --set train.epochs=1 --set train.batch_size=50";
const KTO: &str = "train --objective kto --model model --prior other --data pairs.jsonl \
    --set train.epochs=1 --set train.batch_size=100";

/// Most of the pairs are held out and a batch is one pair, so that the prior pass takes most of the run and
/// has many batches between which it can be stopped.
const SLOW: &str = "--set data.held_out_fraction=0.95 --set train.micro_batch_tokens=8";

/// Signals a run when the file of held-out prior log-probs has reached a number of bytes.
fn stopped_in_the_pass(
    folder: &Path,
    line: &str,
    out: &str,
    (signal, bytes): (&str, u64),
) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rlhf"))
        .args(format!("{line} {SLOW} --out {out}").split_whitespace())
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let kept = folder.join(out).join("prior_log_probs/held-out.jsonl");
    let size = || fs::metadata(&kept).map_or(0, |metadata| metadata.len());
    while size() < bytes && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(100));
    }
    let id = child.id().to_string();
    Command::new("kill").args([signal, &id]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stderr))
}

#[test]
fn two_thousand_pairs_whose_prior_pass_is_interrupted() {
    let folder = world();
    let folder = folder.path();
    // A slower network and many held-out pairs: the prior pass takes most of the run.
    let config = fs::read_to_string(folder.join("config.json")).unwrap();
    let wide = config.replace("\"n_embd\": 8", "\"n_embd\": 64");
    fs::write(folder.join("config.json"), wide).unwrap();
    for name in ["model", "other"] {
        fs::remove_dir_all(folder.join(name)).unwrap();
        done(folder, &format!("model init config.json {name} --seed 5"));
    }
    let pairs = fs::read_to_string(folder.join("pairs.jsonl")).unwrap();
    fs::write(folder.join("pairs.jsonl"), pairs.repeat(10)).unwrap();
    for (name, objective, stops) in [
        ("dpo", DPO, &[("-INT", 5000), ("-KILL", 500)][..]),
        ("kto", KTO, &[("-TERM", 1000)]),
    ] {
        let whole = format!("{name}-whole");
        let said = done(folder, &format!("{objective} {SLOW} --out {whole}"));
        assert!(said.contains("prior reads "), "{said}");
        let whole = bytes(&folder.join(whole));
        assert_eq!(whole.len(), 5);
        for stop in stops {
            let out = format!("{name}{}", stop.0);
            let (code, said) = stopped_in_the_pass(folder, objective, &out, *stop);
            let run = folder.join(&out);
            assert!(
                !run.join("prior_log_probs/train.jsonl").exists(),
                "it was stopped in the pass: {said}"
            );
            if stop.0 != "-KILL" {
                assert_eq!(code, Some(130), "{said}");
                assert!(said.ends_with("continue with --resume\n"), "{said}");
            }
            let said = done(folder, &format!("train --resume --out {out}"));
            assert!(said.contains("prior_log_probs/held-out.jsonl"), "{said}");
            assert!(bytes(&run) == whole, "{out}");
        }
    }
}

#[test]
fn damaged_or_foreign_prior_log_probs_are_recomputed() {
    let folder = world();
    let folder = folder.path();
    let out = folder.join("run");
    done(
        folder,
        &format!("{DPO} --set train.micro_batch_tokens=30 --out run"),
    );
    let whole = bytes(&out);
    let path = out.join("prior_log_probs/train.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() > 4);
    // A digit of the third batch.
    let line = text.lines().nth(3).unwrap();
    let (before, after) = line.split_once('.').unwrap();
    let digit = if after.starts_with('1') { '2' } else { '1' };
    let damaged = text.replace(line, &format!("{before}.{digit}{}", &after[1..]));
    let all_again = text.replacen("identity\":\"", "identity\":\"0", 1);
    for (content, expected) in [
        (&text, "reusing the prior log-probs of"),
        (&damaged, "damaged or truncated"),
        (
            &all_again,
            "belongs to another prior, other data or other settings",
        ),
    ] {
        rewind(&out);
        fs::write(&path, content).unwrap();
        let said = done(folder, RESUME);
        assert!(said.contains(expected), "{said}");
        assert!(bytes(&out) == whole, "{expected}");
    }
    // A changed prior, with --accept-changes.
    rewind(&out);
    fs::copy(
        folder.join("model/model.safetensors"),
        folder.join("other/model.safetensors"),
    )
    .unwrap();
    let said = done(folder, &format!("{RESUME} --accept-changes"));
    assert!(said.contains("belongs to another prior"), "{said}");
    let done = rows(&fs::read_to_string(out.join("metrics.jsonl")).unwrap());
    let first = done[0]["rewards/margins"].as_f64().unwrap();
    assert_eq!(first, 0.0, "the prior is the model now");
}
