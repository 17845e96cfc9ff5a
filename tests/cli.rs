//! What a user sees: the built program, its messages and its exit codes.

#[path = "cli/bad_checkpoints.rs"]
mod bad_checkpoints;
#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/hub.rs"]
mod hub;
#[path = "cli/oracle.rs"]
mod oracle;
#[path = "../crates/hub/server/mod.rs"]
mod server;
#[path = "cli/stopped.rs"]
mod stopped;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

#[path = "cli/rewards.rs"]
mod rewards;

fn rlhf(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rlhf"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a tiny random checkpoint without a tokenizer, `model`, and some bad files.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write(
        "config.json",
        r#"{"model_type": "gpt2", "vocab_size": 11, "n_positions": 12, "n_embd": 8, "n_layer": 1,
            "n_head": 2, "eos_token_id": 10, "bos_token_id": 10}"#,
    );
    let made = rlhf(folder.path(), &["model", "init", "config.json", "model"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    write(
        "bad.jsonl",
        "{\"prompt\": \"1 2\"}\n{\"question\": \"3\"}\n",
    );
    write(
        "broken.jsonl",
        "{\"prompt_ids\": [1], \"completion_ids\": [2]}\n{\"prompt\n",
    );
    write(
        "good.jsonl",
        "{\"prompt\": \"1 2\", \"completion\": \"3 4 5\"}\n\
        {\"prompt_ids\": [7], \"completion_ids\": [10]}\n",
    );
    write(
        "far.jsonl",
        "{\"prompt_ids\": [1], \"completion_ids\": [11]}\n",
    );
    write("typo.toml", "[optim]\n\nlearning_rat = 1e-4\n");
    folder
}

/// Arguments, the exit code, and a part of what is said.
const MESSAGES: &[(&str, i32, &str)] = &[
    (
        "train --config typo.toml",
        2,
        "typo.toml:3: unknown key `optim.learning_rat`; did you mean `learning_rate`?",
    ),
    (
        "train --config none.toml",
        2,
        "cannot read the config file none.toml: No such file",
    ),
    (
        "train --model model --set trian.seed=3",
        2,
        "--set trian.seed=3: unknown key `trian`; did you mean `train`?",
    ),
    (
        "train --objective dpo --beta 0 --model model",
        2,
        "beta = 0: dpo has no optimum without its prior",
    ),
    (
        "train --objective dpo --model model --set method.loss=simpo",
        2,
        "method.loss = \"simpo\" has no reference model: give --prior counting",
    ),
    (
        "train --objective dpo --model model --set method.loss=hinge --set method.label_smoothing=0.1",
        2,
        "[method] label_smoothing means nothing to hinge",
    ),
    (
        "train --objective dpo --model model --set method.loss=ip",
        2,
        "did you mean `ipo`?",
    ),
    (
        "train --objective kto --dry-run --model model --data good.jsonl",
        1,
        "good.jsonl:2: no field `label`",
    ),
    ("train --objective dpi", 2, "invalid value 'dpi'"),
    ("train --resume --overwrite", 2, "cannot be used with"),
    (
        "train --reward model:x --model model",
        2,
        "reward `model:x`: expected token-share:TOKEN",
    ),
    (
        "train --dry-run --reward length:1 --data bad.jsonl",
        2,
        "no model: give --model FOLDER",
    ),
    (
        "train --dry-run --model model --reward length:1",
        2,
        "no data: give --data FILE",
    ),
    (
        "train --dry-run --model model --data good.jsonl",
        2,
        "no reward: give --reward",
    ),
    (
        "train --dry-run --model model --reward length:1 --data bad.jsonl",
        1,
        "bad.jsonl:2: no field `prompt` and no field `prompt_ids` in this row, which has `question`",
    ),
    (
        "train --dry-run --model none --reward length:1 --data bad.jsonl",
        1,
        "none: no such folder: give one with config.json and model.safetensors, or the name of a hub",
    ),
    (
        "train --dry-run --model model --reward regex:( --data good.jsonl",
        1,
        "reward regex: `(` is not a pattern",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --objective imitation",
        1,
        "[prior] kind = \"demonstrations\" has no source: give --prior FILE",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior none",
        1,
        "none: no such folder: give one with config.json and model.safetensors, or the name of a hub",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --set prior.kind=mixture",
        1,
        "a mixture has no prior.first",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior demonstrations:none",
        1,
        "none: no such folder",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior none.jsonl",
        1,
        "none.jsonl: No such file",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior bad.jsonl",
        1,
        "no field `completion` and no field `completion_ids` in this row",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior good.jsonl \
         --set prior.fit.epochs=0",
        1,
        "[prior.fit]: train.epochs = 0",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior model \
         --set prior.smoothing=0.1",
        1,
        "prior.smoothing means nothing to a prior of kind \"reference\"",
    ),
    (
        "score --model model --input broken.jsonl",
        1,
        "broken.jsonl:2: not JSON",
    ),
    (
        "score --model model --input far.jsonl",
        1,
        "far.jsonl:1: token 11 in `completion_ids` is not in the vocabulary: ids end at 10",
    ),
    ("generate --model model --prompt x", 1, "--prompt:1: "),
    (
        "generate --model model --prompt 1 --temperature=-1",
        2,
        "must be a number from 0",
    ),
    (
        "model inspect none",
        1,
        "none: no such folder: give one with config.json and model.safetensors, or the name of a hub",
    ),
    (
        "model fetch none",
        2,
        "none is not the name of a repository: expected owner/name[@revision]",
    ),
    ("model init config.json model", 2, "model is not empty"),
    ("eval none", 1, "none holds no run: there is no config.toml"),
    (
        "bench --suite speling",
        2,
        "no suite is called speling: there is acceptance, and",
    ),
    (
        "bench --workload score --size nowhere",
        1,
        "--size nowhere: there is no such folder",
    ),
    ("bench --dtype bf16", 2, "[possible values: f32]"),
];

#[test]
fn errors_say_what_is_wrong_and_where() {
    let folder = folder();
    for (arguments, code, expected) in MESSAGES {
        let output = rlhf(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        let said = text(&output.stderr);
        assert!(
            said.contains(expected),
            "{arguments}\n{said}\nshould say: {expected}"
        );
        assert_eq!(output.status.code(), Some(*code), "{arguments}\n{said}");
        assert!(output.stdout.is_empty(), "{arguments}");
        assert!(!said.contains("panicked"), "{arguments}\n{said}");
    }
}

/// The configurations that are shipped say what they do, and are accepted as they are.
#[test]
fn shipped_configurations_are_read() {
    let folder = folder();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    fs::write(
        folder.path().join("data.jsonl"),
        "{\"prompt\": \"1\", \"chosen\": \"2\", \"rejected\": \"3\", \"completion\": \"4\"}\n"
            .repeat(3),
    )
    .unwrap();
    let mut seen = 0;
    for file in fs::read_dir(configs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let config = file.to_str().unwrap();
        let plan = [
            "train",
            "--dry-run",
            "--config",
            config,
            "--model",
            "model",
            "--data",
            "data.jsonl",
        ];
        let mut plan = plan.to_vec();
        if config.ends_with("imitation.toml") {
            plan.extend(["--prior", "model"]);
        }
        let output = rlhf(folder.path(), &plan);
        assert!(
            output.status.success(),
            "{config}\n{}",
            text(&output.stderr)
        );
        seen += 1;
    }
    assert!(seen >= 3);
    assert!(
        !folder.path().join("runs").exists(),
        "a dry run leaves nothing"
    );
}

/// Maximum-entropy RL, RLHF and imitation-bootstrapped RL differ in their prior and in nothing else.
#[test]
fn only_the_prior_differs() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let read = |name: &str| -> (toml::Value, toml::Table) {
        let text = fs::read_to_string(configs.join(name)).unwrap();
        let mut table: toml::Table = text.parse().unwrap();
        (table.remove("prior").unwrap(), table)
    };
    let (reference, rest) = read("ppo-kl.toml");
    for section in ["objective", "beta", "model", "method", "sampling", "optim"] {
        assert!(rest.contains_key(section), "{section}");
    }
    for name in ["maxent.toml", "imitation.toml"] {
        let (prior, same) = read(name);
        assert_ne!(prior, reference);
        assert_eq!(same, rest, "{name}");
    }
}

/// Arguments of a small run of `objective` under the prior that `prior` (more arguments) gives.
fn small_run<'a>(objective: &'a str, prior: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--objective", objective, "--model", "model"];
    arguments.extend(["--out", "run", "--overwrite"]);
    let mut settings = vec!["data.held_out_fraction=0.0"];
    if objective == "dpo" {
        arguments.extend(["--data", "pairs.jsonl"]);
        settings.extend(["train.epochs=2", "train.batch_pairs=2"]);
    } else {
        arguments.extend(["--data", "good.jsonl", "--reward", "token-share:3"]);
        settings.extend([
            "sampling.rollouts=8",
            "sampling.samples_per_prompt=4",
            "sampling.max_new_tokens=4",
            "train.iterations=2",
        ]);
    }
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(prior);
    arguments
}

fn pairs(folder: &Path) {
    let pairs = "{\"prompt_ids\": [1], \"chosen_ids\": [3, 3, 10], \"rejected_ids\": [5, 2, 10]}\n\
                 {\"prompt_ids\": [2, 7], \"chosen_ids\": [3, 10], \"rejected_ids\": [4, 10]}\n";
    fs::write(folder.join("pairs.jsonl"), pairs).unwrap();
}

fn metrics(folder: &Path) -> Vec<serde_json::Value> {
    let lines = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Every method and every prior, from the settings to a policy that has moved.
#[test]
fn every_method_learns_under_every_prior() {
    let folder = folder();
    pairs(folder.path());
    let mixture = |mean: &str| {
        format!(
            "prior={{ kind = \"mixture\", mean = \"{mean}\", first = {{ kind = \"reference\" }}, \
             second = {{ kind = \"demonstrations\", data = \"good.jsonl\" }} }}"
        )
    };
    let (geometric, arithmetic) = (mixture("geometric"), mixture("arithmetic"));
    let priors: [&[&str]; 8] = [
        &["--prior", "counting"],
        &["--prior", "uniform"],
        &["--prior", "reference"],
        &["--prior", "model"],
        &["--prior", "demonstrations:model"],
        &["--prior", "good.jsonl"],
        &["--set", &geometric],
        &["--set", &arithmetic],
    ];
    for objective in [
        "ppo-kl",
        "rloo",
        "reinforce",
        "grpo",
        "vargrad",
        "dpo",
        "maxent",
        "imitation",
    ] {
        for prior in priors {
            let output = rlhf(folder.path(), &small_run(objective, prior));
            let said = text(&output.stderr);
            assert!(output.status.success(), "{objective}, {prior:?}\n{said}");
            assert!(said.contains("\ntarget     "), "{said}");
            assert_eq!(metrics(&folder.path().join("run")).len(), 2);
            let weights = |of: &str| fs::read(folder.path().join(of).join("model.safetensors"));
            let moved = weights("run/final").unwrap();
            assert_ne!(moved, weights("model").unwrap(), "{objective}, {prior:?}");
        }
    }
}

/// DPO with the counting prior is CPO: its implicit reward is β·log π, and no model is asked.
#[test]
fn dpo_with_the_counting_prior_compares_log_probs() {
    let folder = folder();
    pairs(folder.path());
    let output = rlhf(folder.path(), &small_run("dpo", &["--prior", "counting"]));
    let said = text(&output.stderr);
    assert!(said.contains("maximize E[r] + β·H(π)"), "{said}");
    let completions = "{\"prompt_ids\": [1], \"completion_ids\": [3, 3, 10]}\n\
                       {\"prompt_ids\": [1], \"completion_ids\": [5, 2, 10]}\n\
                       {\"prompt_ids\": [2, 7], \"completion_ids\": [3, 10]}\n\
                       {\"prompt_ids\": [2, 7], \"completion_ids\": [4, 10]}\n";
    fs::write(folder.path().join("scored.jsonl"), completions).unwrap();
    let arguments = ["score", "--model", "model", "--input", "scored.jsonl"];
    let scored = text(&rlhf(folder.path(), &arguments).stdout);
    let log_probs: Vec<f64> = scored
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["log_prob"].as_f64().unwrap())
        .collect();
    let loss = |pair: &[f64]| (0.1 * (pair[1] - pair[0])).exp().ln_1p();
    let expected = log_probs.chunks(2).map(loss).sum::<f64>() / 2.0;
    let first = metrics(&folder.path().join("run"))[0]["loss"]
        .as_f64()
        .unwrap();
    assert!((first - expected).abs() < 1e-6, "{first} {expected}");
    assert!((first - std::f64::consts::LN_2).abs() > 1e-3);
}

/// A prior that is fitted on the spot lies in the run folder: an interrupted fit goes on, and a run
/// that has lost its own checkpoints starts over, both with the same result.
#[test]
fn a_fitted_prior_survives_an_interruption() {
    let folder = folder();
    let run = folder.path().join("run");
    let fit = [
        "--prior",
        "good.jsonl",
        "--set",
        "prior.fit.learning_rate=1e-2",
    ];
    let output = rlhf(folder.path(), &small_run("rloo", &fit));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let weights = |of: &str| fs::read(run.join(of).join("final/model.safetensors")).unwrap();
    let (policy, prior) = (weights("."), weights("prior"));
    let untouched = fs::read(folder.path().join("model/model.safetensors")).unwrap();
    assert_ne!(prior, untouched);
    let recorded: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    let path = recorded["prior"]["models"][0]["path"].as_str().unwrap();
    assert!(path.ends_with("run/prior/final"), "{path}");
    let resume = ["train", "--resume", "--out", "run"];
    for lost in [
        &["checkpoints", "final", "prior/final"][..],
        &["checkpoints", "final", "prior"],
    ] {
        for part in lost {
            fs::remove_dir_all(run.join(part)).unwrap();
        }
        let output = rlhf(folder.path(), &resume);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            weights(".") == policy && weights("prior") == prior,
            "{lost:?}"
        );
        assert_eq!(metrics(&run).len(), 2);
    }
    // A moved run folder still finds its prior, and a lost prior is not replaced by another.
    let away = folder.path().join("away");
    fs::rename(&run, &away).unwrap();
    let eval = ["eval", "away", "--exact", "--prompts", "good.jsonl"];
    let output = rlhf(folder.path(), &eval);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    assert!(
        lines.contains("away  prior ") && lines.contains("away  optimum "),
        "{lines}"
    );
    fs::remove_dir_all(away.join("prior")).unwrap();
    let output = rlhf(folder.path(), &["eval", "away", "--prompts", "good.jsonl"]);
    let said = text(&output.stderr);
    assert!(said.contains("the prior is not fitted"), "{said}");
}

/// A file is looked at, and its bad rows are named, before anything is trained on it.
#[test]
fn data_check_reports_and_training_agrees() {
    let folder = folder();
    let pair =
        |n: usize| format!("{{\"prompt\": \"{n}\", \"chosen\": \"1 2\", \"rejected\": \"3\"}}\n");
    let mut rows: Vec<String> = (1..10).map(pair).collect();
    rows[4] = "{\"prompt\": \"1\", \"chosen\": true, \"rejected\": \"3\"}\n".into();
    rows[6] = rows[5].clone();
    fs::write(folder.path().join("pairs.jsonl"), rows.concat()).unwrap();
    let check = ["data", "check", "pairs.jsonl", "--model", "model"];
    let output = rlhf(folder.path(), &check);
    let (report, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 9 rows cannot be used"), "{said}");
    for expected in [
        "rows        9\n",
        "shape       preferences with a prompt\n",
        "chosen      3 to 3 tokens",
        "duplicates  1 rows",
        "pairs.jsonl:5: field `chosen` must be a string or a conversation",
        "\n  answer    \"1 2\"\n",
    ] {
        assert!(
            report.contains(expected),
            "{report}\nshould hold: {expected}"
        );
    }
    let hidden = rlhf(folder.path(), &[&check[..], &["--no-preview"]].concat());
    assert!(!text(&hidden.stdout).contains("\"1 2\""));
    let train = [
        "train",
        "--objective",
        "dpo",
        "--model",
        "model",
        "--data",
        "pairs.jsonl",
        "--dry-run",
    ];
    let output = rlhf(folder.path(), &train);
    assert!(text(&output.stderr).contains("pairs.jsonl:5: field `chosen`"));
    let skip = ["--set", "data.on_bad_row=skip"];
    let output = rlhf(folder.path(), &[&train[..], &skip].concat());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let bad = folder.path().join("pairs.jsonl:5").display().to_string();
    assert!(
        said.contains(&format!(
            "1 rows skipped because they cannot be used, first {bad}"
        )),
        "{said}"
    );
    let output = rlhf(folder.path(), &[&check[..], &skip].concat());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn scores_come_in_order_and_add_up() {
    let folder = folder();
    let output = rlhf(
        folder.path(),
        &["score", "--model", "model", "--input", "good.jsonl"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let lengths: Vec<_> = lines
        .iter()
        .map(|line| line["tokens"].as_u64().unwrap())
        .collect();
    assert_eq!(lengths, [3, 1]);
    for line in lines {
        let log_probs = line["log_probs"].as_array().unwrap();
        let numbers: Vec<f64> = log_probs.iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(
            line["log_prob"].as_f64().unwrap(),
            numbers.iter().sum::<f64>()
        );
        assert!(numbers.iter().all(|x| *x < 0.0 && *x > -4.0), "{numbers:?}");
    }
}

/// Every loss on preferences, from the settings to a policy that has moved; single answers too, by
/// themselves and as pairs.
#[test]
fn every_loss_learns() {
    let folder = folder();
    let write = |name: &str, row: &str| fs::write(folder.path().join(name), row).unwrap();
    let pairs = |i: usize| {
        format!(
            "{{\"prompt\": \"{i} 1\", \"chosen\": \"3 {i}\", \"rejected\": \"4 5 6\", \"label\": 0.9}}\n"
        )
    };
    let judged = |i: usize| {
        let liked = i.is_multiple_of(2);
        format!("{{\"prompt\": \"{i} 1\", \"completion\": \"3 {i}\", \"label\": {liked}}}\n")
    };
    write("pairs.jsonl", &(1..9).map(pairs).collect::<String>());
    write(
        "certain.jsonl",
        &(1..9).map(pairs).collect::<String>().replace("0.9", "1"),
    );
    write("opinions.jsonl", &(1..9).map(judged).collect::<String>());
    let runs = [
        "sigmoid",
        "robust",
        "hinge",
        "ipo",
        "ipo-normalized",
        "exo",
        "nca",
        "bco",
        "sppo",
        "apo-zero",
        "apo-down",
        "discopop",
    ];
    let mut runs: Vec<String> = runs
        .iter()
        .map(|loss| format!("dpo pairs.jsonl method.loss={loss}"))
        .collect();
    runs[1] += " method.label_smoothing=0.2";
    runs[5] += " method.label_smoothing=0.001";
    for run in [
        "dpo certain.jsonl method.loss=aot train.micro_batch_tokens=1",
        "dpo pairs.jsonl method.loss=simpo prior.kind=counting",
        "dpo pairs.jsonl method.loss=orpo prior.kind=counting",
        "dpo pairs.jsonl method.divergence=forward-kl",
        "dpo pairs.jsonl method.divergence=js",
        "dpo pairs.jsonl method.divergence=alpha",
        "dpo pairs.jsonl prior.kind=counting",
        "kto opinions.jsonl method.desirable_weight=2.0",
        "kto certain.jsonl train.micro_batch_tokens=1",
    ] {
        runs.push(run.into());
    }
    for run in runs {
        let mut parts = run.split(' ');
        let (objective, data) = (parts.next().unwrap(), parts.next().unwrap());
        let size = match objective {
            "dpo" => "train.batch_pairs=4",
            _ => "method.answers_per_step=4",
        };
        let mut arguments = vec![
            "train",
            "--objective",
            objective,
            "--model",
            "model",
            "--data",
            data,
            "--out",
            "run",
            "--overwrite",
            "--set",
            size,
            "--set",
            "optim.learning_rate=1e-3",
        ];
        parts.for_each(|set| arguments.extend(["--set", set]));
        let output = rlhf(folder.path(), &arguments);
        assert!(output.status.success(), "{run}\n{}", text(&output.stderr));
        let moved = fs::read(folder.path().join("run/final/model.safetensors")).unwrap();
        let start = fs::read(folder.path().join("model/model.safetensors")).unwrap();
        assert_ne!(moved, start, "{run}");
    }
}

/// A response drawn has the log-prob that `score` gives it.
#[test]
fn what_is_generated_scores_the_same() {
    let folder = folder();
    let arguments = [
        "generate",
        "--model",
        "model",
        "--prompt",
        "1 2 3",
        "-n",
        "3",
        "--max-new-tokens",
        "6",
        "--json",
    ];
    let output = rlhf(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(output.stdout, rlhf(folder.path(), &arguments).stdout);
    fs::write(folder.path().join("drawn.jsonl"), &output.stdout).unwrap();
    let scored = rlhf(
        folder.path(),
        &["score", "--model", "model", "--input", "drawn.jsonl"],
    );
    let (drawn, scored) = (text(&output.stdout), text(&scored.stdout));
    assert_eq!((drawn.lines().count(), scored.lines().count()), (3, 3));
    for (drawn, scored) in drawn.lines().zip(scored.lines()) {
        let drawn: serde_json::Value = serde_json::from_str(drawn).unwrap();
        let scored: serde_json::Value = serde_json::from_str(scored).unwrap();
        let (a, b) = (&drawn["log_probs"], &scored["log_probs"]);
        for (a, b) in a.as_array().unwrap().iter().zip(b.as_array().unwrap()) {
            assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-4);
        }
        assert_eq!(
            drawn["completion_ids"].as_array().unwrap().len() as u64,
            scored["tokens"]
        );
    }
}

/// Where all responses can be listed, a run is measured exactly: against the optimum, or, where β
/// moved, against the frontier alone.
#[test]
fn an_exact_measure_knows_the_optimum_and_a_moving_beta_has_none() {
    let folder = folder();
    let few = ["--set", "sampling.tokens=[3, 5, 10]", "--beta", "0.2"];
    let held_out = ["--set", "data.held_out=good.jsonl"];
    let fast = [
        "--set",
        "optim.learning_rate=1e-2",
        "--set",
        "train.iterations=12",
    ];
    let arguments = [&small_run("vargrad", &few)[..], &held_out, &fast].concat();
    let output = rlhf(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let output = rlhf(folder.path(), arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = text(&output.stdout);
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let found = rows(&["eval", "run", "--exact", "--json"]);
    let number = |row: &serde_json::Value, name: &str| row[name].as_f64().unwrap();
    let (prior, optimum) = (&found[0], found.last().unwrap());
    assert_eq!(
        (&prior["of"], &optimum["of"]),
        (&"prior".into(), &"optimum".into())
    );
    assert!(number(prior, "closed").abs() < 1e-9 && number(prior, "kl").abs() < 1e-6);
    assert!((number(optimum, "closed") - 1.0).abs() < 1e-6);
    for row in &found {
        let elbo = number(row, "reward") - 0.2 * number(row, "kl");
        assert!((number(row, "elbo") - elbo).abs() < 1e-9, "{row}");
        assert!((number(row, "kl_to_optimum") - number(row, "gap") / 0.2).abs() < 1e-9);
        assert!(number(row, "gap") > -1e-6, "{row}");
        assert!(
            number(row, "best_reward") > number(row, "reward") - 1e-4,
            "{row}"
        );
    }
    let last = &found[found.len() - 2];
    assert!(number(last, "closed") > 0.1, "{last}");
    // What is sampled agrees with what is listed.
    let sampled = rows(&["eval", "run", "--json"]);
    let kl = |row: &serde_json::Value| row["kl"]["value"].as_f64().unwrap();
    assert!((kl(sampled.last().unwrap()) - number(last, "kl")).abs() < 0.2);

    let moving = "beta={ start = 0.2, target_kl = 0.1, horizon = 100 }";
    let adaptive = [
        &small_run("rloo", &["--set", moving])[..],
        &held_out,
        &few[..2],
    ]
    .concat();
    let output = rlhf(folder.path(), &adaptive);
    let said = text(&output.stderr);
    assert!(said.contains("which moves with β"), "{said}");
    for row in rows(&["eval", "run", "--exact", "--json"]) {
        assert_ne!(row["of"], "optimum");
        assert!(
            number(&row, "best_reward") > number(&row, "reward") - 1e-4,
            "{row}"
        );
        for name in ["beta", "elbo", "gap", "kl_to_optimum", "closed"] {
            assert!(row.get(name).is_none(), "{row}");
        }
    }
    let points = fs::read_to_string(folder.path().join("run/run.json")).unwrap();
    assert!(
        !points.contains("gap") && !points.contains("beta"),
        "{points}"
    );
    for row in rows(&["eval", "run", "--json"]) {
        assert!(row.get("gap").is_none() && row.get("kl").is_some(), "{row}");
    }
    let wide = small_run("rloo", &["--set", "sampling.max_new_tokens=9"]);
    let wide = [&wide[..], &held_out].concat();
    assert!(rlhf(folder.path(), &wide).status.success());
    let output = rlhf(folder.path(), &["eval", "run", "--exact"]);
    assert!(text(&output.stderr).contains("too many to list"));
}

/// r + c moves the value alone, (k·r, k·β) nothing but the scale, and another prior the optimum: for
/// the exact answer, and for every method that looks for it.
#[test]
fn methods_look_for_what_depends_on_the_reward_over_beta_and_the_prior() {
    let folder = tempfile::tempdir().unwrap();
    let solve = |prior: &str, beta: f64, reward: &dyn Fn(f64) -> f64, method: &[&str]| {
        let numbers = [1.0, -0.5, 0.25, 0.75].map(reward);
        let names = ["0 0", "0 1", "1 0", "1 1"];
        let rewards: serde_json::Map<_, _> = names
            .into_iter()
            .zip(numbers)
            .map(|(name, number)| (name.to_string(), number.into()))
            .collect();
        let prior: serde_json::Value = serde_json::from_str(prior).unwrap();
        let problem = serde_json::json!({"vocab": 2, "eos": null, "horizon": 2, "beta": beta,
            "gamma": 1.0, "prior": prior, "reward": rewards});
        fs::write(folder.path().join("problem.json"), problem.to_string()).unwrap();
        let arguments = [&["oracle", "problem.json", "--json"][..], method].concat();
        let output = rlhf(folder.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let known = r#"{"": [0.3, 0.7], "0": [0.6, 0.4], "1": [0.2, 0.8]}"#;
    type Problem<'a> = (&'a str, f64, &'a dyn Fn(f64) -> f64);
    let problems: [Problem<'_>; 5] = [
        (known, 0.5, &|r| r),
        (known, 0.5, &|r| r + 2.0),
        (known, 1.5, &|r| 3.0 * r),
        ("\"uniform\"", 0.5, &|r| r),
        ("\"counting\"", 0.5, &|r| r),
    ];
    let exact: Vec<_> = problems
        .iter()
        .map(|(prior, beta, reward)| solve(prior, *beta, reward, &[]))
        .collect();
    let root = |of: &serde_json::Value| of["policy"][""][0].as_f64().unwrap();
    let value = |of: &serde_json::Value| of["value"].as_f64().unwrap();
    assert!((root(&exact[1]) - root(&exact[0])).abs() < 1e-12);
    assert!((value(&exact[1]) - value(&exact[0]) - 2.0).abs() < 1e-12);
    assert!((root(&exact[2]) - root(&exact[0])).abs() < 1e-12);
    assert!((value(&exact[2]) - 3.0 * value(&exact[0])).abs() < 1e-12);
    assert!((root(&exact[3]) - root(&exact[0])).abs() > 0.1);
    assert!(
        (root(&exact[4]) - root(&exact[3])).abs() < 1e-12,
        "of one length"
    );
    for method in ["ppo-kl", "rloo", "reinforce", "vargrad", "dpo"] {
        for (prior, beta, reward) in &problems {
            let arguments = [
                "--method",
                method,
                "--set",
                "steps=150",
                "--set",
                "responses=256",
            ];
            let reached = solve(prior, *beta, reward, &arguments);
            let kl = reached["kl_to_optimum"].as_f64().unwrap();
            assert!(kl.abs() < 0.02, "{method}, {prior}, {beta}: {kl}");
        }
    }
}

/// What `bench` prints is what a table of speeds needs, and its parts agree.
#[test]
fn bench_measures_a_step_by_phase() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "bench --workload dpo --size tiny --repeats 1 --json";
    let arguments: Vec<_> = arguments.split(' ').collect();
    let output = rlhf(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let seconds = number(&line["seconds"]["median"]);
    let phase = |name: &str| number(&line["phases"][name]["seconds"]);
    let parts = ["forward", "loss", "backward", "optimizer", "prior"].map(phase);
    let sum: f64 = parts.iter().sum();
    assert!(sum <= seconds && sum > 0.5 * seconds, "{line}");
    let rate = number(&line["gflop"]) / seconds;
    assert!(
        (number(&line["gflops"]) / rate - 1.0).abs() < 1e-6,
        "{line}"
    );
    assert!(number(&line["peak_gflops"]) > 0.0, "{line}");
    assert!(line["machine"]["cores"].as_u64().unwrap() > 0, "{line}");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}
