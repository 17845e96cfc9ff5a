//! A transformer in plain tensor operations, as its spec describes it: the first thing to read, and the
//! oracle of the fast engine. The forward pass is in `plain/trunk.rs`.
//!
//! Differentiable operations only: candle's fused norms and softmax have no backward.

mod decoder;
mod trunk;

use crate::config::ModelConfig;
use crate::options::OutputHeads;
use crate::packed::Packed;
use crate::parameters::ModelIds;
use crate::preconditions::{
    check_language, check_range, check_row_gradients, check_trainable, no_forward_pass, of_numbers,
};
use decoder::PlainDecoder;
use rlhf_models::ModelSpec;
use rlhf_objective::{
    ActionValues, Decoder, LogDist, Network, OutputGrads, OutputSpec, Outputs, ParameterSet,
    Purpose, Result, RowGradients, Sequences,
};
use rlhf_tensor::{D, Device, ParameterId, Parameters, Tensor, Var, ops};
use std::ops::Range;
use trunk::{Trace, Trunk};

/// A network on any batch of segments, as its spec describes it.
pub struct Plain {
    spec: ModelSpec,
    /// How many ids the vocabulary head answers about.
    outputs: usize,
    /// At which a reward model does not read its score.
    pad: Option<u32>,
    ids: ModelIds,
    parameters: Parameters,
    heads: OutputHeads,
    temperature: f64,
    last: Option<ForwardPass>,
}

/// What one read keeps: the graph down to the variables it was computed from.
struct ForwardPass {
    weights: Weights,
    /// Final hidden states of the rows that predict, [N, D].
    hidden: Tensor,
    log_probs: Tensor,
    entropy: Option<Tensor>,
    /// Values or scores.
    values: Option<Tensor>,
    purpose: Purpose,
    /// The scores of rows times the gradients that came back for them, summed.
    rows: Option<Tensor>,
}

/// The parameters as candle variables.
struct Weights(Vec<Var>);

impl Weights {
    fn new(parameters: &Parameters) -> Result<Self> {
        let weights = parameters.weights();
        let variable = |id: ParameterId| {
            let shape = parameters.spec(id).shape.as_slice();
            Ok(Var::from_slice(weights.get(id), shape, &Device::Cpu)?)
        };
        Ok(Self(parameters.ids().map(variable).collect::<Result<_>>()?))
    }

    fn get(&self, id: ParameterId) -> &Tensor {
        self.0[id.index()].as_tensor()
    }
}

impl Plain {
    /// A network over `parameters`, which were made from the configuration's
    /// [`parameter_specs`](ModelConfig::parameter_specs) with the same heads.
    #[must_use]
    pub fn new(
        config: &ModelConfig,
        parameters: Parameters,
        heads: OutputHeads,
        temperature: f64,
    ) -> Self {
        let ids = config.ids(&parameters);
        Self {
            spec: config.spec.clone(),
            outputs: config.outputs,
            pad: config.pad,
            ids,
            parameters,
            heads,
            temperature,
            last: None,
        }
    }

    /// Logits of every row of a packed batch, [n, V], showing `trace` each stage on the way.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn logits(&self, packed: &Packed, trace: &mut dyn FnMut(&str, &Tensor)) -> Result<Tensor> {
        let weights = Weights::new(&self.parameters)?;
        let hidden = self.hidden(&weights, packed, trace)?;
        self.head(&weights, &hidden)
    }

    /// Final hidden states, [n, D].
    fn hidden(&self, weights: &Weights, packed: &Packed, trace: &mut Trace<'_>) -> Result<Tensor> {
        let trunk = Trunk {
            spec: &self.spec,
            ids: &self.ids,
            weights,
        };
        trunk.hidden(packed, trace)
    }

    /// Logits over the temperature, [rows, V].
    fn head(&self, weights: &Weights, hidden: &Tensor) -> Result<Tensor> {
        let head = weights.get(self.ids.head).narrow(0, 0, self.outputs)?;
        Ok((hidden.matmul(&head.t()?)? / self.temperature)?)
    }

    /// All outputs of a batch, in candle's graph.
    fn answer(&self, packed: &Packed, spec: OutputSpec) -> Result<ForwardPass> {
        let weights = Weights::new(&self.parameters)?;
        let rows: Vec<u32> = packed.rows.iter().map(|row| *row as u32).collect();
        let rows = Tensor::from_slice(&rows, rows.len(), &Device::Cpu)?;
        let hidden = self
            .hidden(&weights, packed, &mut |_, _| ())?
            .index_select(&rows, 0)?;
        let values = match &self.ids.number {
            Some(head) => {
                let weight = weights.get(head.weight).t()?;
                let number = hidden.matmul(&weight)?.squeeze(1)?;
                Some(match head.bias {
                    Some(bias) => number.broadcast_add(weights.get(bias))?,
                    None => number,
                })
            }
            None => None,
        };
        let (log_probs, entropy) = if !self.heads.has_vocabulary() {
            (
                Tensor::zeros(packed.rows.len(), hidden.dtype(), &Device::Cpu)?,
                None,
            )
        } else {
            let log_dist = ops::log_softmax(&self.head(&weights, &hidden)?, D::Minus1)?;
            let targets = Tensor::from_slice(&packed.targets, packed.targets.len(), &Device::Cpu)?;
            let log_probs = log_dist.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)?;
            let entropy = if spec.entropy {
                Some((log_dist.exp()? * &log_dist)?.sum(1)?.neg()?)
            } else {
                None
            };
            (log_probs, entropy)
        };
        Ok(ForwardPass {
            weights,
            hidden,
            log_probs,
            entropy,
            values,
            purpose: spec.purpose,
            rows: None,
        })
    }
}

impl Network for Plain {
    fn vocab(&self) -> usize {
        self.outputs
    }

    fn forward(&mut self, sequences: &Sequences, spec: OutputSpec) -> Result<Outputs> {
        self.last = None;
        let vocab = if self.heads.has_vocabulary() {
            self.outputs
        } else {
            self.spec.vocab
        };
        let sizes = (vocab, self.spec.context);
        let packed = Packed::of(sequences, sizes, self.heads, self.pad)?;
        let read = self.answer(&packed, spec)?;
        let numbers = |x: &Option<Tensor>| x.as_ref().map(Tensor::to_vec1).transpose();
        let (entropy, values) = (numbers(&read.entropy)?, numbers(&read.values)?);
        let outputs = match self.heads {
            OutputHeads::Score => Outputs::scored(sequences, values.unwrap_or_default())?,
            _ => Outputs::new(sequences, read.log_probs.to_vec1()?, entropy, values)?,
        };
        self.last = Some(read);
        Ok(outputs)
    }

    fn log_dist(&mut self, rows: Range<usize>) -> Result<LogDist<'_>> {
        check_language(self.heads)?;
        let read = self.last.as_ref().ok_or_else(no_forward_pass)?;
        let hidden = read.hidden.narrow(0, rows.start, rows.len())?;
        let log_dist = ops::log_softmax(&self.head(&read.weights, &hidden)?, D::Minus1)?;
        LogDist::of_log_probs(log_dist.flatten_all()?.to_vec1::<f32>()?, self.vocab())
    }

    fn action_values(&mut self, rows: Range<usize>) -> Result<ActionValues<'_>> {
        check_language(self.heads)?;
        let read = self.last.as_ref().ok_or_else(no_forward_pass)?;
        check_range(&rows, read.hidden.dim(0)?)?;
        let hidden = read.hidden.narrow(0, rows.start, rows.len())?;
        let scores = self.head(&read.weights, &hidden)?;
        ActionValues::new(scores.flatten_all()?.to_vec1::<f32>()?, self.vocab())
    }

    fn backward_rows(&mut self, rows: Range<usize>, gradients: &RowGradients) -> Result<()> {
        check_language(self.heads)?;
        let read = self.last.as_ref().ok_or_else(no_forward_pass)?;
        check_trainable(read.purpose, self.parameters.storage())?;
        check_row_gradients(&rows, gradients, read.hidden.dim(0)?, self.vocab())?;
        let hidden = read.hidden.narrow(0, rows.start, rows.len())?;
        let shape = (rows.len(), self.vocab());
        let gradients = Tensor::from_slice(&gradients.to_host(), shape, &Device::Cpu)?;
        let weighed = (self.head(&read.weights, &hidden)? * gradients)?.sum_all()?;
        if let Some(read) = &mut self.last {
            read.rows = Some(match read.rows.take() {
                Some(before) => (before + weighed)?,
                None => weighed,
            });
        }
        Ok(())
    }

    fn backward(&mut self, gradients: &OutputGrads) -> Result<()> {
        let rows = self.last.as_mut().and_then(|read| read.rows.take());
        let read = self.last.as_ref().ok_or_else(no_forward_pass)?;
        check_trainable(read.purpose, self.parameters.storage())?;
        let weigh = |output: &Tensor, gradient: &Vec<f32>| {
            let gradient = Tensor::from_slice(gradient, gradient.len(), &Device::Cpu)?;
            (output * gradient)?.sum_all()
        };
        // d(loss)/d(parameters) = d(Σ outputs·gradients)/d(parameters), the gradients held fixed.
        let mut total = Tensor::zeros((), read.hidden.dtype(), &Device::Cpu)?;
        let language = self.heads.has_vocabulary();
        let parts = [
            (language.then_some(&read.log_probs), &gradients.log_probs),
            (read.entropy.as_ref(), &gradients.entropy),
            (read.values.as_ref(), of_numbers(gradients, self.heads)),
        ];
        for (output, gradient) in parts {
            if let (Some(output), Some(gradient)) = (output, gradient) {
                total = (total + weigh(output, gradient)?)?;
            }
        }
        if let Some(rows) = rows {
            total = (total + rows)?;
        }
        let found = total.backward()?;
        let ids: Vec<_> = self.parameters.ids().collect();
        let mut into = self.parameters.gradients_mut();
        for id in ids {
            let Some(sums) = into.slice_mut(id) else {
                continue;
            };
            if let Some(gradient) = found.get(read.weights.get(id)) {
                let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
                let sums = sums.host().iter_mut();
                sums.zip(gradient).for_each(|(sum, new)| *sum += new);
            }
        }
        Ok(())
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        check_language(self.heads)?;
        Ok(Box::new(PlainDecoder::new(self)))
    }

    fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
        vec![&self.parameters]
    }

    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
        vec![&mut self.parameters]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_lets_a_response_see_its_prompt_and_nothing_else() {
        use rlhf_objective::{Finish, Prompt, Response};
        let answer = |ids: &[u32]| Response::new(0, ids.to_vec(), Finish::Length);
        let prompts = vec![Prompt::from_ids(vec![0, 1])];
        let s = Sequences::new(prompts, vec![answer(&[2, 0]), answer(&[1, 2, 0])]).unwrap();
        let mask = trunk::mask(&Packed::new(&s, 3, 9).unwrap(), None)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        let seen: Vec<Vec<usize>> = mask
            .iter()
            .map(|row| (0..row.len()).filter(|j| row[*j] == 0.0).collect())
            .collect();
        assert_eq!(
            seen,
            [
                vec![0],
                vec![0, 1],
                vec![0, 1, 2],
                vec![0, 1, 3],
                vec![0, 1, 3, 4]
            ]
        );
    }
}
