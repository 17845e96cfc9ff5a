//! Advantages, losses and gradients against values computed with TRL (tests/golden/ppo.json).

use crate::testing::scored_rollouts;
use crate::{Batch, Config, Ppo};
use rlhf_objective::{Outputs, PerToken};
use rlhf_train::Learner;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct ReferenceFile {
    lengths: Vec<usize>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    settings: Config,
    old_log_probs: Vec<f32>,
    old_values: Vec<f32>,
    rewards: Vec<f32>,
    log_probs: Vec<f32>,
    values: Vec<f32>,
    advantages: Vec<f64>,
    returns: Vec<f64>,
    log_probs_gradient: Vec<f64>,
    values_gradient: Vec<f64>,
    stats: BTreeMap<String, f64>,
}

#[track_caller]
fn close(ours: impl IntoIterator<Item = f64>, expected: &[f64], what: &str) {
    let ours: Vec<f64> = ours.into_iter().collect();
    assert_eq!(ours.len(), expected.len());
    for (ours, exact) in ours.iter().zip(expected) {
        let tolerance = 1e-4 * exact.abs() + 2e-7;
        assert!(
            (ours - exact).abs() <= tolerance,
            "{what}: {ours} is not {exact}"
        );
    }
}

fn to_f64(values: Vec<f32>) -> impl Iterator<Item = f64> {
    values.into_iter().map(f64::from)
}

#[test]
fn advantages_losses_and_gradients_match_trl() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/ppo.json");
    let text = std::fs::read_to_string(path).unwrap();
    let file: ReferenceFile = serde_json::from_str(&text).unwrap();
    assert_eq!(file.cases.len(), 3);
    for (name, case) in file.cases {
        let ppo = Ppo::new(case.settings.clone()).unwrap();
        let responses: Vec<_> = file.lengths.iter().map(|&n| vec![1; n]).collect();
        let prior = case.old_log_probs.clone();
        let per_token = [case.old_log_probs, prior, case.old_values];
        let mut scored = scored_rollouts(&responses, vec![0.0; responses.len()], per_token, 0.0);
        let offsets = scored.rewards.offsets();
        scored.rewards = PerToken::from_vec(case.rewards, offsets).unwrap();
        let batch = Batch::new(scored, &case.settings).unwrap();
        close(
            to_f64(batch.advantages.to_vec().unwrap()),
            &case.advantages,
            &name,
        );
        close(
            to_f64(batch.returns.to_vec().unwrap()),
            &case.returns,
            &name,
        );

        let (log_probs, values) = (case.log_probs, Some(case.values));
        let outputs = Outputs::new(&batch.sequences, log_probs, None, values).unwrap();
        let loss = ppo.loss(&outputs, &batch).unwrap();
        let value = f64::from(loss.value.to_scalar::<f32>().unwrap());
        close([value], &[case.stats["loss"]], &name);
        let gradients = outputs.gradients(&loss.value).unwrap();
        close(
            to_f64(gradients.log_probs.unwrap()),
            &case.log_probs_gradient,
            &name,
        );
        close(
            to_f64(gradients.values.unwrap()),
            &case.values_gradient,
            &name,
        );
        for (stat, exact) in &case.stats {
            close([loss.stats.get(stat).unwrap()], &[*exact], stat);
        }
        if name == "first step" {
            assert_eq!(loss.stats.get("val/ratio"), Some(1.0));
        } else {
            assert!(
                case.stats["policy/clipfrac_avg"] > 0.0 && case.stats["val/clipfrac_avg"] > 0.0
            );
        }
    }
}
