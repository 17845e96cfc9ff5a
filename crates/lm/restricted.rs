//! A network that says some tokens only.

use crate::preconditions::{check_range, check_row_gradients};
use crate::{Model, Result};
use rlhf_objective::{
    Decoder, Error, Finish, LogDist, MappedDecoder, Network, OutputGrads, OutputSpec, Outputs,
    ParameterSet, Prompt, Response, RowGradients, Sequences,
};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

/// π(a|s)/Σ_{b∈A} π(b|s) for a in a set A of tokens, 0 for the others: any network, renormalized. With a
/// few tokens and short responses every response of a real network can be listed, and what is
/// optimal is known exactly.
///
/// It reads each prefix of a batch once, with all its |A| next tokens, whatever network is inside; so
/// it is for small A and short responses.
pub struct Restricted {
    model: Box<dyn Model>,
    tokens: Vec<u32>,
    read: Option<ForwardPass>,
}

/// What is kept of the last read.
struct ForwardPass {
    /// For each response token its prefix, and which of A it is.
    taken: Vec<(usize, usize)>,
    /// log π(·|prefix) over A: [prefixes, A].
    rows: Vec<f32>,
    /// The gradient with respect to them that came back in whole rows; empty if none did.
    gradient: Vec<f32>,
}

impl Restricted {
    /// To these tokens.
    ///
    /// # Errors
    /// If there is none, one comes twice, or one is not in the vocabulary.
    pub fn new(model: Box<dyn Model>, tokens: Vec<u32>) -> Result<Self> {
        let vocab = model.vocab();
        let twice = |(i, token): (usize, &u32)| tokens[..i].contains(token);
        let far = tokens.iter().find(|token| **token as usize >= vocab);
        let message = match far {
            Some(token) => format!("token {token} is not among its {vocab}"),
            None if tokens.is_empty() => "there is no token to say".into(),
            None if tokens.iter().enumerate().any(twice) => "a token comes twice".into(),
            None => {
                return Ok(Self {
                    model,
                    tokens,
                    read: None,
                });
            }
        };
        Err(crate::Error::Text(format!(
            "a network cannot be restricted to these tokens: {message}"
        )))
    }

    /// The prefixes of a batch, each as a prompt with the |A| responses of one token; and the prefix
    /// and the token of each response token of the batch.
    fn expand(&self, s: &Sequences) -> rlhf_objective::Result<(Sequences, Vec<(usize, usize)>)> {
        let mut prefixes: HashMap<Vec<u32>, usize> = HashMap::new();
        let (mut prompts, mut taken) = (Vec::new(), Vec::with_capacity(s.tokens()));
        for (index, response) in s.responses().iter().enumerate() {
            let mut ids = s.prompt_of(index).ids.clone();
            for &token in &response.ids {
                let place = self.tokens.iter().position(|known| *known == token);
                let place = place.ok_or_else(|| {
                    Error::Unsupported(format!(
                        "a response has token {token}, which the network is restricted not to say"
                    ))
                })?;
                let prefix = *prefixes.entry(ids.clone()).or_insert_with(|| {
                    prompts.push(Prompt::from_ids(ids.clone()));
                    prompts.len() - 1
                });
                taken.push((prefix, place));
                ids.push(token);
            }
        }
        let next = |prefix| {
            let one = move |token: &u32| Response::new(prefix, vec![*token], Finish::Length);
            self.tokens.iter().map(one)
        };
        let responses = (0..prompts.len()).flat_map(next).collect();
        Ok((Sequences::new(prompts, responses)?, taken))
    }

    fn last(&self) -> rlhf_objective::Result<&ForwardPass> {
        let nothing = || Error::Unsupported("nothing was read for this".into());
        self.read.as_ref().ok_or_else(nothing)
    }
}

impl ForwardPass {
    fn row(&self, prefix: usize, size: usize) -> &[f32] {
        &self.rows[prefix * size..][..size]
    }
}

/// log softmax, in place.
fn normalize(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - most).exp()).sum();
    let log_sum = (f64::from(most) + sum.ln()) as f32;
    row.iter_mut().for_each(|x| *x -= log_sum);
}

fn entropy(row: &[f32]) -> f32 {
    let some = row.iter().filter(|x| **x > f32::NEG_INFINITY);
    -some.map(|x| x.exp() * x).sum::<f32>()
}

impl Network for Restricted {
    fn vocab(&self) -> usize {
        self.model.vocab()
    }

    fn forward(&mut self, s: &Sequences, spec: OutputSpec) -> rlhf_objective::Result<Outputs> {
        self.read = None;
        let (expanded, taken) = self.expand(s)?;
        let inside = OutputSpec {
            entropy: false,
            ..spec
        };
        let outputs = self.model.forward(&expanded, inside)?;
        let (size, mut rows) = (self.tokens.len(), outputs.log_probs.to_vec()?);
        rows.chunks_mut(size).for_each(normalize);
        let gradient = Vec::new();
        let read = ForwardPass {
            taken,
            rows,
            gradient,
        };
        let of = |of: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            read.taken
                .iter()
                .map(|&(prefix, place)| of(prefix, place))
                .collect()
        };
        let log_probs = of(&|prefix, place| read.row(prefix, size)[place]);
        let entropies = spec
            .entropy
            .then(|| of(&|prefix, _| entropy(read.row(prefix, size))));
        let values = outputs.values.map(|values| values.to_vec()).transpose()?;
        let values = values.map(|values| of(&|prefix, _| values[prefix * size]));
        let outputs = Outputs::new(s, log_probs, entropies, values);
        self.read = Some(read);
        outputs
    }

    fn log_dist(&mut self, rows: Range<usize>) -> rlhf_objective::Result<LogDist<'_>> {
        let (vocab, size) = (self.vocab(), self.tokens.len());
        let read = self.last()?;
        check_range(&rows, read.taken.len())?;
        let mut flat = vec![f32::NEG_INFINITY; rows.len() * vocab];
        for (out, &(prefix, _)) in flat.chunks_mut(vocab).zip(&read.taken[rows.clone()]) {
            for (&token, &log_prob) in self.tokens.iter().zip(read.row(prefix, size)) {
                out[token as usize] = log_prob;
            }
        }
        LogDist::of_log_probs(flat, vocab)
    }

    fn backward_rows(
        &mut self,
        rows: Range<usize>,
        gradients: &RowGradients,
    ) -> rlhf_objective::Result<()> {
        let (vocab, size) = (self.vocab(), self.tokens.len());
        check_row_gradients(&rows, gradients, self.last()?.taken.len(), vocab)?;
        let Some(read) = &mut self.read else {
            return Ok(());
        };
        read.gradient.resize(read.rows.len(), 0.0);
        let gradients = gradients.to_host();
        let taken = gradients.chunks(vocab).zip(&read.taken[rows]);
        for (row, &(prefix, _)) in taken {
            let sums = read.gradient[prefix * size..].iter_mut();
            sums.zip(&self.tokens)
                .for_each(|(sum, &token)| *sum += row[token as usize]);
        }
        Ok(())
    }

    fn backward(&mut self, gradients: &OutputGrads) -> rlhf_objective::Result<()> {
        let size = self.tokens.len();
        let of_rows = match &mut self.read {
            Some(read) => std::mem::take(&mut read.gradient),
            None => Vec::new(),
        };
        let read = self.last()?;
        let some =
            gradients.log_probs.is_some() || gradients.entropy.is_some() || !of_rows.is_empty();
        let mut inside = of_rows;
        inside.resize(read.rows.len(), 0.0);
        let mut of_values = gradients.values.as_ref().map(|_| inside.clone());
        let at = |of: &Option<Vec<f32>>, t: usize| of.as_ref().map_or(0.0, |of| of[t]);
        for (t, &(prefix, place)) in read.taken.iter().enumerate() {
            let (slope, of_entropy) = (at(&gradients.log_probs, t), at(&gradients.entropy, t));
            let row = read.row(prefix, size);
            let entropy = entropy(row);
            inside[prefix * size + place] += slope;
            for (d, &log_prob) in inside[prefix * size..].iter_mut().zip(row) {
                let p = log_prob.exp();
                if p == 0.0 {
                    continue;
                }
                *d -= p * (slope + of_entropy * (log_prob + entropy));
            }
            if let Some(of_values) = &mut of_values {
                of_values[prefix * size] += at(&gradients.values, t);
            }
        }
        self.model.backward(&OutputGrads {
            log_probs: some.then_some(inside),
            values: of_values,
            ..OutputGrads::default()
        })
    }

    fn decoder(&mut self) -> rlhf_objective::Result<Box<dyn Decoder + '_>> {
        self.read = None;
        let mut allowed = vec![false; self.model.vocab()];
        self.tokens
            .iter()
            .for_each(|&token| allowed[token as usize] = true);
        let decoder = self.model.decoder()?;
        Ok(Box::new(MappedDecoder::new(decoder, move |row| {
            for (score, allowed) in row.iter_mut().zip(&allowed) {
                if !allowed {
                    *score = f32::NEG_INFINITY;
                }
            }
        })))
    }

    fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
        self.model.parameter_sets()
    }

    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
        self.model.parameter_sets_mut()
    }
}

impl Model for Restricted {
    /// The network as it is without the restriction.
    fn save(&self, folder: &Path) -> Result<()> {
        self.model.save(folder)
    }

    fn eos(&self) -> Option<u32> {
        self.model.eos()
    }

    fn bos(&self) -> Option<u32> {
        self.model.bos()
    }

    fn context(&self) -> usize {
        self.model.context()
    }
}
