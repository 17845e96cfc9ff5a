//! Sums over the vocabulary with a prior and action values, for losses over whole rows.

use super::simd::{dispatch, exp, isa, max};
use rayon::prelude::*;

/// Rows of scores over V tokens, and the log normalizer of each row.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// [rows, V].
    pub scores: &'a [f32],
    /// \[rows\].
    pub log_sums: &'a [f32],
}

impl<'a> Scored<'a> {
    fn row(self, row: usize, vocab: usize) -> (&'a [f32], f32) {
        (&self.scores[row * vocab..][..vocab], self.log_sums[row])
    }
}

/// Σ_a π(a)·(β·(log π(a) − log p(a)) − Q(a)). If `gradient` is not empty it receives the derivative with respect to
/// the scores of π: π(a)·(g(a) − Σ π·g), where g is the bracket.
#[inline(always)]
fn tilt_body<const FUSED: bool>(
    (policy, policy_sum): (&[f32], f32),
    (prior, prior_sum): (&[f32], f32),
    values: &[f32],
    beta: f32,
    gradient: &mut [f32],
) -> f64 {
    let mut total = 0.0;
    for (i, ((x, p), q)) in policy.iter().zip(prior).zip(values).enumerate() {
        let log_prob = x - policy_sum;
        let weight = exp::<FUSED>(log_prob);
        // A token of probability 0 adds nothing, for any prior.
        let cost = if weight == 0.0 {
            0.0
        } else if beta == 0.0 {
            -q
        } else {
            beta * (log_prob - (p - prior_sum)) - q
        };
        total += f64::from(weight) * f64::from(cost);
        if let Some(gradient) = gradient.get_mut(i) {
            *gradient = cost;
        }
    }
    let mean = total as f32;
    for (gradient, x) in gradient.iter_mut().zip(policy) {
        *gradient = exp::<FUSED>(x - policy_sum) * (*gradient - mean);
    }
    total
}
dispatch!(fn tilt_row = tilt_body(
    policy: (&[f32], f32), prior: (&[f32], f32), values: &[f32], beta: f32, gradient: &mut [f32]
) -> f64);

/// β·log Σ_a p(a)·exp(Q(a)/β), at β = 0 the greatest Q among the tokens that the prior allows; and, if
/// `gradient` is not empty, its derivative with respect to Q: the tilted prior, p·exp((Q − V)/β).
#[inline(always)]
fn soft_value_body<const FUSED: bool>(
    values: &[f32],
    (prior, prior_sum): (&[f32], f32),
    beta: f32,
    gradient: &mut [f32],
) -> f64 {
    let mut largest = f32::NEG_INFINITY;
    for (q, p) in values.iter().zip(prior) {
        if *p > f32::NEG_INFINITY {
            largest = largest.max(*q);
        }
    }
    let mut total = 0.0f64;
    for (i, (q, p)) in values.iter().zip(prior).enumerate() {
        let weight = if *p == f32::NEG_INFINITY {
            0.0
        } else if beta == 0.0 {
            if *q == largest {
                exp::<FUSED>(p - prior_sum)
            } else {
                0.0
            }
        } else {
            exp::<FUSED>((p - prior_sum) + (q - largest) / beta)
        };
        total += f64::from(weight);
        if let Some(gradient) = gradient.get_mut(i) {
            *gradient = weight;
        }
    }
    let scale = (1.0 / total) as f32;
    gradient.iter_mut().for_each(|gradient| *gradient *= scale);
    let above = if beta == 0.0 {
        0.0
    } else {
        f64::from(beta) * total.ln()
    };
    f64::from(largest) + above
}
dispatch!(fn soft_value_row = soft_value_body(
    values: &[f32], prior: (&[f32], f32), beta: f32, gradient: &mut [f32]
) -> f64);

/// The value of a function of each row, and its derivative.
#[derive(Debug, Clone, PartialEq)]
pub struct RowResults {
    /// \[rows\].
    pub values: Vec<f32>,
    /// [rows, V], each row the derivative of that row's value.
    pub derivatives: Vec<f32>,
}

/// The expected tilt of each row, Σ_a π(a)·(β·(log π(a) − log p(a)) − Q(a)), and its derivative with
/// respect to the scores of π. `values` is Q, [rows, V].
///
/// # Panics
/// If the sizes differ.
#[must_use]
pub fn expected_tilt_rows(
    policy: Scored<'_>,
    prior: Scored<'_>,
    values: &[f32],
    beta: f32,
    vocab: usize,
) -> RowResults {
    assert_eq!(
        (policy.scores.len(), prior.scores.len()),
        (values.len(), values.len())
    );
    let isa = isa();
    of_rows(values.len() / vocab.max(1), vocab, |row, gradient| {
        let values = &values[row * vocab..][..vocab];
        tilt_row(
            isa,
            policy.row(row, vocab),
            prior.row(row, vocab),
            values,
            beta,
            gradient,
        )
    })
}

/// The soft value of each row, β·log Σ_a p(a)·exp(Q(a)/β), and its derivative with respect to Q.
/// `values` is Q, [rows, V].
///
/// # Panics
/// If the sizes differ.
#[must_use]
pub fn soft_value_rows(values: &[f32], prior: Scored<'_>, beta: f32, vocab: usize) -> RowResults {
    assert_eq!(prior.scores.len(), values.len());
    let isa = isa();
    of_rows(values.len() / vocab.max(1), vocab, |row, gradient| {
        let values = &values[row * vocab..][..vocab];
        soft_value_row(isa, values, prior.row(row, vocab), beta, gradient)
    })
}

fn of_rows(
    rows: usize,
    vocab: usize,
    of_row: impl Fn(usize, &mut [f32]) -> f64 + Sync,
) -> RowResults {
    let mut results = RowResults {
        values: vec![0.0; rows],
        derivatives: vec![0.0; rows * vocab],
    };
    let gradients = results.derivatives.par_chunks_mut(vocab.max(1));
    let all = gradients.zip(&mut results.values).enumerate();
    all.for_each(|(row, (gradient, value))| *value = of_row(row, gradient) as f32);
    results
}

/// The `count` greatest scores of a row with their tokens, in descending order, equal ones by token. Scores of −∞
/// are left out.
#[must_use]
pub fn top(scores: &[f32], count: usize) -> Vec<(u32, f32)> {
    let possible = scores.iter().copied().zip(0u32..);
    let mut all: Vec<(u32, f32)> = possible
        .filter(|(score, _)| *score > f32::NEG_INFINITY)
        .map(|(score, token)| (token, score))
        .collect();
    let first = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < all.len() && count > 0 {
        all.select_nth_unstable_by(count - 1, first);
    }
    all.truncate(count);
    all.sort_unstable_by(first);
    all
}

/// The token with the greatest score, the first among equal ones, and its log-probability in nats.
#[must_use]
pub fn greedy_row(scores: &[f32]) -> (u32, f32) {
    let best = max(scores);
    let token = scores.iter().position(|score| *score == best).unwrap_or(0);
    let above = |&score: &f32| f64::from(score - best).exp();
    let log_sum = scores.iter().map(above).sum::<f64>().ln();
    (token as u32, -log_sum as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::all;

    fn log(p: [f32; 3]) -> [f32; 3] {
        p.map(f32::ln)
    }

    const Q: [f32; 3] = [1.0, 0.0, 0.5];

    /// An actor's loss against a prior, as enumeration in f64 gives it.
    #[test]
    fn the_golden_actor() {
        let (policy, prior) = (log([0.5, 0.3, 0.2]), log([0.2, 0.3, 0.5]));
        for isa in all() {
            let mut gradient = [0.0; 3];
            let found = tilt_row(isa, (&policy, 0.0), (&prior, 0.0), &Q, 0.5, &mut gradient);
            assert!((found + 0.462_556_39).abs() < 1e-6, "{found}");
            for (got, want) in gradient
                .iter()
                .zip([-0.039_649_12, 0.138_766_92, -0.099_117_8])
            {
                assert!((got - want).abs() < 1e-6, "{gradient:?}");
            }
            let value = soft_value_row(isa, &Q, (&prior, 0.0), 0.5, &mut gradient);
            assert!((value - 0.571_625_84).abs() < 1e-6, "{value}");
            for (got, want) in gradient
                .iter()
                .zip([0.471_097_8, 0.095_634_23, 0.433_267_98])
            {
                assert!((got - want).abs() < 1e-6, "{gradient:?}");
            }
        }
    }

    #[test]
    fn derivatives_are_slopes() {
        let vocab = 37;
        let wave = |shift: f32| -> Vec<f32> {
            (0..2 * vocab)
                .map(|i| (i as f32 * 0.7 + shift).sin() * 2.0)
                .collect()
        };
        let (policy, prior, q) = (wave(0.0), wave(1.0), wave(2.0));
        let sums = |scores: &[f32]| -> Vec<f32> {
            let sum =
                |row: &[f32]| row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln() as f32;
            scores.chunks(vocab).map(sum).collect()
        };
        let prior_sums = sums(&prior);
        let prior = Scored {
            scores: &prior,
            log_sums: &prior_sums,
        };
        let tilt = |scores: &[f32]| {
            let log_sums = sums(scores);
            let policy = Scored {
                scores,
                log_sums: &log_sums,
            };
            expected_tilt_rows(policy, prior, &q, 0.3, vocab)
        };
        let soft = |values: &[f32]| soft_value_rows(values, prior, 0.3, vocab);
        for (at, of) in [
            (&policy, &tilt as &dyn Fn(&[f32]) -> RowResults),
            (&q, &soft),
        ] {
            let found = of(at);
            for i in [0, 5, 36, 40, 73] {
                let moved = |by: f32| {
                    let mut moved = at.clone();
                    moved[i] += by;
                    f64::from(of(&moved).values[i / vocab])
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let got = f64::from(found.derivatives[i]);
                assert!((slope - got).abs() < 2e-4, "{i}: {slope} {got}");
            }
        }
    }

    #[test]
    fn forbidden_tokens_and_a_beta_of_zero() {
        let inf = f32::NEG_INFINITY;
        let prior = [0.5f32.ln(), 0.5f32.ln(), inf];
        let q = [0.0, 0.0, 100.0];
        let isa = isa();
        let mut tilted = [0.0; 3];
        for beta in [0.5, 0.0] {
            // A token that the prior excludes does not count, for any Q.
            let value = soft_value_row(isa, &q, (&prior, 0.0), beta, &mut tilted);
            assert!(value.abs() < 1e-6, "{value}");
            assert_eq!(tilted[2], 0.0);
        }
        let policy = [0.25f32.ln(), 0.75f32.ln(), inf];
        let cost = tilt_row(isa, (&policy, 0.0), (&prior, 0.0), &Q, 0.0, &mut []);
        assert!((cost + 0.25).abs() < 1e-6, "{cost}");
        let outside = [inf, inf, 0.0];
        let cost = tilt_row(isa, (&outside, 0.0), (&prior, 0.0), &Q, 0.5, &mut []);
        assert_eq!(cost, f64::INFINITY);
    }

    #[test]
    fn the_greatest_come_first() {
        let scores = [0.5, 3.0, f32::NEG_INFINITY, 3.0, -1.0];
        assert_eq!(top(&scores, 3), [(1, 3.0), (3, 3.0), (0, 0.5)]);
        assert_eq!(top(&scores, 9).len(), 4);
        assert!(top(&scores, 0).is_empty());
        let (token, log_prob) = greedy_row(&scores);
        let total: f64 = scores.iter().map(|x| f64::from(*x).exp()).sum();
        assert_eq!(token, 1);
        assert!((f64::from(log_prob) - (3.0 - total.ln())).abs() < 1e-6);
    }
}
