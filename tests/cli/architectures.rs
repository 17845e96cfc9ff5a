//! Every architecture, from a random network to a trained one.

use crate::program::{done, rlhf, text};
use std::fs;

const ARCHITECTURES: [&str; 9] = [
    "gpt2",
    "llama",
    "qwen2",
    "qwen3",
    "gpt_neox",
    "gemma3_text",
    "olmo2",
    "gpt_neo",
    "opt",
];

#[test]
fn each_is_made_looked_at_and_trained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, content: &str| fs::write(folder.join(name), content).unwrap();
    write(
        "prompts.jsonl",
        "{\"prompt\": \"1 2 3\"}\n{\"prompt\": \"4 5\"}\n",
    );
    write(
        "pairs.jsonl",
        "{\"prompt\": \"1 2\", \"chosen\": \"3 4\", \"rejected\": \"5\"}\n\
         {\"prompt\": \"6\", \"chosen\": \"7 8 9\", \"rejected\": \"1 1\"}\n",
    );
    for name in ARCHITECTURES {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_string).collect() };
        let run = |line: String| {
            let words = words(&line);
            done(
                folder,
                &words.iter().map(String::as_str).collect::<Vec<_>>(),
            )
        };
        run(format!(
            "model init --architecture {name} --vocab 40 --context 32 --width 16 --layers 2 --heads 2 {name}"
        ));
        let shown = run(format!("model inspect {name} --json"));
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(
            (&shown["architecture"], &shown["layers"]),
            (&name.into(), &2.into())
        );
        run(format!(
            "train --objective ppo-kl --model {name} --data prompts.jsonl --reward contains:7 --beta 0.1 \
             --set train.iterations=1 --set sampling.rollouts=8 --set sampling.max_new_tokens=4 --out {name}-ppo"
        ));
        run(format!(
            "train --objective dpo --model {name} --data pairs.jsonl --set train.epochs=1 --out {name}-dpo"
        ));
        for run in ["ppo", "dpo"] {
            let config = folder.join(format!("{name}-{run}/final/config.json"));
            assert!(fs::read_to_string(config).unwrap().contains(name));
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let init = [
        "model",
        "init",
        "--architecture",
        "llama",
        "--heads",
        "3",
        "--kv-heads",
        "2",
        "new",
    ];
    let output = rlhf(folder.path(), &init);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("num_key_value_heads = 2 does not divide"),
        "{said}"
    );
    assert!(!folder.path().join("new").exists());
}
