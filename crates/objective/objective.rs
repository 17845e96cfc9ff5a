//! J(π) = E[r] − β·KL(π ‖ p₀), as rewards per token.

use crate::{
    Beta, Decoder, Error, LogDist, Observed, Pairs, PairsWithPrior, PerSeq, PerToken, Result,
    Rollouts, RowCallback, Scored, Sequences, Target, network::rows_at_once, tilt,
};
use std::ops::Range;

/// p₀: the one thing that differs between maximum-entropy RL, RLHF and imitation-bootstrapped RL.
/// It has nothing to train, and its answers carry no gradient.
pub trait Prior {
    /// log p₀(yₜ | x, y₍<t₎) of each response token, nats; summed over a response, log p₀(y|x).
    ///
    /// # Errors
    /// If the prior cannot read these tokens.
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken>;

    /// log p₀(· | x, y₍<t₎) for a range of the N response tokens: [rows, V], nats. Asked range by
    /// range, in order, for one batch.
    ///
    /// # Errors
    /// If the prior cannot read these tokens, or the range is beyond them.
    fn log_dist(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>>;

    /// [`log_probs`](Self::log_probs), and shows `each` the log-distributions of all N response
    /// tokens, in order, some at a time. A prior that computes them on the way to the log-probs shows
    /// them then, rather than compute them twice.
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
    /// never negative, and something to hold; to the counting prior it is minus the entropy.
    fn is_normalized(&self) -> bool {
        true
    }

    /// A decoder that draws from the prior.
    ///
    /// # Errors
    /// If it cannot be drawn from.
    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        Err(Error::Unsupported(
            "nothing can be drawn from this prior: leave out what samples it (eval.prior_samples = 0)"
                .into(),
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

    /// The same, where a reward may have no opinion of a response: `None`, which is not a number that
    /// is bad but no number. A reward that can be without an opinion implements this, and its
    /// [`score`](Self::score) is an error there.
    ///
    /// # Errors
    /// If the reward cannot be computed for one of them.
    fn optional_scores(&mut self, sequences: &Sequences) -> Result<Vec<Option<f32>>> {
        let scores = self.score(sequences)?.to_vec()?;
        Ok(scores.into_iter().map(Some).collect())
    }

    /// Called once no more is asked, before what was said last is used: whether all answers belong to
    /// the responses they were taken for.
    ///
    /// # Errors
    /// If not, as far as that can be known only at the end.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a reward says of each response of a batch: a finite number, or nothing.
///
/// # Errors
/// If the reward fails or yields anything else.
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
    let bad = |score: &Option<f32>| score.is_some_and(|score| !score.is_finite());
    if let Some(sequence) = scores.iter().position(bad) {
        let value = f64::from(scores[sequence].unwrap_or(f32::NAN));
        let fix = "look at the reward on that response";
        return Err(Error::NotFinite {
            what: "the score",
            sequence,
            value,
            fix,
        });
    }
    Ok(scores)
}

/// The scores of a batch, one finite number a response.
///
/// # Errors
/// If the reward fails, yields anything else, or has no opinion of a response.
pub fn finite_scores(reward: &mut dyn Reward, sequences: &Sequences) -> Result<PerSeq> {
    let opinions = finite_optional_scores(reward, sequences)?;
    let said = opinions.into_iter().enumerate();
    let scores = said.map(|(index, score)| {
        score.ok_or_else(|| {
            Error::Unsupported(format!(
                "the reward has no opinion of response {index}, and all must have a score here"
            ))
        })
    });
    PerSeq::from_vec(scores.collect::<Result<_>>()?)
}

/// Sees which responses of a data set a batch was, and their log-probs, nats: \[responses\].
pub type SeenBatch<'a, E> = dyn FnMut(Range<usize>, &[f32]) -> std::result::Result<(), E> + 'a;

/// Why β cannot hold a KL to a prior that is no distribution.
const NO_KL: &str = "beta.target_kl: this prior is not a distribution, so the KL to it is not one \
    to hold: to the counting prior it is minus the entropy of the policy. Give beta.target_entropy, nats \
    a sequence, in its place";

/// Why β holds no entropy where the prior is a distribution.
const NO_ENTROPY: &str = "beta.target_entropy: this prior is a distribution, so β prices the KL to \
    it, and not the entropy of the policy. Give beta.target_kl, nats a sequence, in its place";

/// The prior and its price: everything of the objective but the reward.
pub struct KlPenalty {
    prior: Box<dyn Prior>,
    beta: Beta,
}

impl KlPenalty {
    /// A penalty of β for each nat from `prior`.
    #[must_use]
    pub fn new(prior: Box<dyn Prior>, beta: Beta) -> Self {
        Self { prior, beta }
    }

    /// β.
    #[must_use]
    pub fn beta(&self) -> &Beta {
        &self.beta
    }

    /// Gives an adaptive β the value of another, as when a run resumes. What it holds, and within which
    /// bounds, stays.
    pub fn resume_beta(&mut self, other: &Beta) {
        self.beta.take_value(other);
    }

    /// Whether an adaptive β holds what there is to hold: a KL where the prior is a distribution, an
    /// entropy where it is not.
    ///
    /// # Errors
    /// If it does not.
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

    /// Adds to pairs what the prior says of them, reading at most `tokens` tokens at once: what
    /// rewards are to samples, and no reward is involved.
    ///
    /// # Errors
    /// If the prior cannot read a response.
    pub fn with_prior(&mut self, pairs: Pairs, tokens: usize) -> Result<PairsWithPrior> {
        let prior_log_probs = self.prior_log_probs(pairs.sequences(), tokens)?;
        Ok(PairsWithPrior {
            pairs,
            prior_log_probs,
            beta: self.beta.value(),
        })
    }

    /// log p₀(y|x) of each response, nats: \[B\], reading at most `tokens` tokens at once.
    ///
    /// # Errors
    /// If the prior cannot read a response.
    pub fn prior_log_probs(&mut self, sequences: &Sequences, tokens: usize) -> Result<PerSeq> {
        self.continue_prior_log_probs(sequences, tokens, Vec::new(), &mut |_, _| Ok(()))
    }

    /// [`prior_log_probs`](Self::prior_log_probs), where those of the first responses are `known` from
    /// an earlier call that was cut: the batches that are read, and so the numbers, are the same. `each`
    /// is shown the responses of every further batch and their numbers, as soon as there are any, and
    /// may end it with an error.
    ///
    /// # Errors
    /// If the prior cannot read a response, or `each` fails.
    pub fn continue_prior_log_probs<E: From<Error>>(
        &mut self,
        sequences: &Sequences,
        tokens: usize,
        known: Vec<f32>,
        each: &mut SeenBatch<'_, E>,
    ) -> std::result::Result<PerSeq, E> {
        let mut sums = known;
        for range in sequences.micro_batches(tokens, 1) {
            if range.end <= sums.len() {
                continue;
            }
            // Half of a batch is of no use: it is read as a whole.
            sums.truncate(range.start);
            let part = sequences.select(&range.clone().collect::<Vec<_>>());
            let read = self.prior.log_probs(&part)?.sums()?.to_vec()?;
            each(range, &read)?;
            sums.extend(read);
        }
        Ok(PerSeq::from_vec(sums)?)
    }
}

/// Reward, prior and β: what is maximized.
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
    /// token of each response. The KL is paid in the reward, detached (k1; Ziegler et al. 2019,
    /// eq. 2): the placement whose optimum is π*.
    ///
    /// # Errors
    /// If the reward fails or has no opinion of a response, or a score is not a finite number.
    pub fn rewards(&mut self, rollouts: Rollouts) -> Result<Scored> {
        let scores = finite_scores(&mut *self.reward, &rollouts.sequences)?;
        self.rewards_of(rollouts, scores)
    }

    /// The same with scores that the reward gave before, one a response.
    ///
    /// # Errors
    /// If there are not as many scores as responses.
    pub fn rewards_of(&self, rollouts: Rollouts, scores: PerSeq) -> Result<Scored> {
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

    /// Tells an adaptive β what an iteration saw.
    pub fn observe(&mut self, seen: Observed) {
        self.penalty.beta.observe(seen);
    }
}
