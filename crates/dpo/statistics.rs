//! What a step of preference optimization logs.

use crate::{Batch, UnpairedPreferences};
use rlhf_objective::Result;
use rlhf_tensor::Tensor;
use rlhf_train::Stats;
use std::cmp::Ordering;

/// Means over the pairs by their weights, and over their labels, of what is in `losses` \[pairs\],
/// `implicit` and `log_probs` [2 × pairs].
pub(crate) fn of_pairs(
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

/// Means over the answers: all of them, the liked, the others. An answer is judged right where its
/// implicit reward is on its side of the reference point.
pub(crate) fn of_opinions(
    losses: &Tensor,
    implicit: &Tensor,
    log_probs: &Tensor,
    batch: &UnpairedPreferences,
) -> Result<Stats> {
    let wide = |of: &Tensor| -> Result<Vec<f64>> {
        Ok(of.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
    };
    let (losses, implicit, log_probs) = (wide(losses)?, wide(implicit)?, wide(log_probs)?);
    let reference_point = batch.reference_point.unwrap_or(0.0);
    let right = |(h, liked): (&f64, &bool)| f64::from(u8::from((*h > reference_point) == *liked));
    let right: Vec<f64> = implicit.iter().zip(&batch.liked).map(right).collect();
    let mut stats = Stats::new();
    let mut mean = |name, of: &[f64], whose: Option<bool>| {
        let items = of.iter().zip(&batch.liked);
        let those = items.filter(|(_, liked)| whose.is_none_or(|whose| whose == **liked));
        let (sum, count) = those.fold((0.0, 0.0), |(sum, count), (x, _)| (sum + x, count + 1.0));
        // A part of a batch may hold none of a kind.
        if count > 0.0 {
            stats.mean(name, sum, count);
        }
    };
    mean("loss", &losses, None);
    mean("rewards/chosen", &implicit, Some(true));
    mean("rewards/rejected", &implicit, Some(false));
    mean("rewards/accuracies", &right, None);
    mean("log_probs/chosen", &log_probs, Some(true));
    mean("log_probs/rejected", &log_probs, Some(false));
    mean(
        "reference_point",
        &vec![reference_point; losses.len()],
        None,
    );
    Ok(stats)
}
