//! Geometric and arithmetic means of two distributions over the next token.

/// A mean of two rows, with its weights at the current prefix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mean {
    /// ∝ p₁^(1−w)·p₂^w.
    Geometric {
        /// w, in (0, 1).
        weight: f64,
    },
    /// (1 − w)·p₁ + w·p₂, as log(1 − w) and log w, nats.
    Arithmetic {
        /// The log-weights of the first and of the second.
        log_weights: [f64; 2],
    },
}

impl Mean {
    pub(crate) fn arithmetic(weight: f64) -> Self {
        Self::Arithmetic {
            log_weights: [(1.0 - weight).ln(), weight.ln()],
        }
    }

    /// The log-distribution of the mean of two log-distributions: \[V\], nats.
    pub(crate) fn row(self, first: &[f32], second: &[f32], out: &mut [f32]) {
        let pairs = first.iter().zip(second);
        let pairs = pairs.map(|(&a, &b)| (f64::from(a), f64::from(b)));
        for (mean, (a, b)) in out.iter_mut().zip(pairs) {
            *mean = match self {
                Self::Geometric { weight } => (1.0 - weight) * a + weight * b,
                Self::Arithmetic {
                    log_weights: [u, w],
                } => log_add(u + a, w + b),
            } as f32;
        }
        normalize(out);
    }

    /// The mean after a token to which the two distributions give these log-probs, nats. The weights of
    /// an arithmetic mean become the posterior probabilities that the first or the second generated the
    /// response. A token of probability 0 under both leaves them unchanged.
    pub(crate) fn after(self, first: f64, second: f64) -> Self {
        let Self::Arithmetic {
            log_weights: [u, w],
        } = self
        else {
            return self;
        };
        let total = log_add(u + first, w + second);
        if total == f64::NEG_INFINITY {
            self
        } else {
            Self::Arithmetic {
                log_weights: [u + first - total, w + second - total],
            }
        }
    }
}

/// Subtracts log Σ exp(x), which makes scores log-probabilities.
pub(crate) fn normalize(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    let log_sum = (f64::from(max) + sum.ln()) as f32;
    for x in row {
        *x -= log_sum;
    }
}

/// log(eᵃ + eᵇ).
pub(crate) fn log_add(a: f64, b: f64) -> f64 {
    let max = a.max(b);
    if max == f64::NEG_INFINITY {
        max
    } else {
        max + (-(a - b).abs()).exp().ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(probabilities: [f64; 3]) -> [f32; 3] {
        probabilities.map(|p| p.ln() as f32)
    }

    fn row(mean: Mean, first: [f64; 3], second: [f64; 3]) -> [f64; 3] {
        let mut out = [0.0; 3];
        mean.row(&logs(first), &logs(second), &mut out);
        out.map(|x| f64::from(x).exp())
    }

    fn close(a: [f64; 3], b: [f64; 3]) {
        assert!(
            a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-7),
            "{a:?} is not {b:?}"
        );
    }

    #[test]
    fn row_is_the_mean_of_two_rows() {
        let (p, q) = ([0.2, 0.8, 0.0], [0.5, 0.2, 0.3]);
        close(row(Mean::arithmetic(0.25), p, q), [0.275, 0.65, 0.075]);
        // ∝ √0.1, √0.16, and 0 for the token that only one of the two allows.
        let total = 0.1f64.sqrt() + 0.4;
        let geometric = Mean::Geometric { weight: 0.5 };
        close(
            row(geometric, p, q),
            [0.1f64.sqrt() / total, 0.4 / total, 0.0],
        );
    }

    #[test]
    fn weights_become_the_posterior() {
        let mean = Mean::arithmetic(0.25).after(0.1f64.ln(), 0.6f64.ln());
        let Mean::Arithmetic { log_weights } = mean else {
            panic!("an arithmetic mean stays one")
        };
        let second = 0.25 * 0.6 / (0.25 * 0.6 + 0.75 * 0.1);
        assert!((log_weights[0].exp() + second - 1.0).abs() < 1e-12);
        assert!((log_weights[1].exp() - second).abs() < 1e-12);
        assert_eq!(mean.after(f64::NEG_INFINITY, f64::NEG_INFINITY), mean);
        let certain = mean.after(f64::NEG_INFINITY, -1.0);
        assert_eq!(
            certain,
            Mean::Arithmetic {
                log_weights: [f64::NEG_INFINITY, 0.0]
            }
        );
        close(
            row(certain, [0.2, 0.8, 0.0], [0.5, 0.2, 0.3]),
            [0.5, 0.2, 0.3],
        );
        let geometric = Mean::Geometric { weight: 0.3 };
        assert_eq!(geometric.after(-1.0, -2.0), geometric);
    }
}
