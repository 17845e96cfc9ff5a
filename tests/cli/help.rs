//! Runs the examples of every help text, one after the other.

use crate::program::{rlhf, text};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Settings that make the training run of an example take seconds.
const SHORT: &str = " --set train.iterations=1 --set sampling.rollouts=8 --set eval.prompts=4 \
    --set eval.prior_samples=8";

/// A folder with everything that the examples name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let world = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/demo/world");
    for (from, to) in [("model", "gpt2"), ("reward", "reward")] {
        fs::create_dir(folder.path().join(to)).unwrap();
        for file in fs::read_dir(world.join(from)).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap();
            fs::copy(&file, folder.path().join(to).join(name)).unwrap();
        }
    }
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(world.join(name)).unwrap();
        text.lines().take(24).map(str::to_string).collect()
    };
    let write = |name: &str, content: String| fs::write(folder.path().join(name), content).unwrap();
    let pairs = lines("pairs.jsonl").join("\n");
    write(
        "completions.jsonl",
        pairs.replace("\"chosen\"", "\"completion\""),
    );
    write("pairs.jsonl", pairs);
    write("prompts.jsonl", lines("prompts.jsonl").join("\n"));
    write("words.txt", lines("lexicon.txt").join("\n"));
    let config =
        r#"{"model_type": "gpt2", "vocab_size": 11, "n_embd": 8, "n_layer": 1, "n_head": 2}"#;
    write("config.json", config.into());
    folder
}

/// Runs a line of a shell.
fn shell(folder: &Path, line: &str) {
    let program = format!(
        "rlhf() {{ '{}' \"$@\"; }}; {line}",
        env!("CARGO_BIN_EXE_rlhf")
    );
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &program])
        .current_dir(folder)
        .output()
        .unwrap();
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{line}\n{out}\n{said}");
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_string)
        .collect()
}

/// Every command with its help text, the program itself first.
fn helps(folder: &Path) -> Vec<(String, String)> {
    let mut waiting = vec![String::new()];
    let mut all = Vec::new();
    while let Some(command) = waiting.pop() {
        let words = command.split_whitespace().chain(["--help"]);
        let output = rlhf(folder, &words.collect::<Vec<_>>());
        assert!(output.status.success(), "{command}");
        let help = text(&output.stdout);
        let inner = subcommands(&help).into_iter().rev();
        waiting.extend(inner.map(|name| format!("{command} {name}")));
        all.push((command, help));
    }
    all
}

#[test]
fn every_example_works() {
    let folder = folder();
    let folder = folder.path();
    for objective in [
        "ppo-kl --data prompts.jsonl --reward lexicon:words.txt",
        "dpo --lora 2 --data pairs.jsonl --set train.epochs=1 --set train.batch_size=8",
        "sft --data completions.jsonl --set train.epochs=1",
    ] {
        let short = if objective.starts_with("ppo") {
            SHORT
        } else {
            ""
        };
        shell(
            folder,
            &format!("rlhf train --model gpt2 --objective {objective}{short}"),
        );
    }
    let helps = helps(folder);
    assert!(helps.len() >= 9, "{helps:?}");
    for (command, help) in &helps {
        if let Some(problem) = help.split("\n  {\"vocab\"").nth(1) {
            let problem = problem.split("\n\n").next().unwrap();
            fs::write(folder.join("two.json"), format!("{{\"vocab\"{problem}")).unwrap();
        }
        let help = help.replace("\\\n", " ");
        let example = |line: &&str| line.starts_with("  ") && line.contains("rlhf ");
        let examples: Vec<&str> = help
            .lines()
            .skip_while(|line| !line.starts_with("Example"))
            .filter(example)
            .collect();
        let group = help.contains("\nCommands:\n") && !command.is_empty();
        assert!(group || !examples.is_empty(), "no example: {help}");
        for example in examples {
            // One takes minutes and data, the other needs the network.
            if example.contains("rlhf bench") || example.contains("model fetch") {
                continue;
            }
            if example.contains("rlhf train") {
                shell(folder, &format!("{example} --dry-run"));
                shell(folder, &format!("{example}{SHORT}"));
            } else {
                shell(folder, example);
            }
        }
    }
}

#[test]
fn help_texts_fit_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    for (command, help) in helps(folder.path()) {
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{command}: {line}");
        }
    }
}
