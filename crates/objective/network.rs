//! The interface of networks: forward and backward passes, decoding, and parameters.

use crate::{
    ActionValues, Decoder, Error, LogDist, ParameterSet, PerSeq, PerToken, Result, RowCallback,
    RowGradients, Sequences,
};
use rlhf_tensor::{AdamW, Tensor, Var};
use std::ops::Range;

/// Whether a backward pass follows a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// No backward pass: no activations are kept.
    Score,
    /// The activations that [`Network::backward`] needs are kept.
    Train,
}

/// What a forward pass must compute besides the log-probs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputSpec {
    /// Whether a backward pass follows.
    pub purpose: Purpose,
    /// Whether to compute the entropy of each distribution.
    pub entropy: bool,
}

impl OutputSpec {
    /// Log-probs (and values, if there is a critic) without a backward pass.
    pub const SCORE: Self = Self {
        purpose: Purpose::Score,
        entropy: false,
    };
    /// Log-probs (and values, if there is a critic) to differentiate.
    pub const TRAIN: Self = Self {
        purpose: Purpose::Train,
        entropy: false,
    };

    /// The same, with entropies.
    #[must_use]
    pub const fn with_entropy(self) -> Self {
        Self {
            entropy: true,
            ..self
        }
    }
}

/// The outputs of a forward pass for the N response tokens of a batch, at the network's temperature.
/// Each tensor is a leaf variable of candle's autograd: [`gradients`](Self::gradients) returns the
/// gradient of a loss with respect to them, and [`Network::backward`] continues from there. They are the
/// only inputs of a loss that depend on the network.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// log π(yₜ | x, y₍<t₎), nats.
    pub log_probs: PerToken,
    /// The entropy of π(· | x, y₍<t₎), nats, if it was requested.
    pub entropy: Option<PerToken>,
    /// The critic's V(x, y₍<t₎), before token t, in units of the reward, if there is a critic.
    pub values: Option<PerToken>,
    /// The reward model's r(x, y), \[B\], in units of the reward, if the network is one. The log-probs
    /// of a reward model are zeros.
    pub scores: Option<PerSeq>,
}

/// The gradient of a loss with respect to [`Outputs`]; `None` for outputs the loss does not use.
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
    /// Makes leaf variables from numbers computed for `sequences`.
    ///
    /// # Errors
    /// If there is not one number per response token.
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

    /// The outputs of a reward model: `scores` \[B\], and log-probs of zero.
    ///
    /// # Errors
    /// If there is not one score per response.
    pub fn scored(sequences: &Sequences, scores: Vec<f32>) -> Result<Self> {
        if scores.len() != sequences.len() {
            return Err(Error::Size {
                what: "scores",
                expected: sequences.len(),
                got: scores.len(),
            });
        }
        let outputs = Self::new(sequences, vec![0.0; sequences.tokens()], None, None)?;
        Ok(Self {
            scores: Some(PerSeq::new(leaf(scores)?)?),
            ..outputs
        })
    }

    /// The gradient of a scalar `loss` computed from these outputs.
    ///
    /// # Errors
    /// If candle cannot differentiate it.
    pub fn gradients(&self, loss: &Tensor) -> Result<OutputGrads> {
        let gradients = loss.backward()?;
        let numbers = |output: &Tensor| -> Result<Option<Vec<f32>>> {
            Ok(gradients.get(output).map(Tensor::to_vec1).transpose()?)
        };
        let per_token = |output: &PerToken| numbers(output.values());
        let per_sequence = |output: &PerSeq| numbers(output.values());
        Ok(OutputGrads {
            log_probs: per_token(&self.log_probs)?,
            entropy: self.entropy.as_ref().map(per_token).transpose()?.flatten(),
            values: self.values.as_ref().map(per_token).transpose()?.flatten(),
            scores: self
                .scores
                .as_ref()
                .map(per_sequence)
                .transpose()?
                .flatten(),
        })
    }
}

fn leaf(numbers: Vec<f32>) -> Result<Tensor> {
    let length = numbers.len();
    Ok(Var::from_vec(numbers, length, &rlhf_tensor::Device::Cpu)?.into_inner())
}

/// A language model π(· | x, y₍<t₎), with or without a critic, at a fixed temperature.
///
/// A training step is [`forward`](Self::forward) → a loss on [`Outputs`] → [`backward`](Self::backward)
/// for each micro-batch, and then an [`optimizer_step`](Self::optimizer_step). A network owns its
/// parameters, their gradients and the optimizer's state, on whichever device they are.
pub trait Network {
    /// V, the number of vocabulary entries.
    fn vocab(&self) -> usize;

    /// Runs the forward pass on a batch. What later calls need is kept until the next forward pass.
    ///
    /// # Errors
    /// If a token is not in the vocabulary, or a sequence is longer than the context.
    fn forward(&mut self, sequences: &Sequences, spec: OutputSpec) -> Result<Outputs>;

    /// The whole log-distribution π(· | x, y₍<t₎) for a range of the N response tokens of the last
    /// forward pass: [rows, V], nats.
    ///
    /// # Errors
    /// If there was no forward pass, or the range ends beyond its tokens.
    fn log_dist(&mut self, rows: Range<usize>) -> Result<LogDist<'_>>;

    /// Runs the [`forward`](Self::forward) pass of [`OutputSpec::SCORE`] and calls `each` with the
    /// log-distributions of all response tokens, in order, a range at a time. A network that does not
    /// keep them calls it during the pass, so that they are not computed twice.
    ///
    /// # Errors
    /// As [`forward`](Self::forward) and [`log_dist`](Self::log_dist), or if `each` fails.
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
    /// forward pass: [rows, V], in units of the reward. It is the output of the vocabulary-wide head,
    /// without a softmax.
    ///
    /// # Errors
    /// If the network has no such head or keeps only normalized rows, there was no forward pass, or the
    /// range ends beyond its tokens.
    fn action_values(&mut self, _rows: Range<usize>) -> Result<ActionValues<'_>> {
        Err(Error::Unsupported(
            "this network does not support action values: use one with a vocabulary-wide head"
                .into(),
        ))
    }

    /// Accumulates the gradient of a loss with respect to the scores of [`log_dist`](Self::log_dist) or
    /// to [`action_values`](Self::action_values), for a range of the response tokens of the last forward
    /// pass. [`backward`](Self::backward) must follow: it propagates them to the parameters together
    /// with the gradients of the outputs.
    ///
    /// # Errors
    /// If the network does not support it, the last forward pass was not of [`Purpose::Train`], the
    /// parameters are frozen, or the shapes differ.
    fn backward_rows(&mut self, _rows: Range<usize>, _gradients: &RowGradients) -> Result<()> {
        Err(Error::Unsupported(
            "this network does not support gradients of whole rows".into(),
        ))
    }

    /// Accumulates the parameter gradients of a loss, given its gradient with respect to the outputs of
    /// the last forward pass.
    ///
    /// # Errors
    /// If the last forward pass was not of [`Purpose::Train`], or the parameters are frozen.
    fn backward(&mut self, gradients: &OutputGrads) -> Result<()>;

    /// A decoder with this network's weights and temperature.
    ///
    /// # Errors
    /// If it cannot be set up.
    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>>;

    /// The parameters with their optimizer state: one set for each network inside, such as a policy
    /// followed by a separate critic.
    fn parameter_sets(&self) -> Vec<&dyn ParameterSet>;

    /// The same, mutable.
    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet>;

    /// The Euclidean norm of the gradients of all sets together: √Σ‖g‖², in f64, summed in order.
    fn gradient_norm(&self) -> f64 {
        let sets = self.parameter_sets();
        let squares = sets.iter().map(|set| set.gradient_norm().powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// Takes one AdamW step of all sets with gradients multiplied by `gradient_scale`, then sets the
    /// gradients to zero.
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

    /// Counts the calls that may have changed weights. As long as it is equal, so are the weights.
    fn version(&self) -> u64 {
        self.parameter_sets().iter().map(|set| set.version()).sum()
    }

    /// The [`ParameterSet::checksum`] of each set of parameters.
    fn checksums(&self) -> Vec<String> {
        let sets = self.parameter_sets();
        sets.iter().map(|set| set.checksum()).collect()
    }

    /// Whether the optimizer updates any parameter.
    fn is_trained(&self) -> bool {
        self.parameter_sets().iter().any(|set| set.is_trained())
    }
}

/// Cuts `tokens` rows into ranges small enough to hold in memory beside the rows of another
/// distribution: 64 rows of 50,257 f32 numbers are 13 MB.
pub fn rows_at_once(tokens: usize) -> impl Iterator<Item = Range<usize>> {
    const ROWS: usize = 64;
    (0..tokens)
        .step_by(ROWS)
        .map(move |start| start..(start + ROWS).min(tokens))
}
