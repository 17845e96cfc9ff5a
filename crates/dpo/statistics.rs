//! The metrics logged at each step of preference optimization.

use crate::{Batch, UnpairedPreferences};
use rlhf_objective::Result;
use rlhf_tensor::Tensor;
use rlhf_train::Stats;
use std::cmp::Ordering;

/// Metrics of pairs: means weighted by the pairs' weights, in expectation over their labels.
/// Shapes: `losses` \[pairs\]; `implicit` (rewards) and `log_probs` [2 × pairs].
pub(crate) fn pair_stats(
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
    let mut mean = |name, value: &dyn Fn(usize) -> f64| {
        let terms = batch.weights.iter().enumerate();
        let sum = terms.map(|(pair, weight)| weight * value(pair)).sum();
        stats.mean(name, sum, total);
    };
    let label = |pair: usize| f64::from(batch.labels[pair]);
    // The value of the chosen response, in expectation over the label, and that of the rejected one.
    let chosen = |values: &[f32], pair: usize| {
        let (first, second) = (f64::from(values[2 * pair]), f64::from(values[2 * pair + 1]));
        label(pair) * first + (1.0 - label(pair)) * second
    };
    let rejected = |values: &[f32], pair: usize| {
        f64::from(values[2 * pair]) + f64::from(values[2 * pair + 1]) - chosen(values, pair)
    };
    let margin = |pair: usize| chosen(&implicit, pair) - rejected(&implicit, pair);
    let accuracy = |pair: usize| match implicit[2 * pair].partial_cmp(&implicit[2 * pair + 1]) {
        Some(Ordering::Greater) => label(pair),
        Some(Ordering::Less) => 1.0 - label(pair),
        _ => 0.0,
    };
    mean("loss", &|pair| f64::from(losses[pair]));
    mean("rewards/chosen", &|pair| chosen(&implicit, pair));
    mean("rewards/rejected", &|pair| rejected(&implicit, pair));
    mean("rewards/margins", &margin);
    mean("rewards/accuracies", &accuracy);
    mean("log_probs/chosen", &|pair| chosen(&log_probs, pair));
    mean("log_probs/rejected", &|pair| rejected(&log_probs, pair));
    Ok(stats)
}

/// Metrics of unpaired responses: means over all, over the desirable ones (`chosen`) and over the
/// undesirable ones (`rejected`). A desirable response counts as accurate where its implicit reward
/// is above the reference point, an undesirable one where it is not.
pub(crate) fn unpaired_stats(
    losses: &Tensor,
    implicit: &Tensor,
    log_probs: &Tensor,
    batch: &UnpairedPreferences,
) -> Result<Stats> {
    let to_f64 = |values: &Tensor| -> Result<Vec<f64>> {
        Ok(values
            .to_vec1::<f32>()?
            .into_iter()
            .map(f64::from)
            .collect())
    };
    let (losses, implicit, log_probs) = (to_f64(losses)?, to_f64(implicit)?, to_f64(log_probs)?);
    let reference_point = batch.reference_point.unwrap_or(0.0);
    let accuracy =
        |(h, desirable): (&f64, &bool)| f64::from(u8::from((*h > reference_point) == *desirable));
    let accuracy: Vec<f64> = implicit
        .iter()
        .zip(&batch.desirable)
        .map(accuracy)
        .collect();
    let mut stats = Stats::new();
    let mut mean = |name, values: &[f64], label: Option<bool>| {
        let labelled = values.iter().zip(&batch.desirable);
        let selected =
            labelled.filter(|(_, desirable)| label.is_none_or(|label| label == **desirable));
        let (sum, count) = selected.fold((0.0, 0.0), |(sum, count), (x, _)| (sum + x, count + 1.0));
        // A micro-batch may hold no response with the label.
        if count > 0.0 {
            stats.mean(name, sum, count);
        }
    };
    mean("loss", &losses, None);
    mean("rewards/chosen", &implicit, Some(true));
    mean("rewards/rejected", &implicit, Some(false));
    mean("rewards/accuracies", &accuracy, None);
    mean("log_probs/chosen", &log_probs, Some(true));
    mean("log_probs/rejected", &log_probs, Some(false));
    mean(
        "reference_point",
        &vec![reference_point; losses.len()],
        None,
    );
    Ok(stats)
}
