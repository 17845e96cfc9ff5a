//! A mean of two priors as the prior.

use crate::mean::Mean;
use crate::mixture_decoder::MixtureDecoder;
use rayon::prelude::*;
use rlhf_objective::{
    Decoder, Error, LogDist, PerToken, Prior, Result, RowCallback, Sequences, rows_at_once,
};
use std::ops::Range;

/// A mean of two priors, each a distribution over tokens. There are two means, which differ:
///
/// * [geometric per token](Self::geometric_per_token), high where both priors are;
/// * [arithmetic over sequences](Self::arithmetic_over_sequences), high where either prior is.
pub struct Mixture {
    first: Box<dyn Prior>,
    second: Box<dyn Prior>,
    /// The mean at the first token.
    mean: Mean,
    /// The id of the last batch, and the means at its tokens.
    last: Option<(u64, Vec<Mean>)>,
}

impl Mixture {
    /// p₀(a|s) ∝ p₁(a|s)^(1−w)·p₂(a|s)^w, normalized at every token, so that it can be sampled from.
    ///
    /// The sum of two penalties β₁·KL(π‖p₁) + β₂·KL(π‖p₂) is the penalty to the geometric mean of *whole
    /// responses* with w = β₂/(β₁ + β₂). Normalizing at every token drops the term Σₜ −log Z(sₜ), so this
    /// prior is a different one.
    ///
    /// # Errors
    /// If `weight`, w, is not between 0 and 1.
    pub fn geometric_per_token(
        first: Box<dyn Prior>,
        second: Box<dyn Prior>,
        weight: f64,
    ) -> Result<Self> {
        Self::new(first, second, Mean::Geometric { weight }, weight)
    }

    /// p₀(y|x) = (1 − w)·p₁(y|x) + w·p₂(y|x): one of the two is chosen and generates the whole response.
    /// At each token it is an arithmetic mean in which the second has the posterior weight
    /// wₜ = w·p₂(y₍<t₎|x) / ((1 − w)·p₁(y₍<t₎|x) + w·p₂(y₍<t₎|x)). A mean with the constant w at each
    /// token would be a different prior.
    ///
    /// # Errors
    /// If `weight`, w, is not between 0 and 1.
    pub fn arithmetic_over_sequences(
        first: Box<dyn Prior>,
        second: Box<dyn Prior>,
        weight: f64,
    ) -> Result<Self> {
        Self::new(first, second, Mean::arithmetic(weight), weight)
    }

    fn new(first: Box<dyn Prior>, second: Box<dyn Prior>, mean: Mean, weight: f64) -> Result<Self> {
        if !(weight > 0.0 && weight < 1.0) {
            return Err(Error::Unsupported(format!(
                "the weight of a mixture is {weight}: it must be between 0 and 1, both excluded"
            )));
        }
        let last = None;
        Ok(Self {
            first,
            second,
            mean,
            last,
        })
    }

    /// The mean at each of the N tokens of a batch.
    fn means(&mut self, sequences: &Sequences) -> Result<&[Mean]> {
        let id = sequences.id();
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            self.last = None;
            let first = self.first.log_probs(sequences)?.to_vec()?;
            let second = self.second.log_probs(sequences)?.to_vec()?;
            let mut means = Vec::with_capacity(first.len());
            for ends in sequences.offsets().windows(2) {
                let mut mean = self.mean;
                for t in ends[0]..ends[1] {
                    means.push(mean);
                    mean = mean.after(f64::from(first[t]), f64::from(second[t]));
                }
            }
            self.last = Some((id, means));
        }
        Ok(self.last.as_ref().map_or(&[], |(_, means)| means))
    }

    /// The mixed rows of a range, flat, and V.
    fn rows(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<(Vec<f32>, usize)> {
        let tokens = self.means(sequences)?.len();
        if rows.end > tokens {
            return Err(Error::Size {
                what: "rows of a batch",
                expected: tokens,
                got: rows.end,
            });
        }
        let first = self.first.log_dist(sequences, rows.clone())?;
        let second = self.second.log_dist(sequences, rows.clone())?;
        let (expected, got) = (first.vocab(), second.vocab());
        if expected != got {
            return Err(Error::Size {
                what: "vocabulary entries of the second prior of a mixture",
                expected,
                got,
            });
        }
        let (first, second) = (first.to_vec(), second.to_vec());
        let means = &self.means(sequences)?[rows];
        let mut mixed = vec![0.0; first.len()];
        (
            mixed.par_chunks_mut(expected),
            first.par_chunks(expected),
            second.par_chunks(expected),
        )
            .into_par_iter()
            .zip(means)
            .for_each(|((out, a, b), mean)| mean.row(a, b, out));
        Ok((mixed, expected))
    }
}

impl Prior for Mixture {
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken> {
        self.log_probs_with_rows(sequences, &mut |_, _| Ok(()))
    }

    fn log_dist(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
        let (rows, vocab) = self.rows(sequences, rows)?;
        LogDist::of_log_probs(rows, vocab)
    }

    fn log_probs_with_rows(
        &mut self,
        sequences: &Sequences,
        each: &mut RowCallback<'_>,
    ) -> Result<PerToken> {
        let responses = sequences.responses().iter();
        let tokens: Vec<u32> = responses.flat_map(|y| y.ids.iter().copied()).collect();
        let mut log_probs = Vec::with_capacity(tokens.len());
        for range in rows_at_once(tokens.len()) {
            let (rows, vocab) = self.rows(sequences, range.clone())?;
            let taken = rows.chunks(vocab).zip(&tokens[range.clone()]);
            log_probs.extend(taken.map(|(row, &token)| row[token as usize]));
            each(range, LogDist::of_log_probs(rows, vocab)?)?;
        }
        PerToken::from_vec(log_probs, sequences.offsets())
    }

    /// Both means are normalized at every token, even if the priors are not.
    fn is_normalized(&self) -> bool {
        true
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        self.last = None;
        let decoder = MixtureDecoder::new(self.first.decoder()?, self.second.decoder()?, self.mean);
        Ok(Box::new(decoder?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counting, Uniform};
    use rlhf_policy::testing::sequences;

    #[test]
    fn invalid_weights_vocabularies_and_tokens_are_errors() {
        let uniform = |vocab| -> Box<dyn Prior> { Box::new(Uniform::new(vocab)) };
        for weight in [0.0, 1.0, -0.5, f64::NAN] {
            let error = Mixture::geometric_per_token(uniform(5), uniform(5), weight);
            assert!(error.err().unwrap().to_string().contains("between 0 and 1"));
        }
        let mut mismatched =
            Mixture::arithmetic_over_sequences(uniform(5), uniform(6), 0.5).unwrap();
        assert!(mismatched.log_dist(&sequences(), 0..1).is_err());
        assert!(mismatched.decoder().is_err());
        let mut matching = Mixture::arithmetic_over_sequences(uniform(5), uniform(5), 0.5).unwrap();
        let mut decoder = matching.decoder().unwrap();
        let start = rlhf_objective::Start {
            prompt: &[1],
            samples: 1,
            max_new_tokens: 2,
        };
        decoder.start(&[start]).unwrap();
        assert!(decoder.step(&[5]).is_err());
        drop(decoder);
        let counting = Box::new(Counting::new(5));
        let mut counting = Mixture::geometric_per_token(counting, uniform(5), 0.5).unwrap();
        assert!(counting.decoder().is_err());
        assert!(counting.log_dist(&sequences(), 7..9).is_err());
    }
}
