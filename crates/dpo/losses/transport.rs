//! What AOT compares: margins of the prior and of the policy of the same rank in a batch.

/// For each pair, the prior's margin of the rank that the policy's margin has. With it in place of
/// the pair's own, the loss of a batch is that of two sorted samples, a sum over pairs: the optimal
/// transport between the distributions of both margins in one dimension. Ties fall in the order of
/// the pairs, which changes no sum.
pub(crate) fn matched_margins(policy: &[f32], prior: &[f32]) -> Vec<f32> {
    let ranked = |margins: &[f32]| {
        let mut order: Vec<usize> = (0..margins.len()).collect();
        order.sort_by(|&a, &b| margins[a].total_cmp(&margins[b]));
        order
    };
    let mut matched = vec![0.0; prior.len()];
    for (pair, other) in ranked(policy).into_iter().zip(ranked(prior)) {
        matched[pair] = prior[other];
    }
    matched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_matched() {
        let matched = matched_margins(&[3.0, -1.0, 0.5], &[10.0, 30.0, 20.0]);
        assert_eq!(matched, [30.0, 10.0, 20.0]);
    }
}
