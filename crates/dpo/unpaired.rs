//! A batch of unpaired responses, each labelled desirable or undesirable, for KTO.

use rlhf_objective::{Error, Finish, KlPenalty, PerSeq, Response, Result, Sequences};
use rlhf_train::{Epochs, Source};
use std::sync::Arc;

/// Responses with labels and prior log-probs, and mismatched sequences: the same prompts, each with
/// the response of another row. The mismatched sequences estimate the KL to the prior, KTO's
/// reference point (Ethayarajh et al. 2024, section 4.1).
#[derive(Debug, Clone)]
pub struct UnpairedPreferences {
    pub(crate) sequences: Sequences,
    pub(crate) prior_log_probs: PerSeq,
    /// Whether each response is labelled desirable: \[B\].
    pub(crate) desirable: Vec<bool>,
    /// Prompt i of `sequences` with the response of another row.
    pub(crate) mismatched: Sequences,
    pub(crate) mismatched_prior: PerSeq,
    /// β.
    pub(crate) beta: f64,
    /// The weight of a response in the loss: 1/B of the whole batch.
    pub(crate) weight: f64,
    /// z₀, in units of the reward; set by `prepare`.
    pub(crate) reference_point: Option<f64>,
}

/// The sequences that prior log-probs are computed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseSet {
    /// Each prompt with its own response.
    Labelled,
    /// Each prompt with the response of another row.
    Mismatched,
}

impl UnpairedPreferences {
    /// Computes the prior's log-probs in micro-batches of at most `tokens` tokens; each response has
    /// weight 1/B. The mismatched response of a prompt is that of the next row with a different
    /// prompt (cyclically; of the next row where all prompts are equal), truncated to the `context`
    /// of the network.
    ///
    /// # Errors
    /// If there are fewer than 2 responses, or not one label per response; if β is not positive; if
    /// the prior fails, or gives a response probability 0.
    pub fn new(
        sequences: Sequences,
        desirable: Vec<bool>,
        penalty: &mut KlPenalty,
        context: usize,
        tokens: usize,
    ) -> Result<Self> {
        let beta = penalty.beta().value();
        Self::with_prior(sequences, desirable, beta, context, &mut |_, sequences| {
            penalty.prior_log_probs(sequences, tokens)
        })
    }

    /// The same, with `prior` computing log p₀(y|x) of each response, nats: \[B\]. It is called for
    /// the labelled sequences first, then for the mismatched ones.
    ///
    /// # Errors
    /// As [`new`](Self::new), or if `prior` fails.
    pub fn with_prior<E: From<Error>>(
        sequences: Sequences,
        desirable: Vec<bool>,
        beta: f64,
        context: usize,
        prior: &mut dyn FnMut(ResponseSet, &Sequences) -> std::result::Result<PerSeq, E>,
    ) -> std::result::Result<Self, E> {
        check(&sequences, &desirable, beta)?;
        let mismatched = mismatched(&sequences, context)?;
        let prior_log_probs = prior(ResponseSet::Labelled, &sequences)?;
        check_finite(&prior_log_probs)?;
        let mismatched_prior = prior(ResponseSet::Mismatched, &mismatched)?;
        check_finite(&mismatched_prior)?;
        Ok(Self {
            weight: 1.0 / sequences.len() as f64,
            sequences,
            prior_log_probs,
            desirable,
            mismatched,
            mismatched_prior,
            beta,
            reference_point: None,
        })
    }

    /// The prompts with the labelled responses.
    #[must_use]
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// The number of responses labelled desirable.
    #[must_use]
    pub fn desirable_count(&self) -> usize {
        self.desirable
            .iter()
            .filter(|desirable| **desirable)
            .count()
    }

    /// A subset of the rows, with their weight unchanged.
    pub(crate) fn subset(&self, rows: &[usize]) -> Result<Self> {
        Ok(Self {
            sequences: self.sequences.select(rows),
            prior_log_probs: self.prior_log_probs.select(rows)?,
            desirable: rows.iter().map(|&row| self.desirable[row]).collect(),
            mismatched: self.mismatched.select(rows),
            mismatched_prior: self.mismatched_prior.select(rows)?,
            ..*self
        })
    }
}

/// Checks the number of responses and labels, and β.
fn check(sequences: &Sequences, desirable: &[bool], beta: f64) -> Result<()> {
    if sequences.len() != desirable.len() {
        return Err(Error::Size {
            what: "labels",
            expected: sequences.len(),
            got: desirable.len(),
        });
    }
    if sequences.len() < 2 {
        return Err(Error::Empty(format!(
            "{} rows: kto needs at least 2, because it estimates its reference point from each \
            prompt with the response of another row",
            sequences.len()
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

/// Each row's prompt with the response of another row.
fn mismatched(sequences: &Sequences, context: usize) -> Result<Sequences> {
    let rows = sequences.len();
    let ids = |row: usize| &sequences.prompt_of(row).ids;
    let mut prompts = Vec::with_capacity(rows);
    let mut responses = Vec::with_capacity(rows);
    for row in 0..rows {
        let others = (1..rows).map(|step| (row + step) % rows);
        let other = others.clone().find(|&other| ids(other) != ids(row));
        let other = &sequences.responses()[other.unwrap_or((row + 1) % rows)];
        // A language model reads all but the last token.
        let room = (context + 1).saturating_sub(ids(row).len()).max(1);
        let whole = other.ids.len() <= room;
        responses.push(Arc::new(Response {
            prompt: row,
            ids: other.ids[..other.ids.len().min(room)].to_vec(),
            text: other.text.clone(),
            finish: if whole { other.finish } else { Finish::Length },
        }));
        prompts.push(sequences.prompt_of(row).clone());
    }
    Sequences::from_shared(prompts, responses)
}

/// Checks that no response has probability 0 under the prior.
fn check_finite(prior: &PerSeq) -> Result<()> {
    let log_probs = prior.to_vec()?;
    match log_probs.iter().position(|log_prob| !log_prob.is_finite()) {
        None => Ok(()),
        Some(sequence) => Err(Error::NotFinite {
            what: "the prior's log-probability",
            sequence,
            value: f64::from(log_probs[sequence]),
            fix: "remove the row, or use a prior that gives it a positive probability",
        }),
    }
}

/// Yields all responses in batches, shuffled by the seed in each epoch.
#[derive(Debug, Clone)]
pub struct UnpairedSource {
    all: UnpairedPreferences,
    epochs: Epochs,
}

impl UnpairedSource {
    /// Batches of `batch_size` responses over `epochs` epochs. Only the last batch of the run may be
    /// smaller; the weight of each of its responses is that in a full batch.
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
                "train.batch_size and train.epochs must be at least 1 for kto".into(),
            ));
        }
        let epochs = Epochs::new(&vec![1; all.desirable.len()], batch_size, epochs, seed);
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
            ..self.all.subset(items)?
        })
    }
}
