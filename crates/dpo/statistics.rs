//! What a step of preference optimization logs.

use crate::Batch;
use rlhf_objective::Result;
use rlhf_tensor::Tensor;
use rlhf_train::Stats;
use std::cmp::Ordering;

/// Means over the pairs by their weights, and over their labels, of what is in `losses` \[pairs\],
/// `implicit` and `log_probs` [2 × pairs].
pub(crate) fn statistics(
    losses: &Tensor,
    implicit: &Tensor,
    log_probs: &Tensor,
    batch: &Batch,
) -> Result<Stats> {
    let losses = losses.to_vec1::<f32>()?;
    let implicit = implicit.to_vec1::<f32>()?;
    let log_probs = log_probs.to_vec1::<f32>()?;
    let total: f64 = batch.weights.iter().sum();
    let mut stats = Stats::new();
    let mut mean = |name, of: &dyn Fn(usize) -> f64| {
        let terms = batch.weights.iter().enumerate();
        let sum = terms.map(|(pair, weight)| weight * of(pair)).sum();
        stats.mean(name, sum, total);
    };
    let label = |pair: usize| f64::from(batch.labels[pair]);
    // The preferred response of a pair, in expectation, and the other one.
    let chosen = |of: &[f32], pair: usize| {
        let (first, second) = (f64::from(of[2 * pair]), f64::from(of[2 * pair + 1]));
        label(pair) * first + (1.0 - label(pair)) * second
    };
    let rejected = |of: &[f32], pair: usize| {
        f64::from(of[2 * pair]) + f64::from(of[2 * pair + 1]) - chosen(of, pair)
    };
    let margin = |pair: usize| chosen(&implicit, pair) - rejected(&implicit, pair);
    let right = |pair: usize| match implicit[2 * pair].partial_cmp(&implicit[2 * pair + 1]) {
        Some(Ordering::Greater) => label(pair),
        Some(Ordering::Less) => 1.0 - label(pair),
        _ => 0.0,
    };
    mean("loss", &|pair| f64::from(losses[pair]));
    mean("rewards/chosen", &|pair| chosen(&implicit, pair));
    mean("rewards/rejected", &|pair| rejected(&implicit, pair));
    mean("rewards/margins", &margin);
    mean("rewards/accuracies", &right);
    mean("log_probs/chosen", &|pair| chosen(&log_probs, pair));
    mean("log_probs/rejected", &|pair| rejected(&log_probs, pair));
    Ok(stats)
}
