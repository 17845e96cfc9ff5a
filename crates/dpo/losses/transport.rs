//! Rank matching for AOT: pairs each policy margin with the prior margin of the same rank.

/// For each pair, the prior margin whose rank in the batch is that of the pair's policy margin, nats.
/// With it, the loss of a batch is a sum over pairs of two sorted samples: one-dimensional optimal
/// transport between the two distributions of margins. Ties are broken by the order of the pairs,
/// which does not change the sum.
pub(crate) fn matched_margins(policy: &[f32], prior: &[f32]) -> Vec<f32> {
    let ranked = |margins: &[f32]| {
        let mut order: Vec<usize> = (0..margins.len()).collect();
        order.sort_by(|&a, &b| margins[a].total_cmp(&margins[b]));
        order
    };
    let mut matched = vec![0.0; prior.len()];
    for (pair, prior_pair) in ranked(policy).into_iter().zip(ranked(prior)) {
        matched[pair] = prior[prior_pair];
    }
    matched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_matched_by_rank() {
        let matched = matched_margins(&[3.0, -1.0, 0.5], &[10.0, 30.0, 20.0]);
        assert_eq!(matched, [30.0, 10.0, 20.0]);
    }
}
