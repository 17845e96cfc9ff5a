//! Single answers with what was thought of them.

use rlhf_objective::{Error, Finish, KlPenalty, PerSeq, Response, Result, Sequences};
use rlhf_train::{Epochs, Source};
use std::sync::Arc;

/// Answers, each liked or not, with what the prior says of them, and the same prompts with other
/// rows' answers: those tell how far the policy has moved from the prior on answers that nobody
/// gave an opinion of (Ethayarajh et al. 2024, section 4.1).
#[derive(Debug, Clone)]
pub struct UnpairedPreferences {
    pub(crate) answers: Sequences,
    pub(crate) prior_log_probs: PerSeq,
    /// \[B\]
    pub(crate) liked: Vec<bool>,
    /// Response i answers the prompt of answer i.
    pub(crate) mismatched: Sequences,
    pub(crate) mismatched_prior: PerSeq,
    /// β.
    pub(crate) beta: f64,
    /// 1/B of the whole batch.
    pub(crate) weight: f64,
    /// z₀, in units of the reward, once it is known.
    pub(crate) reference_point: Option<f64>,
}

/// Which responses the prior is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerSet {
    /// The answers themselves.
    Answers,
    /// The answers of other rows to the same prompts.
    Mismatched,
}

impl UnpairedPreferences {
    /// A whole batch: each answer weighs 1/B. The other answer to a prompt is that of the next row
    /// with another prompt (cyclically; of the next row, where all prompts are one), cut to what a
    /// network of this `context` can read after it. The prior reads at most `tokens` tokens at once.
    ///
    /// # Errors
    /// If there are fewer than 2 answers or not one opinion an answer, if β is not positive, if the
    /// prior cannot read an answer, or gives it probability 0.
    pub fn new(
        answers: Sequences,
        liked: Vec<bool>,
        penalty: &mut KlPenalty,
        context: usize,
        tokens: usize,
    ) -> Result<Self> {
        let beta = penalty.beta().value();
        Self::with_prior(answers, liked, beta, context, &mut |_, sequences| {
            penalty.prior_log_probs(sequences, tokens)
        })
    }

    /// The same, where `prior` says log p₀(y|x) of each response, nats: \[B\]. It is asked for the
    /// answers, and then for the others to the same prompts.
    ///
    /// # Errors
    /// As [`new`](Self::new), or if `prior` fails.
    pub fn with_prior<E: From<Error>>(
        answers: Sequences,
        liked: Vec<bool>,
        beta: f64,
        context: usize,
        prior: &mut dyn FnMut(AnswerSet, &Sequences) -> std::result::Result<PerSeq, E>,
    ) -> std::result::Result<Self, E> {
        check(&answers, &liked, beta)?;
        let mismatched = mismatched(&answers, context)?;
        let prior_log_probs = prior(AnswerSet::Answers, &answers)?;
        possible(&prior_log_probs)?;
        let mismatched_prior = prior(AnswerSet::Mismatched, &mismatched)?;
        possible(&mismatched_prior)?;
        Ok(Self {
            weight: 1.0 / answers.len() as f64,
            answers,
            prior_log_probs,
            liked,
            mismatched,
            mismatched_prior,
            beta,
            reference_point: None,
        })
    }

    /// The answers.
    #[must_use]
    pub fn answers(&self) -> &Sequences {
        &self.answers
    }

    /// How many of the answers were liked.
    #[must_use]
    pub fn liked(&self) -> usize {
        self.liked.iter().filter(|liked| **liked).count()
    }

    /// Some of the answers, at the weight they have here.
    pub(crate) fn part(&self, answers: &[usize]) -> Result<Self> {
        Ok(Self {
            answers: self.answers.select(answers),
            prior_log_probs: self.prior_log_probs.select(answers)?,
            liked: answers.iter().map(|&answer| self.liked[answer]).collect(),
            mismatched: self.mismatched.select(answers),
            mismatched_prior: self.mismatched_prior.select(answers)?,
            ..*self
        })
    }
}

/// Refuses what KTO cannot learn from.
fn check(answers: &Sequences, liked: &[bool], beta: f64) -> Result<()> {
    if answers.len() != liked.len() {
        return Err(Error::Size {
            what: "opinions",
            expected: answers.len(),
            got: liked.len(),
        });
    }
    if answers.len() < 2 {
        return Err(Error::Empty(format!(
            "{} rows: kto needs 2 at least, because the answer of another row says where its \
             reference point is",
            answers.len()
        )));
    }
    if beta <= 0.0 || !beta.is_finite() {
        return Err(Error::Unsupported(format!(
            "beta = {beta}: kto needs a positive beta, because its implicit reward is \
             beta * log(policy / prior)"
        )));
    }
    Ok(())
}

/// The answers of others to each row's prompt.
fn mismatched(answers: &Sequences, context: usize) -> Result<Sequences> {
    let rows = answers.len();
    let ids = |row: usize| &answers.prompt_of(row).ids;
    let mut prompts = Vec::with_capacity(rows);
    let mut responses = Vec::with_capacity(rows);
    for row in 0..rows {
        let others = (1..rows).map(|step| (row + step) % rows);
        let other = others.clone().find(|&other| ids(other) != ids(row));
        let other = &answers.responses()[other.unwrap_or((row + 1) % rows)];
        // A language model reads all but the last token.
        let room = (context + 1).saturating_sub(ids(row).len()).max(1);
        let whole = other.ids.len() <= room;
        responses.push(Arc::new(Response {
            prompt: row,
            ids: other.ids[..other.ids.len().min(room)].to_vec(),
            text: other.text.clone(),
            finish: if whole { other.finish } else { Finish::Length },
        }));
        prompts.push(answers.prompt_of(row).clone());
    }
    Sequences::from_shared(prompts, responses)
}

fn possible(prior: &PerSeq) -> Result<()> {
    let numbers = prior.to_vec()?;
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(sequence) => Err(Error::NotFinite {
            what: "the prior's log-probability",
            sequence,
            value: f64::from(numbers[sequence]),
            fix: "drop the row, or take a prior that can say it",
        }),
    }
}

/// All opinions, batch by batch, in a seeded order for each pass.
#[derive(Debug, Clone)]
pub struct UnpairedSource {
    all: UnpairedPreferences,
    epochs: Epochs,
}

impl UnpairedSource {
    /// `epochs` passes in batches of `batch_size` answers. The last has what is left, and its answers weigh
    /// what those of a full one do.
    ///
    /// # Errors
    /// If `batch_size` or `epochs` is zero.
    pub fn new(
        all: UnpairedPreferences,
        batch_size: usize,
        epochs: usize,
        seed: u64,
    ) -> Result<Self> {
        if batch_size == 0 || epochs == 0 {
            return Err(Error::Unsupported(
                "kto needs at least 1 answer a step and 1 epoch".into(),
            ));
        }
        let epochs = Epochs::new(&vec![1; all.liked.len()], batch_size, epochs, seed);
        Ok(Self { all, epochs })
    }
}

impl Source for UnpairedSource {
    type Batch = UnpairedPreferences;

    fn steps(&self) -> usize {
        self.epochs.steps()
    }

    fn batch(&mut self, step: usize) -> Result<UnpairedPreferences> {
        let items = self.epochs.items(step);
        Ok(UnpairedPreferences {
            weight: self.epochs.share(step) / items.len() as f64,
            ..self.all.part(items)?
        })
    }
}
