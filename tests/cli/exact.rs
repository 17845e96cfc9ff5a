//! Tests of `rlhf eval --exact`.

use crate::program::{done, rlhf, rows, text};
use crate::{folder, small_run};
use serde_json::Value;
use std::fs;

/// A run whose responses can be listed is measured exactly, against the optimum, or, if β
/// was adaptive, against the frontier only.
#[test]
fn exact_evaluation_has_an_optimum_for_a_fixed_beta_only() {
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
    done(folder.path(), &arguments);
    let rows = |arguments: &[&str]| rows(&done(folder.path(), arguments));
    let found = rows(&["eval", "run", "--exact", "--json"]);
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap();
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
    // Sampled estimates agree with the exact numbers.
    let sampled = rows(&["eval", "run", "--json"]);
    let kl = |row: &Value| row["kl"]["value"].as_f64().unwrap();
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
    assert!(said.contains("which changes with β"), "{said}");
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
    let about = fs::read_to_string(folder.path().join("run/run.json")).unwrap();
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    assert!(
        about.get("gap").is_none() && about.get("beta").is_none(),
        "{about}"
    );
    for row in rows(&["eval", "run", "--json"]) {
        assert!(row.get("gap").is_none() && row.get("kl").is_some(), "{row}");
    }
    let wide = small_run("rloo", &["--set", "sampling.max_new_tokens=9"]);
    let wide = [&wide[..], &held_out].concat();
    assert!(rlhf(folder.path(), &wide).status.success());
    let output = rlhf(folder.path(), &["eval", "run", "--exact"]);
    assert!(text(&output.stderr).contains("too many responses to list"));
}
