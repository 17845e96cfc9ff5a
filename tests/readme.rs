//! Runs the README's commands as written, one after the other, in an empty folder, with a hub on
//! loopback.

use rlhf_loopback::Hub;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Lines of ```sh blocks, a line that ends in a backslash joined with the next.
fn commands(readme: &str) -> Vec<String> {
    let blocks = readme.split("```").skip(1).step_by(2);
    let shell = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    shell
        .flat_map(|block| {
            block
                .replace("\\\n", " ")
                .lines()
                .map(str::to_string)
                .collect::<Vec<_>>()
        })
        .filter(|line| !line.trim().is_empty())
        .collect()
}

/// A hub with tiny versions of the repositories that the README names.
fn hub() -> Hub {
    let hub = Hub::start();
    let model = rlhf_demo::FILES.iter().filter_map(|(path, bytes)| {
        let name = path.strip_prefix("model/")?;
        Some((name, *bytes))
    });
    hub.publish("openai-community/gpt2", &model.collect::<Vec<_>>());
    let pair = br#"{"prompt": "the film was", "chosen": " great .", "rejected": " bad ."}"#;
    let pairs = [pair.as_slice(), b"\n"].concat().repeat(20);
    hub.publish("datasets/your-name/pairs", &[("train.jsonl", &pairs)]);
    hub
}

#[test]
fn the_commands_of_the_readme_work() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let commands = commands(&fs::read_to_string(readme).unwrap());
    assert!(commands.len() >= 6, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    // The README names configs by their path from the root of the project.
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    fs::create_dir(folder.path().join("configs")).unwrap();
    for file in fs::read_dir(configs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        fs::copy(
            &file,
            folder
                .path()
                .join("configs")
                .join(file.file_name().unwrap()),
        )
        .unwrap();
    }
    let hub = hub();
    for command in commands {
        if command.starts_with("cargo test") || command.starts_with("cargo install") {
            continue;
        }
        let rlhf = command.replace("cargo run --release -- ", "rlhf ");
        let program = format!(
            "rlhf() {{ '{}' \"$@\"; }}; {rlhf}",
            env!("CARGO_BIN_EXE_rlhf")
        );
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &program])
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_HOME", folder.path().join("home"))
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_HUB_OFFLINE")
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{command}\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    trained_on_whole_prompts(&folder.path().join("third"));
}

/// The run on the user's own model and prompts used the prompts unchanged.
fn trained_on_whole_prompts(run: &Path) {
    let samples = fs::read_to_string(run.join("samples.jsonl")).unwrap();
    let samples = samples.lines().map(|line| {
        let sample: serde_json::Value = serde_json::from_str(line).unwrap();
        sample["prompt"].as_str().unwrap().to_string()
    });
    let prompts: Vec<String> = samples.collect();
    assert!(!prompts.is_empty());
    for prompt in prompts {
        assert!(
            ["the film was", "the cast felt"].contains(&prompt.as_str()),
            "{prompt:?}"
        );
    }
}
