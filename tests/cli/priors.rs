//! Runs every method with every prior.

use crate::program::{done, rlhf, rows, text};
use crate::{folder, metrics, small_run};
use std::fs;
use std::path::Path;

fn pairs(folder: &Path) {
    let pairs = "{\"prompt_ids\": [1], \"chosen_ids\": [3, 3, 10], \"rejected_ids\": [5, 2, 10]}\n\
                 {\"prompt_ids\": [2, 7], \"chosen_ids\": [3, 10], \"rejected_ids\": [4, 10]}\n";
    fs::write(folder.join("pairs.jsonl"), pairs).unwrap();
}

/// Every method and every prior, from the settings to a policy that has moved. What the first step reports
/// is known, as the policy starts at the model that is most priors: no KL to it, minus the entropy to the
/// counting prior, and what the length costs besides to the uniform one; of preferences log 2 where the
/// prior is the policy. (That methods reach the optimum of each prior is tested where it is known.)
#[test]
fn every_method_starts_at_the_kl_to_every_prior_and_moves() {
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
            let lines = metrics(&folder.path().join("run"));
            assert_eq!(lines.len(), 2);
            first_step(objective, prior, &lines[0]);
            let weights = |of: &str| fs::read(folder.path().join(of).join("model.safetensors"));
            let moved = weights("run/final").unwrap();
            assert_ne!(moved, weights("model").unwrap(), "{objective}, {prior:?}");
        }
    }
}

fn first_step(objective: &str, prior: &[&str], line: &serde_json::Value) {
    let number = |name: &str| line[name].as_f64().unwrap();
    let own = ["reference", "model", "demonstrations:model"].contains(&prior[1]);
    if objective == "dpo" {
        let off = (number("loss") - std::f64::consts::LN_2).abs();
        let is_right = match prior[1] {
            "counting" | "uniform" => off > 1e-3,
            _ if own => off < 1e-6,
            // A briefly fitted prior, or a mixture with one.
            _ => off < 1e-3,
        };
        assert!(is_right, "{prior:?}, {line}");
        return;
    }
    let (kl, entropy) = (number("objective/kl"), number("objective/entropy"));
    let length = number("completions/mean_length");
    let expected = match prior[1] {
        "counting" => -entropy,
        "uniform" => length * 11f64.ln() - entropy,
        _ => 0.0,
    };
    let allowed = if own { 0.0 } else { 1e-5 };
    assert!(
        (kl - expected).abs() <= allowed,
        "{objective}, {prior:?}: {kl} is not {expected}"
    );
    assert!(entropy > 1.0 && length > 1.0, "{line}");
    let paid = number("objective/scores") - number("objective/beta") * kl;
    assert!(
        (number("objective/rlhf_reward") - paid).abs() < 1e-6,
        "{line}"
    );
}

/// DPO with the counting prior is CPO: its implicit reward is β·log π, and no reference model is loaded.
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
    let log_probs: Vec<f64> = rows(&done(folder.path(), &arguments))
        .iter()
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

/// A fitted prior is saved in the run folder: an interrupted fit is resumed, and a run
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
    // A moved run folder still has its prior, and a lost prior is not replaced.
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
