//! The objective J(π) = E[r] − β·KL(π ‖ p₀), the traits of its prior and reward, and rewards per token.

use crate::{
    Beta, Decoder, Error, LogDist, Observed, Pairs, PairsWithPrior, PerSeq, PerToken, Result,
    Rollouts, RowCallback, Scored, Sequences, Target, network::rows_at_once, tilt,
};
use std::ops::Range;

/// The prior p₀. Its choice is the difference between maximum-entropy RL, RLHF and
/// imitation-bootstrapped RL. It has no trainable parameters, and its outputs carry no gradient.
pub trait Prior {
    /// log p₀(yₜ | x, y₍<t₎) of each response token, nats; summed over a response, log p₀(y|x).
    ///
    /// # Errors
    /// If the prior cannot process these tokens.
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken>;

    /// log p₀(· | x, y₍<t₎) for a range of the N response tokens: [rows, V], nats. Callers go through
    /// a batch range by range, in order.
    ///
    /// # Errors
    /// If the prior cannot process these tokens, or the range ends beyond them.
    fn log_dist(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>>;

    /// [`log_probs`](Self::log_probs), and calls `each` with the log-distributions of all N response
    /// tokens, in order, a range at a time. A prior that computes them for the log-probs anyway calls it
    /// then, so that they are not computed twice.
    ///
    /// # Errors
    /// As [`log_probs`](Self::log_probs) and [`log_dist`](Self::log_dist), or if `each` fails.
    fn log_probs_with_rows(
        &mut self,
        sequences: &Sequences,
        each: &mut RowCallback<'_>,
    ) -> Result<PerToken> {
        let log_probs = self.log_probs(sequences)?;
        for rows in rows_at_once(sequences.tokens()) {
            each(rows.clone(), self.log_dist(sequences, rows)?)?;
        }
        Ok(log_probs)
    }

    /// Whether it is a distribution: Σ p₀(· | x, y₍<t₎) = 1 at every token. Only then is the KL to it
    /// non-negative and a possible target of β; the KL to the counting prior is minus the entropy.
    fn is_normalized(&self) -> bool {
        true
    }

    /// A decoder that draws from the prior.
    ///
    /// # Errors
    /// If the prior cannot be sampled from.
    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        Err(Error::Unsupported(
            "this prior cannot be sampled from: set eval.prior_samples = 0".into(),
        ))
    }
}

/// r(x, y): a number for each response.
pub trait Reward {
    /// Scores each response, in units of the reward.
    ///
    /// # Errors
    /// If the reward cannot be computed for one of them.
    fn score(&mut self, sequences: &Sequences) -> Result<PerSeq>;

    /// The same, with `None` for a response that the reward does not score. A reward that may leave a
    /// response without a score implements this method; its [`score`](Self::score) returns an error for
    /// such a batch.
    ///
    /// # Errors
    /// If the reward cannot be computed for one of them.
    fn optional_scores(&mut self, sequences: &Sequences) -> Result<Vec<Option<f32>>> {
        let scores = self.score(sequences)?.to_vec()?;
        Ok(scores.into_iter().map(Some).collect())
    }

    /// Called after the last batch and before its scores are used, to check that every score belongs to
    /// the response it was assigned to.
    ///
    /// # Errors
    /// If that check, which is only possible at the end, fails.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The score of each response of a batch: a finite number, or `None`.
///
/// # Errors
/// If the reward fails, or returns the wrong number of scores or one that is not finite.
pub fn finite_optional_scores(
    reward: &mut dyn Reward,
    sequences: &Sequences,
) -> Result<Vec<Option<f32>>> {
    let scores = reward.optional_scores(sequences)?;
    let expected = sequences.len();
    if scores.len() != expected {
        return Err(Error::Size {
            what: "scores",
            expected,
            got: scores.len(),
        });
    }
    let invalid = |score: &Option<f32>| score.is_some_and(|score| !score.is_finite());
    if let Some(sequence) = scores.iter().position(invalid) {
        let value = f64::from(scores[sequence].unwrap_or(f32::NAN));
        let fix = "check the reward of that response";
        return Err(Error::NotFinite {
            what: "the score",
            sequence,
            value,
            fix,
        });
    }
    Ok(scores)
}

/// The scores of a batch, one finite number per response.
///
/// # Errors
/// As [`finite_optional_scores`], or if a response has no score.
pub fn finite_scores(reward: &mut dyn Reward, sequences: &Sequences) -> Result<PerSeq> {
    let optional = finite_optional_scores(reward, sequences)?;
    let scores = optional.into_iter().enumerate().map(|(index, score)| {
        score.ok_or_else(|| {
            Error::Unsupported(format!(
                "the reward has no score for response {index}: every response needs one here"
            ))
        })
    });
    PerSeq::from_vec(scores.collect::<Result<_>>()?)
}

/// A callback that is called after each batch with the range of its responses in the data set and their
/// log-probs, nats: \[responses\].
pub type BatchCallback<'a, E> = dyn FnMut(Range<usize>, &[f32]) -> std::result::Result<(), E> + 'a;

/// The error of a target KL for a prior that is not a distribution.
const NO_KL: &str = "beta.target_kl cannot be used: this prior is not a distribution (the KL to the \
counting prior is minus the entropy of the policy). Set beta.target_entropy, nats per sequence, \
instead";

/// The error of a target entropy for a prior that is a distribution.
const NO_ENTROPY: &str = "beta.target_entropy cannot be used: this prior is a distribution, so β is the \
coefficient of the KL to it, not of the entropy. Set beta.target_kl, nats per sequence, instead";

/// The KL penalty: the prior and β, which is the objective without the reward.
pub struct KlPenalty {
    prior: Box<dyn Prior>,
    beta: Beta,
}

impl KlPenalty {
    /// β·KL(π ‖ `prior`).
    #[must_use]
    pub fn new(prior: Box<dyn Prior>, beta: Beta) -> Self {
        Self { prior, beta }
    }

    /// β.
    #[must_use]
    pub fn beta(&self) -> &Beta {
        &self.beta
    }

    /// Sets an adaptive β to the value of another, as when a run resumes. Its target and bounds do not
    /// change.
    pub fn resume_beta(&mut self, other: &Beta) {
        self.beta.restore_value(other);
    }

    /// Checks the target of an adaptive β: a KL if the prior is a distribution, an entropy if it is not.
    ///
    /// # Errors
    /// If the target is the other one.
    pub fn check(&self) -> Result<()> {
        let message = match (self.beta.target(), self.prior.is_normalized()) {
            (Some(Target::Kl(_)), false) => NO_KL,
            (Some(Target::Entropy(_)), true) => NO_ENTROPY,
            _ => return Ok(()),
        };
        Err(Error::Unsupported(message.into()))
    }

    /// p₀.
    pub fn prior(&mut self) -> &mut dyn Prior {
        &mut *self.prior
    }

    /// Computes the prior's log-probs of the responses of pairs, at most `tokens` tokens in a forward
    /// pass.
    ///
    /// # Errors
    /// If the prior cannot process a response.
    pub fn with_prior(&mut self, pairs: Pairs, tokens: usize) -> Result<PairsWithPrior> {
        let prior_log_probs = self.prior_log_probs(pairs.sequences(), tokens)?;
        Ok(PairsWithPrior {
            pairs,
            prior_log_probs,
            beta: self.beta.value(),
        })
    }

    /// log p₀(y|x) of each response, nats: \[B\], at most `tokens` tokens in a forward pass.
    ///
    /// # Errors
    /// If the prior cannot process a response.
    pub fn prior_log_probs(&mut self, sequences: &Sequences, tokens: usize) -> Result<PerSeq> {
        self.continue_prior_log_probs(sequences, tokens, Vec::new(), &mut |_, _| Ok(()))
    }

    /// [`prior_log_probs`](Self::prior_log_probs), continued from an interrupted call that computed those
    /// of the first responses, `known`. The micro-batches, and so the numbers, are the same. `each` is
    /// called after every further micro-batch, and can stop with an error.
    ///
    /// # Errors
    /// If the prior cannot process a response, or `each` fails.
    pub fn continue_prior_log_probs<E: From<Error>>(
        &mut self,
        sequences: &Sequences,
        tokens: usize,
        known: Vec<f32>,
        each: &mut BatchCallback<'_, E>,
    ) -> std::result::Result<PerSeq, E> {
        let mut sums = known;
        for range in sequences.micro_batches(tokens, 1) {
            if range.end <= sums.len() {
                continue;
            }
            // An incomplete micro-batch is computed again as a whole.
            sums.truncate(range.start);
            let part = sequences.select(&range.clone().collect::<Vec<_>>());
            let log_probs = self.prior.log_probs(&part)?.sums()?.to_vec()?;
            each(range, &log_probs)?;
            sums.extend(log_probs);
        }
        Ok(PerSeq::from_vec(sums)?)
    }
}

/// The objective that is maximized: a reward, a prior and β.
pub struct Objective {
    reward: Box<dyn Reward>,
    penalty: KlPenalty,
}

impl Objective {
    /// E\[r\] − β·KL(π ‖ p₀).
    #[must_use]
    pub fn new(reward: Box<dyn Reward>, penalty: KlPenalty) -> Self {
        Self { reward, penalty }
    }

    /// The prior and β.
    pub fn penalty(&mut self) -> &mut KlPenalty {
        &mut self.penalty
    }

    /// The reward r.
    pub fn reward(&mut self) -> &mut dyn Reward {
        &mut *self.reward
    }

    /// Turns rollouts into rewards per token: −β·(log π − log p₀)ₜ, plus the score at the last
    /// token of each response. The KL is in the reward, detached (k1; Ziegler et al. 2019, eq. 2): with
    /// this placement the optimum is π*.
    ///
    /// # Errors
    /// If the reward fails or has no score for a response, or a score is not finite.
    pub fn rewards(&mut self, rollouts: Rollouts) -> Result<Scored> {
        let scores = finite_scores(&mut *self.reward, &rollouts.sequences)?;
        self.rewards_from_scores(rollouts, scores)
    }

    /// The same with scores that the reward has already computed, one per response.
    ///
    /// # Errors
    /// If the numbers of scores and responses differ.
    pub fn rewards_from_scores(&self, rollouts: Rollouts, scores: PerSeq) -> Result<Scored> {
        let (expected, got) = (rollouts.sequences.len(), scores.values().dims1()?);
        if expected != got {
            return Err(Error::Size {
                what: "scores",
                expected,
                got,
            });
        }
        let beta = self.penalty.beta.value();
        let (log_probs, prior) = (&rollouts.log_probs, &rollouts.prior_log_probs);
        let tilted = tilt(log_probs.values(), prior.values(), beta)?;
        let mut rewards = tilted.neg()?.to_vec1::<f32>()?;
        for (sequence, score) in scores.to_vec()?.iter().enumerate() {
            rewards[rollouts.log_probs.range(sequence).end - 1] += score;
        }
        let rewards = PerToken::from_vec(rewards, rollouts.log_probs.offsets())?;
        Ok(Scored {
            rollouts,
            scores,
            rewards,
            beta,
        })
    }

    /// Updates an adaptive β with the statistics of an iteration.
    pub fn observe(&mut self, seen: Observed) {
        self.penalty.beta.observe(seen);
    }
}
