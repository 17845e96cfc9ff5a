//! What must hold of any prior, reward or network: checks to run on one of your own.
//!
//! Each function takes what is to be checked and a batch to check it on, and returns an error that
//! names the law that is broken. [`batch`] makes a batch where there is none at hand. Numbers of f32
//! are held to agree within [`TOLERANCE`].
//!
//! ```
//! use rlhf_objective::{PerSeq, Result, Reward, Sequences, conformance};
//!
//! /// One more for each response: it depends on what was asked before.
//! struct Counter(f32);
//!
//! impl Reward for Counter {
//!     fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
//!         let next = |_| { self.0 += 1.0; self.0 };
//!         PerSeq::from_vec((0..sequences.len()).map(next).collect())
//!     }
//! }
//!
//! let broken = conformance::reward(&mut Counter(0.0), &conformance::batch(11)).unwrap_err();
//! assert!(broken.to_string().contains("asked twice"));
//! ```

mod compare;

use crate::{
    Finish, KlPenalty, Network, Objective, OutputSpec, PerSeq, Prior, Prompt, Response, Result,
    Reward, Rollouts, Scored, Sequences, exact_kl, finite_scores,
};
use compare::{
    Shown, decodes, detached, entropy_of, finite, gather, law, near, rows, same, sum_to_one,
};

/// How far two numbers that should be equal may differ, relative to their size where that is above 1.
pub const TOLERANCE: f64 = 1e-4;

/// What a prior claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// A distribution that can be drawn from: rows sum to 1, and so does what its decoder says.
    Drawable,
    /// A distribution that need not have a decoder: rows sum to 1.
    Distribution,
    /// A measure that is no distribution, like the counting one: rows sum to what they like.
    Weights,
}

/// A ragged batch over V tokens: prompts shared by responses that are apart, and a response of one
/// token.
///
/// # Panics
/// If V is 0.
#[must_use]
pub fn batch(vocab: u32) -> Sequences {
    let tokens = |start: u32, count: u32| -> Vec<u32> {
        (0..count).map(|i| (start + 5 * i) % vocab).collect()
    };
    let prompts = [(1, 2), (3, 1)].map(|(start, count)| Prompt::from_ids(tokens(start, count)));
    let answers = [(0, 3, 3), (1, 2, 1), (0, 4, 4), (1, 0, 2)];
    let answers = answers
        .map(|(prompt, start, count)| Response::new(prompt, tokens(start, count), Finish::Length));
    Sequences::new(prompts.to_vec(), answers.to_vec()).expect("prompts and responses have tokens")
}

/// A prior answers about each token, finitely; its log-probs are those that its rows give the tokens
/// taken; rows of a distribution sum to 1, and its decoder draws from them; what it says of a
/// response depends on the response alone, not on the batch, the range asked for, or what was asked
/// before; and nothing carries a gradient.
///
/// # Errors
/// If a law is broken, or the prior fails.
pub fn prior(prior: &mut dyn Prior, s: &Sequences, measure: Measure) -> Result<()> {
    let log_probs = prior.log_probs(s)?;
    same(
        "one log-prob a response token",
        s.offsets().as_ref(),
        log_probs.offsets().as_ref(),
    )?;
    let numbers = log_probs.to_vec()?;
    finite("log-probs are finite", &numbers)?;
    let whole = rows(&prior.log_dist(s, 0..s.tokens())?, s.tokens())?;
    let taken = gather("the row of a token has an entry for it", &whole, s)?;
    near(
        "log-probs are those of the rows at the tokens taken",
        &numbers,
        &taken,
    )?;
    if measure != Measure::Weights {
        sum_to_one(&whole)?;
        let law = "a distribution says that it is one (is_normalized)";
        same(law, true, prior.is_normalized())?;
    }
    let cut = s.tokens() / 3;
    let mut parts = rows(&prior.log_dist(s, 0..cut)?, cut)?;
    parts.extend(rows(
        &prior.log_dist(s, cut..s.tokens())?,
        s.tokens() - cut,
    )?);
    near(
        "rows asked for in two ranges are the same",
        &parts.concat(),
        &whole.concat(),
    )?;
    for index in (0..s.len()).rev() {
        let alone = prior.log_probs(&s.select(&[index]))?.to_vec()?;
        let law = "a response alone has the log-probs it has in a batch";
        near(law, &alone, &numbers[log_probs.range(index)])?;
    }
    let mut shown = Shown::default();
    let read = prior.log_probs_with_rows(s, &mut |rows, log_dist| shown.take(rows, &log_dist))?;
    near(
        "log-probs are the same where rows are shown on the way",
        &read.to_vec()?,
        &numbers,
    )?;
    shown.are(&whole)?;
    let again = prior.log_probs(s)?;
    near("asked twice, it says the same", &again.to_vec()?, &numbers)?;
    detached(&again)?;
    match (prior.decoder(), measure) {
        (Ok(mut decoder), _) => decodes(&mut *decoder, s, &whole),
        (Err(error), Measure::Drawable) => Err(error),
        (Err(_), _) => Ok(()),
    }
}

/// A reward is one finite number a response, the same whenever it is asked, and depends on the
/// response and its prompt alone: not on the batch or its order.
///
/// # Errors
/// If a law is broken, or the reward fails.
pub fn reward(reward: &mut dyn Reward, s: &Sequences) -> Result<()> {
    let scores = finite_scores(reward, s)?.to_vec()?;
    let again = finite_scores(reward, s)?.to_vec()?;
    near("asked twice, it says the same", &again, &scores)?;
    let backwards: Vec<usize> = (0..s.len()).rev().collect();
    let reversed = finite_scores(reward, &s.select(&backwards))?.to_vec()?;
    let expected: Vec<f32> = scores.iter().rev().copied().collect();
    near(
        "another order gives the same scores in that order",
        &reversed,
        &expected,
    )?;
    for index in 0..s.len() {
        let alone = finite_scores(reward, &s.select(&[index]))?.to_vec()?;
        near(
            "a response alone has the score it has in a batch",
            &alone,
            &scores[index..=index],
        )?;
    }
    Ok(())
}

/// A network's outputs are of one distribution: rows sum to 1, log-probs are those of the tokens
/// taken, entropies those of the rows; a response alone reads as it does in a batch; and its decoder
/// draws from the same rows.
///
/// # Errors
/// If a law is broken, or the network fails.
pub fn network(network: &mut dyn Network, s: &Sequences) -> Result<()> {
    let spec = OutputSpec::SCORE.with_entropy();
    let read = network.forward(s, spec)?;
    let (log_probs, entropy) = (read.log_probs.to_vec()?, read.entropy);
    finite("log-probs are finite", &log_probs)?;
    let whole = rows(&network.log_dist(0..s.tokens())?, s.tokens())?;
    let taken = gather("the row of a token has an entry for it", &whole, s)?;
    near(
        "log-probs are those of the rows at the tokens taken",
        &log_probs,
        &taken,
    )?;
    sum_to_one(&whole)?;
    let beyond = network.log_dist(0..s.tokens() + 1);
    same("a range beyond the batch is refused", true, beyond.is_err())?;
    let mut shown = Shown::default();
    let outputs =
        network.forward_with_rows(s, &mut |rows, log_dist| shown.take(rows, &log_dist))?;
    near(
        "log-probs are the same where rows are shown on the way",
        &outputs.log_probs.to_vec()?,
        &log_probs,
    )?;
    shown.are(&whole)?;
    let entropy = entropy.ok_or_else(|| law("entropies are answered where they are wanted", ""))?;
    let exact: Vec<f32> = whole.iter().map(|row| entropy_of(row)).collect();
    near(
        "entropies are those of the rows",
        &entropy.to_vec()?,
        &exact,
    )?;
    for index in 0..s.len() {
        let alone = network
            .forward(&s.select(&[index]), spec)?
            .log_probs
            .to_vec()?;
        let law = "a response alone has the log-probs it has in a batch";
        near(law, &alone, &log_probs[read.log_probs.range(index)])?;
    }
    decodes(&mut *network.decoder()?, s, &whole)
}

/// What an objective makes of rollouts depends on r/β alone, and a constant reward is worth itself:
/// r + c adds c to what each response is worth, and so to β·log Z, and moves nothing; (k·r, k·β)
/// multiplies every reward by k, and so leaves π* where it is.
///
/// `made(scale, shift)` is the objective with the reward scale·r + shift and the price scale·β.
///
/// # Errors
/// If a law is broken, or the objective fails.
pub fn objective(mut made: impl FnMut(f64, f64) -> Objective, rollouts: &Rollouts) -> Result<()> {
    let (scale, shift) = (2.5, 1.75);
    let plain = made(1.0, 0.0).rewards(rollouts.clone())?;
    let shifted = made(1.0, shift).rewards(rollouts.clone())?;
    let scaled = made(scale, 0.0).rewards(rollouts.clone())?;
    let worth = |scored: &Scored| -> Result<Vec<f32>> { scored.rewards.sums()?.to_vec() };
    let moved = |by: f64, times: f64| -> Result<Vec<f32>> {
        let plain = worth(&plain)?.into_iter();
        Ok(plain.map(|x| (f64::from(x) * times + by) as f32).collect())
    };
    near(
        "r + c adds c to what each response is worth",
        &worth(&shifted)?,
        &moved(shift, 1.0)?,
    )?;
    near(
        "(k·r, k·β) is worth k times as much",
        &worth(&scaled)?,
        &moved(0.0, scale)?,
    )?;
    let ends = |scored: &Scored| -> Result<Vec<f32>> {
        let rewards = scored.rewards.to_vec()?;
        let last = |y| scored.rewards.range(y).end - 1;
        let ends: Vec<usize> = (0..scored.rewards.sequences()).map(last).collect();
        let others = rewards.iter().enumerate();
        Ok(others
            .filter(|(t, _)| !ends.contains(t))
            .map(|(_, r)| *r)
            .collect())
    };
    near(
        "a constant reward is paid at the last token alone",
        &ends(&shifted)?,
        &ends(&plain)?,
    )
}

/// Rewards for [`objective`]: another one, times `scale`, plus `shift`.
pub struct Affine<R> {
    /// The other.
    pub reward: R,
    /// What it is multiplied by.
    pub scale: f64,
    /// What is added, in units of the reward.
    pub shift: f64,
}

impl<R: Reward> Reward for Affine<R> {
    fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
        let scores = self.reward.score(sequences)?;
        PerSeq::new(scores.values().affine(self.scale, self.shift)?)
    }
}

/// Rollouts of given responses as `policy` would have drawn them: what [`objective`] needs.
///
/// # Errors
/// If a network cannot read them.
pub fn rollouts(
    policy: &mut dyn Network,
    penalty: &mut KlPenalty,
    s: &Sequences,
) -> Result<Rollouts> {
    let read = policy.forward(s, OutputSpec::SCORE.with_entropy())?;
    let against = exact_kl(policy, penalty.prior(), s)?;
    Ok(Rollouts {
        sequences: s.clone(),
        entropy: read.entropy.unwrap_or_else(|| read.log_probs.clone()),
        sampled_log_probs: read.log_probs.clone(),
        prior_log_probs: against.prior_log_probs,
        log_probs: read.log_probs,
        values: read.values,
        kl: against.kl,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Error, LogDist, PerToken, RowCallback};
    use std::ops::Range;

    /// A prior with rows of the same numbers, and one way to be wrong.
    #[derive(Clone)]
    struct Wrong {
        log_probs: f32,
        row: Vec<f32>,
        last: Option<usize>,
        /// Rows that are left out when rows are shown, and what is added to them.
        shown: (usize, f32),
        /// What it says of itself.
        distribution: bool,
    }

    impl Wrong {
        fn right() -> Self {
            let log_prob = -(11f32.ln());
            Self {
                log_probs: log_prob,
                row: vec![log_prob; 11],
                last: None,
                shown: (0, 0.0),
                distribution: true,
            }
        }
    }

    impl Prior for Wrong {
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
            let (from, extra) = self.shown;
            let rows = from..s.tokens();
            let row: Vec<f32> = self.row.iter().map(|x| x + extra).collect();
            let shown = LogDist::of_log_probs(row.repeat(rows.len()), row.len())?;
            each(rows, shown)?;
            self.log_probs(s)
        }

        fn is_normalized(&self) -> bool {
            self.distribution
        }

        fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
            Err(Error::Unsupported("cannot be drawn from".into()))
        }
    }

    #[test]
    fn a_broken_prior_is_told_what_it_broke() {
        let check = |mut wrong: Wrong, measure| match prior(&mut wrong, &batch(11), measure) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        use Measure::{Distribution, Drawable, Weights};
        let right = Wrong::right();
        assert_eq!(check(right.clone(), Weights), "");
        assert_eq!(check(right.clone(), Distribution), "");
        assert_eq!(check(right.clone(), Drawable), "cannot be drawn from");
        let mut wrong = right.clone();
        wrong.log_probs -= 0.5;
        assert!(check(wrong, Weights).contains("those of the rows at the tokens taken"));
        let mut wrong = right.clone();
        wrong.log_probs = f32::NEG_INFINITY;
        assert!(check(wrong, Weights).contains("finite"));
        let mut wrong = right.clone();
        wrong.row[10] = -0.1;
        assert!(check(wrong, Distribution).contains("sum to 1"));
        let mut wrong = right.clone();
        wrong.distribution = false;
        assert!(check(wrong, Distribution).contains("says that it is one"));
        let mut wrong = right.clone();
        wrong.row.truncate(3);
        assert!(check(wrong, Distribution).contains("has an entry"));
        let mut wrong = right.clone();
        wrong.shown = (1, 0.0);
        assert!(check(wrong, Weights).contains("shown in order"));
        let mut wrong = right.clone();
        wrong.shown = (0, 0.5);
        assert!(check(wrong, Weights).contains("shown on the way are those"));
        let mut wrong = right;
        wrong.last = Some(0);
        assert!(check(wrong, Weights).contains("alone"));
    }

    struct Pays(fn(&Sequences, usize) -> f32);

    impl Reward for Pays {
        fn score(&mut self, s: &Sequences) -> Result<PerSeq> {
            PerSeq::from_vec((0..s.len()).map(|index| self.0(s, index)).collect())
        }
    }

    #[test]
    fn a_broken_reward_is_told_what_it_broke() {
        let check = |of| match reward(&mut Pays(of), &batch(11)) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(check(|s, y| s.responses()[y].ids.len() as f32), "");
        assert!(check(|_, y| y as f32).contains("another order"));
        let share = |s: &Sequences, y: usize| s.responses()[y].ids[0] as f32 / s.tokens() as f32;
        assert!(check(share).contains("alone"));
        assert!(check(|_, _| f32::NAN).contains("NaN"));
    }
}
