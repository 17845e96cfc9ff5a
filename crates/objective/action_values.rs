//! A critic's Q value of every token of the vocabulary, and soft values under a prior.

use crate::rows::{check_rows, check_tokens, check_vocab, check_whole_rows};
use crate::{Error, LogDist, Result, RowGradients};
use rlhf_device::Rows;
use std::borrow::Cow;

/// Q(x, y₍<t₎, a) of every token a, in units of the reward: [rows, V]. Like [`LogDist`], a handle to rows
/// on the device that computed them, with operations on rows.
#[derive(Debug, Clone)]
pub struct ActionValues<'a>(Rows<'a>);

/// From rows on a device.
impl<'a> From<Rows<'a>> for ActionValues<'a> {
    fn from(rows: Rows<'a>) -> Self {
        Self(rows)
    }
}

/// One number per row, and the gradient of their weighted sum.
#[derive(Debug, Clone, PartialEq)]
pub struct RowValues {
    /// \[rows\], in units of the reward.
    pub values: Vec<f32>,
    derivatives: Rows<'static>,
}

impl RowValues {
    fn of((values, derivatives): (Vec<f32>, Rows<'static>)) -> Self {
        Self {
            values,
            derivatives,
        }
    }

    /// The gradient of Σ `upstream`·`values`.
    ///
    /// # Errors
    /// If `upstream` does not have one number per row.
    pub fn gradient(self, upstream: &[f32]) -> Result<RowGradients> {
        RowGradients::weighted(self.derivatives, upstream)
    }
}

impl<'a> ActionValues<'a> {
    /// From numbers on the host, [rows, V].
    ///
    /// # Errors
    /// If their number is not a multiple of V.
    pub fn new(values: impl Into<Cow<'a, [f32]>>, vocab: usize) -> Result<Self> {
        let values = values.into();
        check_whole_rows("action values", values.len(), vocab)?;
        Ok(Self(Rows::new(values, vocab)))
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.rows()
    }

    /// Q of one token per row: \[rows\].
    ///
    /// # Errors
    /// If there is not one token per row, or one is not in the vocabulary.
    pub fn gather(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        check_tokens(tokens, self.rows(), self.0.vocab())?;
        Ok(self.0.gather(tokens))
    }

    /// The gradient of Σ `upstream`·[`gather`](Self::gather) with respect to Q.
    ///
    /// # Errors
    /// As [`gather`](Self::gather), or if `upstream` does not have one number per row.
    pub fn gather_gradient(&self, tokens: &[u32], upstream: &[f32]) -> Result<RowGradients> {
        check_tokens(tokens, self.rows(), self.0.vocab())?;
        check_rows(upstream.len(), self.rows())?;
        Ok(Rows::one_hot(tokens, upstream, self.0.vocab()).into())
    }

    /// The soft value of each row under a prior, β·log Σ_a p₀(a)·exp(Q(a)/β) (Haarnoja et al. 2017,
    /// eq. 3, with p₀ for the uniform measure): \[rows\], in units of the reward. At β = 0 it is the
    /// greatest Q among the tokens that the prior allows. Its gradient is with respect to Q: the
    /// policy that is optimal for this row.
    ///
    /// # Errors
    /// If rows or vocabularies differ, or β is negative.
    pub fn soft_value(&self, prior: &LogDist<'_>, beta: f64) -> Result<RowValues> {
        self.check(prior, beta)?;
        let found = self.0.soft_value(prior.as_rows(), beta as f32);
        Ok(RowValues::of(found))
    }

    /// The expected tilt of each row, Σ_a π(a)·(β·(log π(a) − log p₀(a)) − Q(a)): what an actor
    /// minimizes (Haarnoja et al. 2018, eq. 12, with p₀ for the uniform measure), minus the value of π
    /// under Q. Its gradient is with respect to the scores of `policy`.
    ///
    /// # Errors
    /// If rows or vocabularies differ, or β is negative.
    pub fn expected_tilt(
        &self,
        policy: &LogDist<'_>,
        prior: &LogDist<'_>,
        beta: f64,
    ) -> Result<RowValues> {
        self.check(policy, beta)?;
        policy.check_same_shape(prior)?;
        let (policy, prior) = (policy.as_rows(), prior.as_rows());
        let found = policy.expected_tilt(prior, Some(&self.0), beta as f32);
        Ok(RowValues::of(found))
    }

    fn check(&self, rows: &LogDist<'_>, beta: f64) -> Result<()> {
        check_rows(rows.rows(), self.rows())?;
        check_vocab(rows.vocab(), self.0.vocab())?;
        if beta >= 0.0 && beta.is_finite() {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "beta = {beta} is not valid: it must be a finite number of at least 0"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tilt;
    use rlhf_tensor::{Device, Tensor};

    /// Compares with the expectation of the host's [`tilt`].
    #[test]
    fn expected_tilt_is_the_mean_of_the_host_tilt_minus_q() {
        let log = |p: [f32; 3]| p.map(f32::ln);
        let (pi, prior) = (log([0.5, 0.3, 0.2]), log([0.2, 0.3, 0.5]));
        let q = [1.0f32, 0.0, 0.5];
        let tensor = |x: &[f32; 3]| Tensor::new(x, &Device::Cpu).unwrap();
        let tilts = tilt(&tensor(&pi), &tensor(&prior), 0.5).unwrap();
        let tilts = tilts.to_vec1::<f32>().unwrap();
        let terms = pi.iter().zip(&tilts).zip(&q);
        let expected: f32 = terms.map(|((pi, tilt), q)| pi.exp() * (tilt - q)).sum();
        let of = |x: &[f32; 3]| LogDist::of_log_probs(x.to_vec(), 3).unwrap();
        let values = ActionValues::new(&q[..], 3).unwrap();
        let found = values.expected_tilt(&of(&pi), &of(&prior), 0.5).unwrap();
        assert!((found.values[0] - expected).abs() < 1e-6);
        assert!((found.values[0] + 0.462_556_4).abs() < 1e-6);
        // Its minimum is minus the soft value.
        let best = log([0.471_097_8, 0.095_634_23, 0.433_268]);
        let least = values.expected_tilt(&of(&best), &of(&prior), 0.5).unwrap();
        let soft = values.soft_value(&of(&prior), 0.5).unwrap();
        assert!((least.values[0] + soft.values[0]).abs() < 1e-6);
        let flat = least.gradient(&[1.0]).unwrap();
        assert!(flat.to_vec().iter().all(|x| x.abs() < 1e-6), "{flat:?}");
    }

    #[test]
    fn wrong_shapes_and_invalid_beta_are_errors() {
        let values = ActionValues::new(vec![0.0; 6], 3).unwrap();
        let prior = LogDist::of_log_probs(vec![0.0; 3], 3).unwrap();
        assert!(values.soft_value(&prior, 1.0).is_err());
        let prior = LogDist::of_log_probs(vec![0.0; 6], 3).unwrap();
        for beta in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(values.soft_value(&prior, beta).is_err());
        }
        assert!(ActionValues::new(vec![0.0; 5], 3).is_err());
        assert!(values.gather(&[0, 3]).is_err());
        let gradient = values.gather_gradient(&[2, 0], &[1.5, -1.0]).unwrap();
        assert_eq!(gradient.to_vec(), [0.0, 0.0, 1.5, -1.0, 0.0, 0.0]);
    }
}
