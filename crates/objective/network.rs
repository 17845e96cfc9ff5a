//! What a network must answer, and how it decodes.

use crate::{
    ActionValues, Decoder, Error, LogDist, ParameterSet, PerSeq, PerToken, Result, RowCallback,
    RowGradients, Sequences,
};
use rlhf_tensor::{AdamW, Tensor, Var};
use std::ops::Range;

/// What a read is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Numbers only: nothing is kept for a backward pass.
    Score,
    /// What [`Network::backward`] needs is kept.
    Train,
}

/// What a read must answer beside the log-probs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputSpec {
    /// Whether a backward pass follows.
    pub purpose: Purpose,
    /// Whether the entropy of each distribution is computed.
    pub entropy: bool,
}

impl OutputSpec {
    /// Log-probs (and values, where there is a critic) as numbers.
    pub const SCORE: Self = Self {
        purpose: Purpose::Score,
        entropy: false,
    };
    /// Log-probs (and values, where there is a critic) to differentiate.
    pub const TRAIN: Self = Self {
        purpose: Purpose::Train,
        entropy: false,
    };

    /// The entropies too.
    #[must_use]
    pub const fn with_entropy(self) -> Self {
        Self {
            entropy: true,
            ..self
        }
    }
}

/// What a network answers about the N response tokens of a batch, all at the network's
/// temperature. Each tensor is a leaf variable: candle's autograd stops here, and
/// [`gradients`](Self::gradients) hands over to the network. A loss sees this and nothing else.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// log π(yₜ | x, y₍<t₎), nats.
    pub log_probs: PerToken,
    /// The entropy of π(· | x, y₍<t₎), nats, where it was wanted.
    pub entropy: Option<PerToken>,
    /// The critic's V(x, y₍<t₎), before token t, in units of the reward; where there is a critic.
    pub values: Option<PerToken>,
    /// The reward model's r(x, y), \[B\], in units of the reward; where there is one. A reward model
    /// answers this alone: its log-probs are zeros.
    pub scores: Option<PerSeq>,
}

/// The gradient of a loss with respect to [`Outputs`]; what a loss does not use is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutputGrads {
    /// With respect to each log-prob, \[N\].
    pub log_probs: Option<Vec<f32>>,
    /// With respect to each entropy, \[N\].
    pub entropy: Option<Vec<f32>>,
    /// With respect to each value, \[N\].
    pub values: Option<Vec<f32>>,
    /// With respect to each score, \[B\].
    pub scores: Option<Vec<f32>>,
}

impl Outputs {
    /// Makes leaf variables of numbers computed for `sequences`.
    ///
    /// # Errors
    /// If there is not one number a response token.
    pub fn new(
        sequences: &Sequences,
        log_probs: Vec<f32>,
        entropy: Option<Vec<f32>>,
        values: Option<Vec<f32>>,
    ) -> Result<Self> {
        let leaf = |numbers| PerToken::new(leaf(numbers)?, sequences.offsets());
        Ok(Self {
            log_probs: leaf(log_probs)?,
            entropy: entropy.map(leaf).transpose()?,
            values: values.map(leaf).transpose()?,
            scores: None,
        })
    }

    /// What a reward model answers: `scores` \[B\], and log-probs of zero.
    ///
    /// # Errors
    /// If there is not one score a response.
    pub fn scored(sequences: &Sequences, scores: Vec<f32>) -> Result<Self> {
        if scores.len() != sequences.len() {
            return Err(Error::Size {
                what: "scores",
                expected: sequences.len(),
                got: scores.len(),
            });
        }
        let none = Self::new(sequences, vec![0.0; sequences.tokens()], None, None)?;
        Ok(Self {
            scores: Some(PerSeq::new(leaf(scores)?)?),
            ..none
        })
    }

    /// The gradient of a scalar `loss` made from these outputs.
    ///
    /// # Errors
    /// If candle cannot differentiate it.
    pub fn gradients(&self, loss: &Tensor) -> Result<OutputGrads> {
        let gradients = loss.backward()?;
        let numbers = |output: &Tensor| -> Result<Option<Vec<f32>>> {
            Ok(gradients.get(output).map(Tensor::to_vec1).transpose()?)
        };
        let of = |output: &PerToken| numbers(output.values());
        let of_scores = |output: &PerSeq| numbers(output.values());
        Ok(OutputGrads {
            log_probs: of(&self.log_probs)?,
            entropy: self.entropy.as_ref().map(of).transpose()?.flatten(),
            values: self.values.as_ref().map(of).transpose()?.flatten(),
            scores: self.scores.as_ref().map(of_scores).transpose()?.flatten(),
        })
    }
}

fn leaf(numbers: Vec<f32>) -> Result<Tensor> {
    let length = numbers.len();
    Ok(Var::from_vec(numbers, length, &rlhf_tensor::Device::Cpu)?.into_inner())
}

/// A language model π(· | x, y₍<t₎), with or without a critic, at one temperature.
///
/// A training step is `read` → a loss on [`Outputs`] → [`backward`](Self::backward), as often as
/// there are micro-batches, and then an [`optimizer_step`](Self::optimizer_step). A network owns its
/// parameters, their gradients and its optimizer, wherever they live.
pub trait Network {
    /// V, the number of vocabulary entries.
    fn vocab(&self) -> usize;

    /// Reads a batch: the trunk runs once, and what later calls need is kept until the next read.
    ///
    /// # Errors
    /// If a token is not in the vocabulary, or a sequence does not fit the context.
    fn forward(&mut self, sequences: &Sequences, spec: OutputSpec) -> Result<Outputs>;

    /// The whole log-distribution π(· | x, y₍<t₎) for a range of the N response tokens of the last
    /// read: [rows, V], nats.
    ///
    /// # Errors
    /// If nothing was read, or the range is beyond it.
    fn log_dist(&mut self, rows: Range<usize>) -> Result<LogDist<'_>>;

    /// [`read`](Self::read)s a batch to score it and shows `each` the log-distributions of all its
    /// response tokens, in order, some at a time. A network that forgets them as it goes shows them
    /// while they are there, rather than compute them twice.
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`log_dist`](Self::log_dist), or if `each` fails.
    fn forward_with_rows(
        &mut self,
        sequences: &Sequences,
        each: &mut RowCallback<'_>,
    ) -> Result<Outputs> {
        let outputs = self.forward(sequences, OutputSpec::SCORE)?;
        for rows in rows_at_once(sequences.tokens()) {
            each(rows.clone(), self.log_dist(rows)?)?;
        }
        Ok(outputs)
    }

    /// A critic's Q(x, y₍<t₎, a) of every token a, for a range of the N response tokens of the last
    /// read: [rows, V], in units of the reward. It is what the vocabulary-wide head says, before any
    /// softmax.
    ///
    /// # Errors
    /// If the network has no such head or keeps only normalized rows, nothing was read, or the range
    /// is beyond it.
    fn action_values(&mut self, _rows: Range<usize>) -> Result<ActionValues<'_>> {
        Err(Error::Unsupported(
            "this network does not offer action values: take one with a vocabulary-wide head"
                .into(),
        ))
    }

    /// Takes the gradient of a loss with respect to the rows of [`log_dist`](Self::log_dist) (its
    /// scores) or of [`action_values`](Self::action_values), for a range of the response tokens of the
    /// last read. Ranges add up until [`backward`](Self::backward), which must follow and carries them
    /// into the parameters together with the gradients of the outputs.
    ///
    /// # Errors
    /// If the network cannot, the last read was not to train, the parameters are frozen, or the sizes
    /// do not fit.
    fn backward_rows(&mut self, _rows: Range<usize>, _gradients: &RowGradients) -> Result<()> {
        Err(Error::Unsupported(
            "this network takes no gradients of whole rows".into(),
        ))
    }

    /// Adds the parameter gradients of a loss to those that are held, given its gradient with respect to
    /// the outputs of the last read.
    ///
    /// # Errors
    /// If the last read was not to train, or the parameters are frozen.
    fn backward(&mut self, gradients: &OutputGrads) -> Result<()>;

    /// A decoder with this network's weights and temperature.
    ///
    /// # Errors
    /// If it cannot be set up.
    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>>;

    /// The parameters with their optimizer: one set for each network inside, such as a policy and then a
    /// separate critic.
    fn parameter_sets(&self) -> Vec<&dyn ParameterSet>;

    /// The same, to change.
    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet>;

    /// The Euclidean norm of the gradients of all sets together: √Σ‖g‖², in f64, in their order.
    fn gradient_norm(&self) -> f64 {
        let sets = self.parameter_sets();
        let squares = sets.iter().map(|set| set.gradient_norm().powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// One AdamW step of all sets with gradients multiplied by `gradient_scale`, then zero gradients.
    fn optimizer_step(&mut self, adamw: &AdamW, learning_rate: f64, gradient_scale: f64) {
        for set in self.parameter_sets_mut() {
            set.optimizer_step(adamw, learning_rate, gradient_scale);
        }
    }

    /// Sets all gradients to zero.
    fn zero_gradients(&mut self) {
        for set in self.parameter_sets_mut() {
            set.zero_gradients();
        }
    }

    /// How often weights may have changed: where it is the same, they are.
    fn version(&self) -> u64 {
        self.parameter_sets().iter().map(|set| set.version()).sum()
    }

    /// The SHA-256 of each set of parameters, as [`ParameterSet::checksum`] makes it.
    fn checksums(&self) -> Vec<String> {
        let sets = self.parameter_sets();
        sets.iter().map(|set| set.checksum()).collect()
    }

    /// Whether the optimizer moves any parameter.
    fn is_trained(&self) -> bool {
        self.parameter_sets().iter().any(|set| set.is_trained())
    }
}

/// All of `tokens` rows, as many at a time as are held beside those of another distribution: 64 rows
/// of 50,257 numbers are 13 MB.
pub fn rows_at_once(tokens: usize) -> impl Iterator<Item = Range<usize>> {
    const ROWS: usize = 64;
    (0..tokens)
        .step_by(ROWS)
        .map(move |start| start..(start + ROWS).min(tokens))
}
