//! Conformance checks: properties that every prior, reward and network must have.
//!
//! Run them on your own implementations. Each function takes an implementation and a batch to check it
//! on, and returns an error that names the property that does not hold. [`batch`] makes a batch. Numbers
//! are compared within [`TOLERANCE`].
//!
//! ```
//! use rlhf_objective::{PerSeq, Result, Reward, Sequences, conformance};
//!
//! /// Counts its calls, so that the score of a response depends on earlier calls.
//! struct Counter(f32);
//!
//! impl Reward for Counter {
//!     fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
//!         let next = |_| { self.0 += 1.0; self.0 };
//!         PerSeq::from_vec((0..sequences.len()).map(next).collect())
//!     }
//! }
//!
//! let error = conformance::reward(&mut Counter(0.0), &conformance::batch(11)).unwrap_err();
//! assert!(error.to_string().contains("second call"));
//! ```

mod compare;

use crate::{
    Finish, KlPenalty, Network, Objective, OutputSpec, PerSeq, Prior, Prompt, Response, Result,
    Reward, Rollouts, Scored, Sequences, exact_kl, finite_scores,
};
use compare::{
    RowRecorder, check_close, check_decoder, check_detached, check_finite, check_same, entropy_of,
    gather, rows, sum_to_one, violation,
};

/// The tolerance of comparisons: relative for numbers above 1, absolute below.
pub const TOLERANCE: f64 = 1e-4;

/// Whether a prior is a distribution, which decides what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// A distribution with a decoder: rows sum to 1, and the decoder draws from them.
    Drawable,
    /// A distribution, with or without a decoder: rows sum to 1.
    Distribution,
    /// A measure that is not a distribution, like the counting measure: rows need not sum to 1.
    Weights,
}

/// A ragged batch over V tokens, in which responses that are not neighbours share a prompt, and one
/// response has one token.
///
/// # Panics
/// If V is 0.
#[must_use]
pub fn batch(vocab: u32) -> Sequences {
    let tokens = |start: u32, count: u32| -> Vec<u32> {
        (0..count).map(|i| (start + 5 * i) % vocab).collect()
    };
    let prompts = [(1, 2), (3, 1)].map(|(start, count)| Prompt::from_ids(tokens(start, count)));
    let responses = [(0, 3, 3), (1, 2, 1), (0, 4, 4), (1, 0, 2)];
    let responses = responses
        .map(|(prompt, start, count)| Response::new(prompt, tokens(start, count), Finish::Length));
    Sequences::new(prompts.to_vec(), responses.to_vec()).expect("prompts and responses have tokens")
}

/// Checks that a prior has one finite log-prob per response token, equal to its rows at the tokens taken;
/// that the rows of a distribution sum to 1 and its decoder draws from them; that the log-probs of a
/// response do not depend on the batch, the range of rows or earlier calls; and that they carry no
/// gradient.
///
/// # Errors
/// If a property does not hold, or the prior fails.
pub fn prior(prior: &mut dyn Prior, s: &Sequences, measure: Measure) -> Result<()> {
    let log_probs = prior.log_probs(s)?;
    check_same(
        "there is one log-prob per response token",
        s.offsets().as_ref(),
        log_probs.offsets().as_ref(),
    )?;
    let numbers = log_probs.to_vec()?;
    check_finite("log-probs are finite", &numbers)?;
    let whole = rows(&prior.log_dist(s, 0..s.tokens())?, s.tokens())?;
    let taken = gather("each row has an entry for the token taken", &whole, s)?;
    check_close(
        "log-probs equal the rows at the tokens taken",
        &numbers,
        &taken,
    )?;
    if measure != Measure::Weights {
        sum_to_one(&whole)?;
        let property = "is_normalized is true for a distribution";
        check_same(property, true, prior.is_normalized())?;
    }
    let cut = s.tokens() / 3;
    let mut parts = rows(&prior.log_dist(s, 0..cut)?, cut)?;
    parts.extend(rows(
        &prior.log_dist(s, cut..s.tokens())?,
        s.tokens() - cut,
    )?);
    check_close(
        "rows requested in two ranges are the same",
        &parts.concat(),
        &whole.concat(),
    )?;
    for index in (0..s.len()).rev() {
        let alone = prior.log_probs(&s.select(&[index]))?.to_vec()?;
        let property = "a response alone has the same log-probs as in a batch";
        check_close(property, &alone, &numbers[log_probs.range(index)])?;
    }
    let mut recorder = RowRecorder::default();
    let with_rows =
        prior.log_probs_with_rows(s, &mut |rows, log_dist| recorder.record(rows, &log_dist))?;
    check_close(
        "log_probs_with_rows returns the same log-probs as log_probs",
        &with_rows.to_vec()?,
        &numbers,
    )?;
    recorder.check_equal(&whole)?;
    let again = prior.log_probs(s)?;
    check_close(
        "a second call returns the same log-probs",
        &again.to_vec()?,
        &numbers,
    )?;
    check_detached(&again)?;
    match (prior.decoder(), measure) {
        (Ok(mut decoder), _) => check_decoder(&mut *decoder, s, &whole),
        (Err(error), Measure::Drawable) => Err(error),
        (Err(_), _) => Ok(()),
    }
}

/// Checks that a reward returns one finite score per response, which does not depend on earlier calls,
/// the batch or its order.
///
/// # Errors
/// If a property does not hold, or the reward fails.
pub fn reward(reward: &mut dyn Reward, s: &Sequences) -> Result<()> {
    let scores = finite_scores(reward, s)?.to_vec()?;
    let again = finite_scores(reward, s)?.to_vec()?;
    check_close("a second call returns the same scores", &again, &scores)?;
    let backwards: Vec<usize> = (0..s.len()).rev().collect();
    let reversed = finite_scores(reward, &s.select(&backwards))?.to_vec()?;
    let expected: Vec<f32> = scores.iter().rev().copied().collect();
    check_close(
        "scores do not depend on the order of the batch",
        &reversed,
        &expected,
    )?;
    for index in 0..s.len() {
        let alone = finite_scores(reward, &s.select(&[index]))?.to_vec()?;
        check_close(
            "a response alone has the same score as in a batch",
            &alone,
            &scores[index..=index],
        )?;
    }
    Ok(())
}

/// Checks that a network's rows sum to 1, that its log-probs and entropies are those of the rows, that
/// the log-probs of a response do not depend on the batch, and that its decoder draws from the same rows.
///
/// # Errors
/// If a property does not hold, or the network fails.
pub fn network(network: &mut dyn Network, s: &Sequences) -> Result<()> {
    let spec = OutputSpec::SCORE.with_entropy();
    let outputs = network.forward(s, spec)?;
    let (log_probs, entropy) = (outputs.log_probs.to_vec()?, outputs.entropy);
    check_finite("log-probs are finite", &log_probs)?;
    let whole = rows(&network.log_dist(0..s.tokens())?, s.tokens())?;
    let taken = gather("each row has an entry for the token taken", &whole, s)?;
    check_close(
        "log-probs equal the rows at the tokens taken",
        &log_probs,
        &taken,
    )?;
    sum_to_one(&whole)?;
    let beyond = network.log_dist(0..s.tokens() + 1);
    check_same(
        "a range beyond the batch is an error",
        true,
        beyond.is_err(),
    )?;
    let mut recorder = RowRecorder::default();
    let with_rows =
        network.forward_with_rows(s, &mut |rows, log_dist| recorder.record(rows, &log_dist))?;
    check_close(
        "forward_with_rows returns the same log-probs as forward",
        &with_rows.log_probs.to_vec()?,
        &log_probs,
    )?;
    recorder.check_equal(&whole)?;
    let entropy =
        entropy.ok_or_else(|| violation("entropies are returned if they are requested", ""))?;
    let exact: Vec<f32> = whole.iter().map(|row| entropy_of(row)).collect();
    check_close(
        "entropies equal those of the rows",
        &entropy.to_vec()?,
        &exact,
    )?;
    for index in 0..s.len() {
        let alone = network
            .forward(&s.select(&[index]), spec)?
            .log_probs
            .to_vec()?;
        let property = "a response alone has the same log-probs as in a batch";
        check_close(property, &alone, &log_probs[outputs.log_probs.range(index)])?;
    }
    check_decoder(&mut *network.decoder()?, s, &whole)
}

/// Checks that the optimum of an objective depends only on r/β: the reward r + c adds c to the total
/// reward of each response (and so to β·log Z), and (k·r, k·β) multiplies it by k. Neither changes π*.
///
/// `make(scale, shift)` is the objective with the reward scale·r + shift and the coefficient scale·β.
///
/// # Errors
/// If a property does not hold, or the objective fails.
pub fn objective(mut make: impl FnMut(f64, f64) -> Objective, rollouts: &Rollouts) -> Result<()> {
    let (scale, shift) = (2.5, 1.75);
    let plain = make(1.0, 0.0).rewards(rollouts.clone())?;
    let shifted = make(1.0, shift).rewards(rollouts.clone())?;
    let scaled = make(scale, 0.0).rewards(rollouts.clone())?;
    let totals = |scored: &Scored| -> Result<Vec<f32>> { scored.rewards.sums()?.to_vec() };
    let expected = |shift: f64, scale: f64| -> Result<Vec<f32>> {
        let plain = totals(&plain)?.into_iter();
        Ok(plain
            .map(|x| (f64::from(x) * scale + shift) as f32)
            .collect())
    };
    check_close(
        "r + c adds c to the total reward of each response",
        &totals(&shifted)?,
        &expected(shift, 1.0)?,
    )?;
    check_close(
        "(k·r, k·β) multiplies the total reward of each response by k",
        &totals(&scaled)?,
        &expected(0.0, scale)?,
    )?;
    let before_last = |scored: &Scored| -> Result<Vec<f32>> {
        let rewards = scored.rewards.to_vec()?;
        let last = |y| scored.rewards.range(y).end - 1;
        let ends: Vec<usize> = (0..scored.rewards.sequences()).map(last).collect();
        let others = rewards.iter().enumerate();
        Ok(others
            .filter(|(t, _)| !ends.contains(t))
            .map(|(_, r)| *r)
            .collect())
    };
    check_close(
        "a constant reward is added at the last token only",
        &before_last(&shifted)?,
        &before_last(&plain)?,
    )
}

/// A reward for [`objective`]: `reward`·`scale` + `shift`.
pub struct Affine<R> {
    /// The reward.
    pub reward: R,
    /// The factor.
    pub scale: f64,
    /// The constant added, in units of the reward.
    pub shift: f64,
}

impl<R: Reward> Reward for Affine<R> {
    fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
        let scores = self.reward.score(sequences)?;
        PerSeq::new(scores.values().affine(self.scale, self.shift)?)
    }
}

/// Rollouts of given responses, as if `policy` had sampled them, for [`objective`].
///
/// # Errors
/// If a forward pass fails.
pub fn rollouts(
    policy: &mut dyn Network,
    penalty: &mut KlPenalty,
    s: &Sequences,
) -> Result<Rollouts> {
    let outputs = policy.forward(s, OutputSpec::SCORE.with_entropy())?;
    let comparison = exact_kl(policy, penalty.prior(), s)?;
    Ok(Rollouts {
        sequences: s.clone(),
        entropy: outputs.entropy.unwrap_or_else(|| outputs.log_probs.clone()),
        sampled_log_probs: outputs.log_probs.clone(),
        prior_log_probs: comparison.prior_log_probs,
        log_probs: outputs.log_probs,
        values: outputs.values,
        kl: comparison.kl,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Error, LogDist, PerToken, RowCallback};
    use std::ops::Range;

    /// A prior with constant rows, which a test makes wrong in one way.
    #[derive(Clone)]
    struct ConstantPrior {
        log_probs: f32,
        row: Vec<f32>,
        /// If it is set, log-probs depend on the size of the batch before.
        last: Option<usize>,
        /// In `log_probs_with_rows`: how many rows are skipped, and what is added to the others.
        row_error: (usize, f32),
        /// What `is_normalized` returns.
        normalized: bool,
    }

    impl ConstantPrior {
        fn correct() -> Self {
            let log_prob = -(11f32.ln());
            Self {
                log_probs: log_prob,
                row: vec![log_prob; 11],
                last: None,
                row_error: (0, 0.0),
                normalized: true,
            }
        }
    }

    impl Prior for ConstantPrior {
        fn log_probs(&mut self, s: &Sequences) -> Result<PerToken> {
            let extra = self.last.map_or(0.0, |last| 0.1 * last as f32);
            self.last = self.last.map(|_| s.len());
            PerToken::from_vec(vec![self.log_probs + extra; s.tokens()], s.offsets())
        }

        fn log_dist(&mut self, _: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
            LogDist::of_log_probs(self.row.repeat(rows.len()), self.row.len())
        }

        fn log_probs_with_rows(
            &mut self,
            s: &Sequences,
            each: &mut RowCallback<'_>,
        ) -> Result<PerToken> {
            let (from, extra) = self.row_error;
            let rows = from..s.tokens();
            let row: Vec<f32> = self.row.iter().map(|x| x + extra).collect();
            let log_dist = LogDist::of_log_probs(row.repeat(rows.len()), row.len())?;
            each(rows, log_dist)?;
            self.log_probs(s)
        }

        fn is_normalized(&self) -> bool {
            self.normalized
        }

        fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
            Err(Error::Unsupported("cannot be sampled from".into()))
        }
    }

    #[test]
    fn each_error_of_a_prior_is_reported() {
        let check = |mut wrong: ConstantPrior, measure| match prior(&mut wrong, &batch(11), measure)
        {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        use Measure::{Distribution, Drawable, Weights};
        let correct = ConstantPrior::correct();
        assert_eq!(check(correct.clone(), Weights), "");
        assert_eq!(check(correct.clone(), Distribution), "");
        assert_eq!(check(correct.clone(), Drawable), "cannot be sampled from");
        let mut wrong = correct.clone();
        wrong.log_probs -= 0.5;
        assert!(check(wrong, Weights).contains("log-probs equal the rows"));
        let mut wrong = correct.clone();
        wrong.log_probs = f32::NEG_INFINITY;
        assert!(check(wrong, Weights).contains("finite"));
        let mut wrong = correct.clone();
        wrong.row[10] = -0.1;
        assert!(check(wrong, Distribution).contains("sum to 1"));
        let mut wrong = correct.clone();
        wrong.normalized = false;
        assert!(check(wrong, Distribution).contains("is_normalized is true"));
        let mut wrong = correct.clone();
        wrong.row.truncate(3);
        assert!(check(wrong, Distribution).contains("has an entry"));
        let mut wrong = correct.clone();
        wrong.row_error = (1, 0.0);
        assert!(check(wrong, Weights).contains("called with each row once"));
        let mut wrong = correct.clone();
        wrong.row_error = (0, 0.5);
        assert!(check(wrong, Weights).contains("callback receives the rows"));
        let mut wrong = correct;
        wrong.last = Some(0);
        assert!(check(wrong, Weights).contains("alone"));
    }

    struct FnReward(fn(&Sequences, usize) -> f32);

    impl Reward for FnReward {
        fn score(&mut self, s: &Sequences) -> Result<PerSeq> {
            PerSeq::from_vec((0..s.len()).map(|index| self.0(s, index)).collect())
        }
    }

    #[test]
    fn each_error_of_a_reward_is_reported() {
        let check = |score| match reward(&mut FnReward(score), &batch(11)) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(check(|s, y| s.responses()[y].ids.len() as f32), "");
        assert!(check(|_, y| y as f32).contains("order of the batch"));
        let share = |s: &Sequences, y: usize| s.responses()[y].ids[0] as f32 / s.tokens() as f32;
        assert!(check(share).contains("alone"));
        assert!(check(|_, _| f32::NAN).contains("NaN"));
    }
}
