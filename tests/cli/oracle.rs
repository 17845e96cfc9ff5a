//! `rlhf oracle` as a user sees it.

use crate::program::{rlhf, text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn write(folder: &Path, name: &str, problem: &Value) {
    fs::write(folder.join(name), problem.to_string()).unwrap();
}

fn answer(folder: &Path, arguments: &[&str]) -> Value {
    let output = rlhf(folder, &[&["oracle", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn close(value: &Value, expected: f64) {
    let number = value.as_f64().unwrap();
    assert!(
        (number - expected).abs() < 1e-6,
        "{number} is not {expected}"
    );
}

/// Two tokens and an end of sequence, two steps.
fn problem() -> Value {
    json!({"vocab": 2, "eos": 1, "horizon": 2, "beta": 0.5, "gamma": 1.0,
        "prior": {"": [0.25, 0.75], "0": [0.5, 0.5]},
        "reward": {"1": 0.0, "0 0": 1.0, "0 1": -1.0}})
}

/// The problem in the help is pasted and solved.
#[test]
fn the_help_has_control_as_inference_with_two_actions() {
    let folder = tempfile::tempdir().unwrap();
    let help = text(&rlhf(folder.path(), &["oracle", "--help"]).stdout);
    let pasted = &help[help.find("{\"vocab\": 2").unwrap()..];
    let pasted = &pasted[..pasted.find("}}").unwrap() + 2];
    fs::write(folder.path().join("two.json"), pasted).unwrap();
    let two = answer(folder.path(), &["two.json"]);
    close(&two["value"], 1.313_261_687_518);
    close(&two["values"][""], 1.313_261_687_518);
    close(&two["policy"][""][0], 0.731_058_578_630);
    close(&two["entropy"], 0.582_203_11);
    for said in ["V = log(e + 1) = 1.3133", "π = (.7311, .2689)"] {
        assert!(help.contains(said), "{help}");
    }
    let table = text(&rlhf(folder.path(), &["oracle", "two.json"]).stdout);
    assert!(
        table.contains("1.313262") && table.contains("0.7311"),
        "{table}"
    );
}

#[test]
fn a_token_problem_has_the_keys_it_is_said_to_have() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "p.json", &problem());
    let solved = answer(folder.path(), &["p.json"]);
    let keys: Vec<&String> = solved.as_object().unwrap().keys().collect();
    let expected = [
        "log_z",
        "value",
        "expected_reward",
        "kl",
        "entropy",
        "elbo",
        "prior_elbo",
        "values",
        "policy",
        "frontier",
    ];
    assert_eq!(keys, expected);
    let z: f64 = 0.75 + 0.125 * (2f64.exp() + (-2f64).exp());
    close(&solved["log_z"], z.ln());
    close(&solved["value"], 0.5 * z.ln());
    close(&solved["elbo"], 0.5 * z.ln());
    close(&solved["prior_elbo"], 0.0);
    close(&solved["policy"][""][1], 0.75 / z);
    let points = solved["frontier"].as_array().unwrap();
    let own = points.iter().find(|point| point["beta"] == 0.5).unwrap();
    // The frontier has it from the responses, the solution from the prefixes: only the order of the
    // additions differs.
    for (point, whole) in [("kl", "kl"), ("reward", "expected_reward")] {
        let (point, whole) = (
            own[point].as_f64().unwrap(),
            solved[whole].as_f64().unwrap(),
        );
        assert!((point - whole).abs() < 1e-14, "{point} is not {whole}");
    }

    let trained = answer(folder.path(), &["p.json", "--method", "dpo", "--seed", "3"]);
    assert_eq!(trained["method"], "dpo");
    assert!(trained["kl_to_optimum"].as_f64().unwrap() < 1e-3);
    let gap = 0.5 * trained["kl_to_optimum"].as_f64().unwrap();
    close(&trained["gap"], gap);
    close(&trained["elbo"], 0.5 * z.ln() - gap);
    assert!(trained["samples"].as_u64().unwrap() > 0);
    let short = ["p.json", "--method", "rloo", "--set", "steps=5"];
    assert_eq!(
        answer(folder.path(), &short)["path"][5]["samples"],
        5 * 1024
    );
    assert_eq!(answer(folder.path(), &short), answer(folder.path(), &short));
    let table = rlhf(
        folder.path(),
        &["oracle", "p.json", "--method", "grpo", "--set", "steps=2"],
    );
    assert!(text(&table.stdout).contains("grpo, its target: not π*"));
}

#[test]
fn a_discount_is_said_to_be_another_problem() {
    let folder = tempfile::tempdir().unwrap();
    let mut discounted = problem();
    discounted["gamma"] = json!(0.9);
    write(folder.path(), "p.json", &discounted);
    let solved = answer(folder.path(), &["p.json"]);
    assert!(solved["elbo"].as_f64().unwrap() < solved["value"].as_f64().unwrap() - 1e-6);
    for (method, target) in [
        ("ppo-kl", "not π*: the policy of the discount γ = 0.9"),
        ("vargrad", "π* of γ = 1"),
    ] {
        let arguments = ["p.json", "--method", method, "--set", "steps=1"];
        let said = answer(folder.path(), &arguments)["target"].clone();
        assert!(said.as_str().unwrap().starts_with(target), "{said}");
    }
}

#[test]
fn a_gamble_is_solved_in_both_forms() {
    let folder = tempfile::tempdir().unwrap();
    let gamble = json!({"states": 4, "terminal": [3], "alpha": 1.0, "gamma": 1.0, "actions": [
        {"state": 0, "action": 0, "reward": 0.2, "next": [[3, 1.0]]},
        {"state": 0, "action": 1, "reward": 0.0, "next": [[1, 0.5], [2, 0.5]]},
        {"state": 1, "action": 0, "reward": 2.0, "next": [[3, 1.0]]},
        {"state": 2, "action": 0, "reward": -2.0, "next": [[3, 1.0]]}]});
    write(folder.path(), "gamble.json", &gamble);
    let solved = answer(folder.path(), &["gamble.json"]);
    let (sound, naive) = (&solved["variational"], &solved["naive_exact"]);
    close(&sound["policy"]["0"][1], 0.450_166_002_687_522);
    close(&sound["values"][0], 0.798_138_869_381_592);
    assert!((naive["values"][0].as_f64().unwrap() - 1.606_152).abs() < 1e-6);
    assert!((naive["policy"]["0"][1].as_f64().unwrap() - 0.754_915).abs() < 1e-6);
    assert!((naive["true_values"][0].as_f64().unwrap() - 0.605_887).abs() < 1e-6);
    assert_eq!(sound["policy"].get("3"), None);
    let table = text(&rlhf(folder.path(), &["oracle", "gamble.json"]).stdout);
    assert!(table.contains("0.605887"), "{table}");

    // For ever, with a discount: the naive form has none, and so no solution.
    let mut circle = gamble;
    circle["actions"][0] = json!({"state": 0, "action": 0, "reward": 0.2, "next": [[0, 1.0]]});
    circle["gamma"] = json!(0.9);
    write(folder.path(), "circle.json", &circle);
    let solved = answer(folder.path(), &["circle.json"]);
    assert!(solved["variational"]["values"][0].as_f64().unwrap() > 2.0);
    assert_eq!(solved["naive_exact"], Value::Null);
}

/// Changes to the problem, and what is said of them.
#[test]
fn a_malformed_problem_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut bad = problem();
        change(&mut bad);
        write(folder.path(), "bad.json", &bad);
        let output = rlhf(folder.path(), &["oracle", "bad.json"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("bad.json") && said.contains(expected),
            "{said}"
        );
        assert!(output.stdout.is_empty());
    };
    check(
        &|p| p["prior"]["0"] = json!([0.5, 0.6]),
        "prefix \"0\": sums to 1.1",
    );
    check(&|p| p["beta"] = json!(0), "beta: is 0");
    check(&|p| p["beta"] = json!(-1), "beta: is -1");
    check(&|p| p["betta"] = json!(1), "unknown field `betta`");
    check(
        &|p| {
            p["reward"].as_object_mut().unwrap().remove("0 1");
        },
        "response \"0 1\": is missing",
    );
    check(
        &|p| p["reward"]["1 1"] = json!(0.0),
        "response \"1 1\": is not in the tree",
    );
    check(&|p| *p = json!({"tokens": 3}), "neither a token problem");
    check(&|p| *p = json!({"states": 1}), "missing field");
    for (arguments, expected) in [
        (
            &["oracle", "none.json"][..],
            "cannot read the problem none.json",
        ),
        (
            &["oracle", "bad.json", "--method", "ppo"],
            "invalid value 'ppo'",
        ),
        (&["oracle", "bad.json", "--set", "steps=1"], "--method"),
    ] {
        let output = rlhf(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    write(folder.path(), "good.json", &problem());
    let typo = ["oracle", "good.json", "--method", "rloo", "--set", "step=1"];
    let output = rlhf(folder.path(), &typo);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("unknown field `step`"));
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
        let prior: Value = serde_json::from_str(prior).unwrap();
        let problem = json!({"vocab": 2, "eos": null, "horizon": 2, "beta": beta,
            "gamma": 1.0, "prior": prior, "reward": rewards});
        fs::write(folder.path().join("problem.json"), problem.to_string()).unwrap();
        let arguments = [&["oracle", "problem.json", "--json"][..], method].concat();
        let output = rlhf(folder.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
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
    let root = |of: &Value| of["policy"][""][0].as_f64().unwrap();
    let value = |of: &Value| of["value"].as_f64().unwrap();
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
