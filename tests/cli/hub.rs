//! The program and a hub on loopback: everything named `owner/name`.

use crate::program::text;
use rlhf_demo::FILES;
use rlhf_loopback::Hub;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const TOKEN: &str = "hf_5ecret";

/// The files of the small world below a folder of it.
fn files(folder: &str) -> Vec<(&'static str, &'static [u8])> {
    let files = FILES.iter().filter_map(|(path, bytes)| {
        let name = path.strip_prefix(folder)?.strip_prefix('/')?;
        Some((name, *bytes))
    });
    files.collect()
}

/// The first lines of a file of it.
fn lines(name: &str, count: usize) -> Vec<u8> {
    let (_, bytes) = FILES.iter().find(|(path, _)| *path == name).unwrap();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').take(count);
    lines.flatten().copied().collect()
}

fn hub() -> Hub {
    let server = Hub::start();
    server.publish("small/world", &files("model"));
    server.publish("small/judge", &files("reward"));
    let data = |name: &str, rows: &[u8]| {
        let files = [("README.md", b"rows".as_slice()), ("train.jsonl", rows)];
        server.publish(&format!("datasets/small/{name}"), &files);
    };
    data("pairs", &lines("pairs.jsonl", 24));
    data("prompts", &lines("prompts.jsonl", 8));
    let [few, some, more] = [3, 5, 7].map(|count| lines("pairs.jsonl", count));
    let table = b"7\tthe film\r\n8\tthe plot\r\n".as_slice();
    let parts: [(&str, &[u8]); 5] = [
        ("README.md", b"rows"),
        ("one/train.jsonl", &few),
        ("one/test.jsonl", &some),
        ("two/train.jsonl", &more),
        ("table.tsv", table),
    ];
    server.publish("datasets/small/parts", &parts);
    server
}

/// Runs the program with a cache in `folder`, and other variables.
fn rlhf(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rlhf"));
    for name in [
        "HF_HUB_CACHE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
    ] {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .env("HF_HOME", folder.join("home"))
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap()
}

fn succeeds(folder: &Path, variables: &[(&str, &str)], arguments: &str) -> String {
    let output = rlhf(folder, variables, &arguments.split(' ').collect::<Vec<_>>());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments}\n{err}");
    assert!(!out.contains(TOKEN) && !err.contains(TOKEN), "{arguments}");
    out
}

const DPO: &str = "train --objective dpo --model small/world --data small/pairs \
    --set train.batch_size=8 --out";
const PPO: &str = "train --objective ppo-kl --model small/world@v1 --reward small/judge \
    --data small/prompts --set train.iterations=2 --set sampling.rollouts=8 \
    --set sampling.max_new_tokens=6 --set eval.prompts=2 --set eval.samples_per_prompt=2 \
    --set data.held_out_at_least=1 --out";

#[test]
fn what_is_named_by_its_repository_trains_and_trains_again_offline() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = hub();
    server.require(TOKEN);
    let endpoint = server.endpoint();
    let hub = [("HF_ENDPOINT", endpoint.as_str()), ("HF_TOKEN", TOKEN)];
    for (command, run) in [(DPO, "dpo"), (PPO, "ppo")] {
        succeeds(folder, &hub, &format!("{command} {run}"));
    }
    let commit = |run: &str, index: usize| -> String {
        let json = fs::read(folder.join(run).join("run.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let one = &json["repositories"][index];
        format!("{one}")
    };
    assert!(
        commit("dpo", 0).starts_with(
            r#"{"kind":"model","repository":"small/world","revision":"main","commit":""#
        )
    );
    assert!(commit("dpo", 1).contains(r#""dataset","repository":"small/pairs""#));
    assert!(commit("ppo", 0).contains(r#""revision":"v1""#));
    assert!(commit("ppo", 2).contains(r#""model","repository":"small/judge""#));
    let kept = fs::read_to_string(folder.join("ppo/config.toml")).unwrap();
    for name in ["small/world@", "small/judge@", "small/prompts@"] {
        assert!(kept.contains(name), "{kept}");
    }

    // The second time the hub is gone, for the program and for good.
    drop(server);
    let offline = [("HF_ENDPOINT", endpoint.as_str()), ("HF_HUB_OFFLINE", "1")];
    for (command, run) in [(DPO, "dpo"), (PPO, "ppo")] {
        succeeds(
            folder,
            &offline,
            &format!("{command} {run}-offline").replace("@v1", ""),
        );
        let metrics = |run: &str| fs::read(folder.join(run).join("metrics.jsonl")).unwrap();
        assert_eq!(metrics(run), metrics(&format!("{run}-offline")));
    }
    let measured = succeeds(folder, &offline, "eval ppo --json");
    assert_eq!(measured.lines().count(), 3, "{measured}");
    let where_it_is = succeeds(folder, &offline, "model fetch small/world");
    let inspected =
        |name: &str| succeeds(folder, &offline, &format!("model inspect {name} --json"));
    assert_eq!(inspected(where_it_is.trim()), inspected("small/world"));
    let drawn = "generate --model small/world --prompts small/prompts --max-new-tokens 4";
    assert_eq!(succeeds(folder, &offline, drawn).lines().count(), 8);

    let written = Command::new("grep")
        .args(["-rl", TOKEN, "."])
        .current_dir(folder)
        .output();
    assert_eq!(text(&written.unwrap().stdout), "");
}

/// A data set of the hub is looked at by its name, one part of it or one folder, with a model of the
/// hub; and what is looked at is what is trained on.
#[test]
fn a_data_set_is_a_folder_with_parts_and_columns() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = hub();
    let endpoint = server.endpoint();
    let hub = [("HF_ENDPOINT", endpoint.as_str())];
    let offline = [("HF_HUB_OFFLINE", "1")];
    for (settings, rows) in [
        ("small/parts", 10),
        ("small/parts@v1 --set data.split=train", 10),
        ("small/parts --set data.split=test", 5),
        ("small/parts --set data.split=one", 3),
        ("small/parts --set data.split=one/test", 5),
        ("small/pairs --set data.split=train", 24),
        (
            "small/parts --set data.split=table.tsv --set data.columns=[\"id\",\"prompt\"]",
            2,
        ),
    ] {
        let check = format!("data check {settings} --model small/world --no-preview --json");
        for variables in [&hub[..], &offline] {
            let report = succeeds(folder, variables, &check);
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            assert_eq!(
                (&report["rows"], &report["unit"]),
                (&rows.into(), &"tokens".into())
            );
        }
    }
    let dry = "train --dry-run --objective dpo --model small/world --data small/parts \
        --set data.held_out_split=one/test --set data.split=two --json";
    let plan = rlhf(folder, &offline, &dry.split(' ').collect::<Vec<_>>());
    assert!(plan.status.success(), "{}", text(&plan.stderr));
    let said = text(&plan.stdout) + &text(&plan.stderr);
    assert!(said.contains("7 pairs to train on, 5 held out"), "{said}");
    let output = rlhf(folder, &hub, &["data", "check", "small/none"]);
    let expected = "small/none: there is no such file or folder, and as a repository: the hub has no \
        data set small/none";
    assert!(
        text(&output.stderr).contains(expected),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_is_nowhere_is_looked_for_twice_and_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = hub();
    let endpoint = server.endpoint();
    let hub = ("HF_ENDPOINT", endpoint.as_str());
    for (arguments, variables, expected) in [
        (
            "model inspect small/none",
            vec![hub],
            "small/none: there is no such file or folder, and as a repository: the hub has no model \
             small/none",
        ),
        (
            "model fetch small/world@v9",
            vec![hub],
            "the hub has no model small/world@v9: no such revision",
        ),
        (
            "train --dry-run --model small/world --data small/world --reward length:1",
            vec![hub],
            "the hub has no data set small/world",
        ),
        (
            "generate --model small/world --prompt x",
            vec![hub, ("HF_HUB_OFFLINE", "1"), ("HF_HUB_CACHE", "empty")],
            "small/world is not in empty, and HF_HUB_OFFLINE forbids downloading it",
        ),
        (
            "model fetch small/world",
            vec![("HF_ENDPOINT", "huggingface")],
            "HF_ENDPOINT = huggingface: expected an address",
        ),
    ] {
        let output = rlhf(
            folder,
            &variables,
            &arguments.split(' ').collect::<Vec<_>>(),
        );
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{arguments}\n{said}");
        assert_eq!(output.status.code(), Some(1), "{arguments}\n{said}");
    }
    // What is here wins, and nobody is asked.
    server.take_requests();
    fs::create_dir_all(folder.join("small/world")).unwrap();
    let output = rlhf(folder, &[hub], &["model", "inspect", "small/world"]);
    assert!(text(&output.stderr).contains("small/world/config.json: No such file"));
    assert!(server.take_requests().is_empty());
}
