//! Against TRL's numbers.

use crate::batch::tests::pairs;
use crate::{Batch, Config, Dpo};
use rlhf_objective::Outputs;
use rlhf_train::Learner;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Golden {
    lengths: Vec<usize>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    beta: f64,
    label_smoothing: f64,
    log_probs: Vec<f32>,
    prior_log_probs: Vec<f32>,
    loss: f64,
    gradient: Vec<f64>,
    stats: BTreeMap<String, f64>,
}

#[track_caller]
fn close(ours: f64, golden: f64, what: &str) {
    let tolerance = 1e-4 * golden.abs() + 1e-7;
    assert!(
        (ours - golden).abs() <= tolerance,
        "{what}: {ours} is not {golden}"
    );
}

#[test]
fn loss_gradient_and_statistics_are_those_of_trl() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/dpo.json");
    let text = std::fs::read_to_string(path).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let lengths: Vec<_> = golden
        .lengths
        .chunks(2)
        .map(|pair| (pair[0], pair[1]))
        .collect();
    assert_eq!(golden.cases.len(), 12);
    for (name, case) in golden.cases {
        let dpo = Dpo::new(&Config {
            label_smoothing: case.label_smoothing,
            ..Config::default()
        });
        let dpo = dpo.unwrap();
        let batch = Batch::new(pairs(&lengths, case.prior_log_probs, case.beta)).unwrap();
        let outputs = Outputs::new(dpo.sequences(&batch), case.log_probs, None, None).unwrap();
        let loss = dpo.loss(&outputs, &batch).unwrap();
        close(
            loss.value.to_scalar::<f32>().unwrap().into(),
            case.loss,
            &name,
        );
        close(loss.stats.get("loss").unwrap(), case.loss, &name);
        let gradient = outputs.gradients(&loss.value).unwrap().log_probs.unwrap();
        assert_eq!(gradient.len(), case.gradient.len());
        for (ours, exact) in gradient.iter().zip(case.gradient) {
            close(f64::from(*ours), exact, &name);
        }
        // At the prior, which response wins is a matter of rounding.
        let decided = |stat: &str| stat != "rewards/accuracies" || !name.starts_with("at");
        for (stat, exact) in case.stats.iter().filter(|(stat, _)| decided(stat)) {
            // Sums of log-probs are rounded at 1e-6.
            let tolerance = 1e-4 * exact.abs() + 1e-6;
            let ours = loss.stats.get(stat).unwrap();
            assert!(
                (ours - exact).abs() <= tolerance,
                "{name}, {stat}: {ours} is not {exact}"
            );
        }
    }
}
