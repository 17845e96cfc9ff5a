//! A transformer with hand-written forward and backward passes on a device's operations and preallocated
//! memory. It is generic over the device and knows none by name.
//!
//! A read packs the batch, runs the trunk once and reads the heads off the rows that predict; a
//! backward pass goes the same way back. Differentiation meets the loss at the network's outputs:
//! this code sees no loss, and a loss sees none of this.

mod block;
mod block_backward;
mod decoder;
#[cfg(test)]
mod frozen_tests;
mod heads;
#[cfg(test)]
mod kept_tests;
mod low_rank;
mod modules;
mod next_scores;
mod packed_block;
mod packed_linear;
#[cfg(test)]
mod precision_tests;
mod ropes;
#[cfg(test)]
mod tests;
mod trunk;

use crate::preconditions::{
    check_range, check_row_gradients, check_trainable, check_weights, no_forward_pass,
    no_vocabulary, of_numbers,
};
use crate::{ActivationCheckpointing, ModelConfig, ModelSpec, OutputHeads, Packed};
use heads::Readout;
pub(crate) use heads::{CHUNK, KEPT, SCORED_CHUNKS};
use modules::Norm;
use rlhf_device::{Device, Precision, RowGradient};
use rlhf_objective::{
    ActionValues, Decoder, Error, LogDist, Network, OutputGrads, OutputSpec, Outputs, ParameterSet,
    Purpose, Result, RowCallback, RowGradients, Sequences,
};
use rlhf_tensor::Parameters;
use std::ops::Range;
use trunk::{Batch, Trunk};

/// A network on a device, as its spec describes it.
#[derive(Debug)]
pub struct Transformer<D: Device> {
    spec: ModelSpec,
    /// At which a reward model does not read its score.
    pad: Option<u32>,
    parameters: Parameters<D>,
    heads: OutputHeads,
    trunk: Trunk<D>,
    readout: Readout<D>,
    last: Option<ForwardPass<D>>,
}

/// The last read.
#[derive(Debug)]
struct ForwardPass<D: Device> {
    batch: Batch<D>,
    purpose: Purpose,
    /// What it found, and of which weights.
    log_probs: Vec<f32>,
    numbers: Option<Vec<f32>>,
    version: u64,
    /// Whether a backward pass has used up some of what was kept.
    used: bool,
}

impl<D: Device> ForwardPass<D> {
    /// Whether it is what reading these tokens again would be: a rollout is scored and then learned
    /// from, and no weight has moved in between.
    fn answers(&self, packed: &Packed, spec: OutputSpec, version: u64) -> bool {
        let kept = (self.purpose, spec.purpose) == (Purpose::Train, Purpose::Train);
        kept && !self.used && self.version == version && self.batch.packed == *packed
    }
}

impl<D: Device> Transformer<D> {
    /// A network over `parameters`, which were made from the configuration's
    /// [`parameter_specs`](ModelConfig::parameter_specs) with the same heads. Logits are divided by `temperature` in every answer; the
    /// products of linear layers and of the vocabulary head are computed in `precision`, those of
    /// attention in f32.
    #[must_use]
    pub fn new(
        config: &ModelConfig,
        parameters: Parameters<D>,
        heads: OutputHeads,
        temperature: f64,
        precision: Precision,
    ) -> Self {
        let (spec, ids) = (config.spec.clone(), config.ids(&parameters));
        let vocabulary = heads.has_vocabulary().then_some(ids.head);
        let sizes = (config.outputs, spec.width);
        let last_norm = Norm {
            ids: ids.norm,
            formula: spec.final_norm,
        };
        Self {
            trunk: Trunk::new(&spec, &ids, precision),
            readout: Readout::new(
                last_norm,
                vocabulary,
                ids.number,
                sizes,
                temperature,
                precision,
                parameters.storage(),
            ),
            spec,
            pad: config.pad,
            parameters,
            heads,
            last: None,
        }
    }

    /// Below which ids are, and how many tokens a sequence may have.
    fn sizes(&self) -> (usize, usize) {
        let vocab = if self.heads.has_vocabulary() {
            self.readout.vocab
        } else {
            self.spec.vocab
        };
        (vocab, self.spec.context)
    }

    /// Runs all but the heads over a batch.
    fn run_trunk(&mut self, batch: &Batch<D>, purpose: Purpose) {
        let weights = self.parameters.weights();
        let stream = self.trunk.forward(weights, batch, purpose, |_, _| ());
        self.readout.take(weights, stream);
    }

    /// Runs the network over a batch.
    fn run(&mut self, batch: Batch<D>, purpose: Purpose) -> ForwardPass<D> {
        let device = self.parameters.device().clone();
        let log_probs = device.run(|| {
            self.run_trunk(&batch, purpose);
            let weights = self.parameters.weights();
            self.readout.log_probs(weights, &batch.packed.targets)
        });
        self.found(batch, purpose, log_probs)
    }

    /// What was read, once all rows are behind the heads.
    fn found(&self, batch: Batch<D>, purpose: Purpose, log_probs: Vec<f32>) -> ForwardPass<D> {
        ForwardPass {
            batch,
            purpose,
            log_probs,
            numbers: self.readout.numbers(self.parameters.weights()),
            version: self.parameters.version(),
            used: false,
        }
    }

    /// The same network, which keeps this much for its backward passes.
    #[must_use]
    pub fn with_activation_checkpointing(
        mut self,
        activation_checkpointing: ActivationCheckpointing,
    ) -> Self {
        self.trunk.activation_checkpointing = activation_checkpointing;
        self
    }
}

impl<D: Device> Network for Transformer<D> {
    fn vocab(&self) -> usize {
        self.readout.vocab
    }

    fn forward(&mut self, sequences: &Sequences, spec: OutputSpec) -> Result<Outputs> {
        let last = self.last.take();
        let packed = Packed::of(sequences, self.sizes(), self.heads, self.pad)?;
        let version = self.parameters.version();
        let read = match last.filter(|last| last.answers(&packed, spec, version)) {
            Some(last) => last,
            None => self.run(Batch::new(self.parameters.device(), packed), spec.purpose),
        };
        let device = self.parameters.device();
        let entropy = spec.entropy.then(|| self.readout.entropies(device));
        let (log_probs, numbers) = (read.log_probs.clone(), read.numbers.clone());
        self.last = Some(read);
        match self.heads {
            OutputHeads::Score => Outputs::scored(sequences, numbers.unwrap_or_default()),
            _ => Outputs::new(sequences, log_probs, entropy, numbers),
        }
    }

    fn log_dist(&mut self, rows: Range<usize>) -> Result<LogDist<'_>> {
        let read = self.last.as_ref().ok_or_else(no_forward_pass)?;
        let head = self.readout.vocabulary.ok_or_else(no_vocabulary)?;
        check_range(&rows, read.batch.packed.rows.len())?;
        check_weights(read.version, self.parameters.version())?;
        let weights = self.parameters.weights();
        let dist = || self.readout.log_dist(weights, head, rows);
        Ok(weights.device().run(dist))
    }

    fn forward_with_rows(
        &mut self,
        sequences: &Sequences,
        each: &mut RowCallback<'_>,
    ) -> Result<Outputs> {
        self.last = None;
        let packed = Packed::of(sequences, self.sizes(), self.heads, self.pad)?;
        let head = self.readout.vocabulary.ok_or_else(no_vocabulary)?;
        let device = self.parameters.device().clone();
        let (batch, purpose) = (Batch::new(&device, packed), Purpose::Score);
        device.run(|| self.run_trunk(&batch, purpose));
        self.readout.make_room(&device);
        let weights = self.parameters.weights();
        let mut log_probs = Vec::with_capacity(batch.packed.targets.len());
        for rows in self.readout.pieces() {
            let (readout, targets) = (&mut self.readout, &batch.packed.targets);
            let piece = || readout.piece(weights, head, rows.clone(), targets);
            log_probs.extend(device.run(piece));
            each(rows.clone(), self.readout.lent(&device, rows))?;
        }
        let read = self.found(batch, purpose, log_probs);
        let (log_probs, numbers) = (read.log_probs.clone(), read.numbers.clone());
        self.last = Some(read);
        Outputs::new(sequences, log_probs, None, numbers)
    }

    fn action_values(&mut self, rows: Range<usize>) -> Result<ActionValues<'_>> {
        let read = self.last.as_ref().ok_or_else(no_forward_pass)?;
        let head = self.readout.vocabulary.ok_or_else(no_vocabulary)?;
        check_range(&rows, read.batch.packed.rows.len())?;
        check_weights(read.version, self.parameters.version())?;
        let weights = self.parameters.weights();
        let values = || self.readout.action_values(weights, head, rows);
        Ok(weights.device().run(values))
    }

    fn backward_rows(&mut self, rows: Range<usize>, gradients: &RowGradients) -> Result<()> {
        let read = self.last.as_mut().ok_or_else(no_forward_pass)?;
        let head = self.readout.vocabulary.ok_or_else(no_vocabulary)?;
        check_trainable(read.purpose, self.parameters.storage())?;
        check_weights(read.version, self.parameters.version())?;
        check_row_gradients(
            &rows,
            gradients,
            read.batch.packed.rows.len(),
            self.readout.vocab,
        )?;
        read.used = true;
        let (weights, mut into) = self.parameters.split();
        let into = (weights, &mut into);
        let backward = || {
            let d_scores = gradients.as_rows();
            self.readout.backward_rows(into, head, rows, d_scores);
        };
        weights.device().run(backward);
        Ok(())
    }

    fn backward(&mut self, gradients: &OutputGrads) -> Result<()> {
        let read = self.last.as_mut().ok_or_else(no_forward_pass)?;
        check_trainable(read.purpose, self.parameters.storage())?;
        check_weights(read.version, self.parameters.version())?;
        let packed = &read.batch.packed;
        let of_rows = match self.heads {
            OutputHeads::Score => None,
            _ => row_gradients(gradients, &packed.targets)?,
        };
        let of_numbers = of_numbers(gradients, self.heads).as_deref();
        check_length(of_numbers, packed.rows.len())?;
        read.used = true;
        let (weights, mut into) = self.parameters.split();
        let readout = &mut self.readout;
        weights.device().run(|| {
            let d_rows = readout.backward((weights, &mut into), of_rows.as_deref(), of_numbers);
            self.trunk.backward(weights, &mut into, &read.batch, d_rows);
        });
        Ok(())
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        Ok(Box::new(decoder::CachedDecoder::new(self)?))
    }

    fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
        vec![&self.parameters]
    }

    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
        vec![&mut self.parameters]
    }
}

fn check_length(gradient: Option<&[f32]>, expected: usize) -> Result<()> {
    match gradient {
        Some(gradient) if gradient.len() != expected => Err(Error::Size {
            what: "gradients of outputs",
            expected,
            got: gradient.len(),
        }),
        _ => Ok(()),
    }
}

/// The gradients of log-probs and entropies row by row; `None` where there is neither.
fn row_gradients(gradients: &OutputGrads, targets: &[u32]) -> Result<Option<Vec<RowGradient>>> {
    let (log_probs, entropy) = (gradients.log_probs.as_deref(), gradients.entropy.as_deref());
    check_length(log_probs, targets.len())?;
    check_length(entropy, targets.len())?;
    if log_probs.is_none() && entropy.is_none() {
        return Ok(None);
    }
    let row = |(i, target): (usize, &u32)| RowGradient {
        target: *target,
        log_prob: log_probs.map_or(0.0, |g| g[i]),
        entropy: entropy.map_or(0.0, |g| g[i]),
    };
    Ok(Some(targets.iter().enumerate().map(row).collect()))
}
