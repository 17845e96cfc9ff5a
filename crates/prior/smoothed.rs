//! A prior mixed with the uniform distribution at every token.

use crate::mean::{log_add, normalize};
use rlhf_objective::{
    Decoder, Error, LogDist, MappedDecoder, PerToken, Prior, Result, RowCallback, Sequences,
};
use std::ops::Range;

/// p₀(a|s) = (1 − ε)·p(a|s) + ε/V at every token: label smoothing (Szegedy et al. 2016, §7), applied to a
/// given distribution.
///
/// A model fitted to demonstrations gives tokens that it never saw a probability of almost 0. As a prior it
/// then excludes them, because the KL of a policy that samples them is unbounded. With smoothing no token costs more than log(V/ε) nats.
/// The mixture is per token: in a mixture of whole responses, after one such token the posterior weight of
/// the model would be almost 0.
pub struct Smoothed {
    prior: Box<dyn Prior>,
    vocab: usize,
    smoothing: f64,
}

impl Smoothed {
    /// Mixes `prior` with the uniform distribution over V tokens, which has the weight ε = `smoothing`.
    ///
    /// # Errors
    /// If ε is not between 0 and 1.
    pub fn new(prior: Box<dyn Prior>, vocab: usize, smoothing: f64) -> Result<Self> {
        if !(smoothing > 0.0 && smoothing < 1.0) {
            return Err(Error::Unsupported(format!(
                "the smoothing of a prior is {smoothing}: it must be between 0 and 1, both excluded"
            )));
        }
        Ok(Self {
            prior,
            vocab,
            smoothing,
        })
    }

    fn smooth(&self) -> Smoothing {
        Smoothing {
            log_keep: (-self.smoothing).ln_1p(),
            log_floor: self.smoothing.ln() - (self.vocab as f64).ln(),
        }
    }
}

/// Checks the vocabulary of the prior inside.
fn check_vocab(expected: usize, got: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Size {
        what: "vocabulary entries of a prior that is smoothed",
        expected,
        got,
    })
}

/// Smooths log-probs, given log(1 − ε) and log(ε/V), nats.
#[derive(Clone, Copy)]
struct Smoothing {
    log_keep: f64,
    log_floor: f64,
}

impl Smoothing {
    fn log_prob(self, log_prob: f32) -> f32 {
        log_add(self.log_keep + f64::from(log_prob), self.log_floor) as f32
    }

    fn in_place(self, log_probs: &mut [f32]) {
        log_probs.iter_mut().for_each(|x| *x = self.log_prob(*x));
    }

    fn per_token(self, log_probs: &PerToken) -> Result<PerToken> {
        let mut numbers = log_probs.to_vec()?;
        self.in_place(&mut numbers);
        PerToken::from_vec(numbers, log_probs.offsets())
    }
}

impl Prior for Smoothed {
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken> {
        let log_probs = self.prior.log_probs(sequences)?;
        self.smooth().per_token(&log_probs)
    }

    fn log_dist(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
        let log_dist = self.prior.log_dist(sequences, rows)?;
        let (vocab, mut flat) = (log_dist.vocab(), log_dist.to_vec());
        check_vocab(self.vocab, vocab)?;
        self.smooth().in_place(&mut flat);
        LogDist::of_log_probs(flat, vocab)
    }

    fn log_probs_with_rows(
        &mut self,
        sequences: &Sequences,
        each: &mut RowCallback<'_>,
    ) -> Result<PerToken> {
        let (smooth, vocab) = (self.smooth(), self.vocab);
        let log_probs = self
            .prior
            .log_probs_with_rows(sequences, &mut |rows, log_dist| {
                check_vocab(vocab, log_dist.vocab())?;
                let mut flat = log_dist.to_vec();
                smooth.in_place(&mut flat);
                each(rows, LogDist::of_log_probs(flat, vocab)?)
            })?;
        smooth.per_token(&log_probs)
    }

    fn is_normalized(&self) -> bool {
        self.prior.is_normalized()
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        let smooth = self.smooth();
        let decoder = self.prior.decoder()?;
        check_vocab(self.vocab, decoder.vocab())?;
        Ok(Box::new(MappedDecoder::new(decoder, move |row| {
            normalize(row);
            smooth.in_place(row);
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frozen;
    use rlhf_objective::{Network, exact_kl};
    use rlhf_policy::testing::{Bigram, sequences};
    use rlhf_tensor::Storage;

    /// A frozen bigram model that gives token 1 the probability 0.
    fn without_token_1() -> Box<dyn Prior> {
        let mut network = Bigram::random(5, Storage::Trainable, 1);
        let table = &mut network.parameter_sets_mut()[0];
        let mut logits = table.weights("logits").unwrap().into_owned();
        for row in logits.chunks_mut(5) {
            row[1] = f32::NEG_INFINITY;
        }
        table.set_weights("logits", &logits).unwrap();
        let folder = tempfile::tempdir().unwrap();
        network.save(folder.path()).unwrap();
        let frozen = Bigram::load(folder.path(), Storage::Frozen).unwrap();
        Box::new(Frozen::new(Box::new(frozen)).unwrap())
    }

    #[test]
    fn smoothing_bounds_the_kl_of_tokens_of_probability_zero() {
        let (mut policy, s) = (Bigram::random(5, Storage::Frozen, 2), sequences());
        policy
            .forward(&s, rlhf_objective::OutputSpec::SCORE)
            .unwrap();
        let kl = |prior: &mut dyn Prior, policy: &mut Bigram| -> Vec<f32> {
            exact_kl(policy, prior, &s).unwrap().kl.to_vec().unwrap()
        };
        assert!(
            kl(&mut *without_token_1(), &mut policy)
                .iter()
                .all(|x| *x == f32::INFINITY)
        );
        let mut smoothed = Smoothed::new(without_token_1(), 5, 1e-3).unwrap();
        let most = (5.0f32 / 1e-3).ln();
        let kl = kl(&mut smoothed, &mut policy);
        assert!(kl.iter().all(|x| *x >= 0.0 && *x < most), "{kl:?}");
        // ε/V for the token that the model forbids, (1 − ε)·p + ε/V for the others.
        let (plain, smooth) = (without_token_1().log_probs(&s), smoothed.log_probs(&s));
        let pairs = plain.unwrap().to_vec().unwrap().into_iter();
        let mut forbidden = 0;
        for (plain, smooth) in pairs.zip(smooth.unwrap().to_vec().unwrap()) {
            let expected = 0.999 * f64::from(plain).exp() + 2e-4;
            assert!((f64::from(smooth) - expected.ln()).abs() < 1e-5);
            forbidden += usize::from(plain == f32::NEG_INFINITY);
        }
        assert_eq!(forbidden, 2);
    }

    #[test]
    fn a_vocabulary_of_another_size_is_an_error() {
        let mut wrong = Smoothed::new(without_token_1(), 1, 1e-3).unwrap();
        let s = sequences();
        assert!(wrong.log_dist(&s, 0..1).is_err());
        assert!(wrong.log_probs_with_rows(&s, &mut |_, _| Ok(())).is_err());
        assert!(wrong.decoder().is_err());
    }

    #[test]
    fn a_weight_out_of_range_is_an_error() {
        for smoothing in [0.0, 1.0, -0.1, f64::NAN] {
            let error = Smoothed::new(without_token_1(), 5, smoothing)
                .err()
                .unwrap();
            assert!(error.to_string().contains("between 0 and 1"), "{error}");
        }
    }
}
