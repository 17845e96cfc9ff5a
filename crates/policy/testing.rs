//! A bigram model for tests, in this crate and others.

use rlhf_objective::{
    Decoder, Error, Finish, LogDist, Network, OutputGrads, OutputSpec, Outputs, ParameterSet,
    Prompt, Purpose, Response, Result, Sequences, Start, check_gather, gather_rows,
};
use rlhf_tensor::{Init, ParameterSpec, Parameters, Rng, Storage, Stream};
use std::io;
use std::ops::Range;
use std::path::Path;

const FILE: &str = "bigram.f32";

/// π(· | previous token) and V(previous token), each from a table: `logits` [V, V] and `values` \[V\].
/// Its end-of-sequence token is 0 and its context length 64.
#[derive(Debug)]
pub struct Bigram {
    vocab: usize,
    parameters: Parameters,
    /// (previous token, token) of each response token of the last forward pass, and its purpose.
    last_forward: Option<(Vec<(u32, u32)>, Purpose)>,
}

/// Two prompts, with two responses and one response, over five tokens.
///
/// # Panics
/// Never.
#[must_use]
pub fn sequences() -> Sequences {
    let prompts = vec![Prompt::from_ids(vec![1, 2]), Prompt::from_ids(vec![3])];
    let response = |prompt, ids: &[u32]| Response::new(prompt, ids.to_vec(), Finish::Length);
    let responses = vec![
        response(0, &[3, 4, 1]),
        response(0, &[2]),
        response(1, &[4, 4, 1, 2]),
    ];
    Sequences::new(prompts, responses).expect("they are valid")
}

impl Bigram {
    /// A model with standard normal tables.
    #[must_use]
    pub fn random(vocab: usize, storage: Storage, seed: u64) -> Self {
        let specs = vec![
            ParameterSpec::matrix("logits", &[vocab, vocab]),
            ParameterSpec::undecayed("values", &[vocab]),
        ];
        let mut parameters = Parameters::new(specs, storage);
        let mut rng = Rng::new(seed, Stream::Init, 0, 0);
        for name in ["logits", "values"] {
            parameters.initialize(name, Init::Normal { std: 1.0 }, &mut rng);
        }
        Self {
            vocab,
            parameters,
            last_forward: None,
        }
    }

    /// Loads a model saved by [`save`](Self::save).
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(folder: &Path, storage: Storage) -> io::Result<Self> {
        let bytes = std::fs::read(folder.join(FILE))?;
        let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
        let vocab = (numbers.len() as f64).sqrt() as usize;
        let mut loaded = Self::random(vocab, storage, 0);
        let (logits, values) = numbers.split_at(vocab * vocab);
        for (name, table) in [("logits", logits), ("values", values)] {
            let set = loaded.parameters.set(name, table);
            set.map_err(io::Error::other)?;
        }
        Ok(loaded)
    }

    /// Saves the model to a folder, which is created if it does not exist.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        let numbers = [self.table("logits"), self.table("values")].concat();
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(FILE), bytemuck::cast_slice(&numbers))
    }

    fn table(&self, name: &str) -> &[f32] {
        let id = self.parameters.id(name).expect("one of the two tables");
        self.parameters.weights().get(id)
    }

    /// log π(· | previous), \[V\].
    fn row(&self, previous: u32) -> Vec<f32> {
        let start = previous as usize * self.vocab;
        let logits = &self.table("logits")[start..start + self.vocab];
        let log_sum = logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        logits
            .iter()
            .map(|&x| (f64::from(x) - log_sum) as f32)
            .collect()
    }
}

fn entropy(log_dist: &[f32]) -> f32 {
    -log_dist.iter().map(|&x| x.exp() * x).sum::<f32>()
}

impl Network for Bigram {
    fn vocab(&self) -> usize {
        self.vocab
    }

    fn forward(&mut self, sequences: &Sequences, spec: OutputSpec) -> Result<Outputs> {
        let mut pairs = Vec::with_capacity(sequences.tokens());
        for (index, response) in sequences.responses().iter().enumerate() {
            let mut previous = *sequences.prompt_of(index).ids.last().unwrap_or(&0);
            for &token in &response.ids {
                pairs.push((previous, token));
                previous = token;
            }
        }
        if pairs.iter().any(|&(a, b)| a.max(b) as usize >= self.vocab) {
            return Err(Error::Unsupported(
                "a token is not in the vocabulary".into(),
            ));
        }
        let rows: Vec<Vec<f32>> = pairs.iter().map(|pair| self.row(pair.0)).collect();
        let log_probs = pairs.iter().zip(&rows);
        let log_probs = log_probs.map(|(pair, row)| row[pair.1 as usize]).collect();
        let entropies = spec
            .entropy
            .then(|| rows.iter().map(|row| entropy(row)).collect());
        let values = pairs
            .iter()
            .map(|pair| self.table("values")[pair.0 as usize]);
        let outputs = Outputs::new(sequences, log_probs, entropies, Some(values.collect()));
        self.last_forward = Some((pairs, spec.purpose));
        outputs
    }

    fn log_dist(&mut self, rows: Range<usize>) -> Result<LogDist<'_>> {
        let (pairs, _) = self.last_forward.as_ref().ok_or_else(no_forward_pass)?;
        let flat: Vec<f32> = pairs
            .get(rows)
            .ok_or_else(no_forward_pass)?
            .iter()
            .flat_map(|pair| self.row(pair.0))
            .collect();
        LogDist::of_log_probs(flat, self.vocab)
    }

    fn backward(&mut self, gradients: &OutputGrads) -> Result<()> {
        let Some((pairs, Purpose::Train)) = self.last_forward.clone() else {
            return Err(no_forward_pass());
        };
        let rows: Vec<Vec<f32>> = pairs.iter().map(|pair| self.row(pair.0)).collect();
        let of = |d: &Option<Vec<f32>>, t: usize| d.as_ref().map_or(0.0, |d| d[t]);
        let vocab = self.vocab;
        let ids: Vec<_> = self.parameters.ids().collect();
        let mut all = self.parameters.gradients_mut();
        for (t, ((previous, token), row)) in pairs.into_iter().zip(&rows).enumerate() {
            let previous = previous as usize;
            let (log_prob, value) = (of(&gradients.log_probs, t), of(&gradients.values, t));
            let (d_entropy, entropy) = (of(&gradients.entropy, t), entropy(row));
            let logits = &mut all.get_mut(ids[0])[previous * vocab..][..vocab];
            for (v, (d, &x)) in logits.iter_mut().zip(row).enumerate() {
                let p = x.exp();
                *d += log_prob * (f32::from(u8::from(v == token as usize)) - p);
                *d -= d_entropy * p * (x + entropy);
            }
            all.get_mut(ids[1])[previous] += value;
        }
        Ok(())
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        Ok(Box::new(BigramDecoder {
            network: self,
            rows: 0,
            scores: Vec::new(),
        }))
    }

    fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
        vec![&self.parameters]
    }

    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
        vec![&mut self.parameters]
    }
}

fn no_forward_pass() -> Error {
    Error::Unsupported("there was no forward pass for this call".into())
}

struct BigramDecoder<'a> {
    network: &'a Bigram,
    rows: usize,
    scores: Vec<f32>,
}

impl Decoder for BigramDecoder<'_> {
    fn vocab(&self) -> usize {
        self.network.vocab
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        for start in prompts {
            let row = self.network.row(*start.prompt.last().unwrap_or(&0));
            for _ in 0..start.samples {
                self.scores.extend_from_slice(&row);
                self.rows += 1;
            }
        }
        Ok(())
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        LogDist::of_scores(&self.scores[..], self.vocab())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        if tokens.len() != self.rows {
            return Err(Error::Size {
                what: "tokens of a step",
                expected: self.rows,
                got: tokens.len(),
            });
        }
        self.scores = tokens
            .iter()
            .flat_map(|&token| self.network.row(token))
            .collect();
        Ok(())
    }

    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        check_gather(rows, self.rows)?;
        self.scores = gather_rows(&self.scores, self.network.vocab, rows);
        self.rows = rows.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the gradient of Σ w·(log-prob, entropy, value) with central differences.
    #[test]
    fn gradients_match_finite_differences() {
        let s = sequences();
        let n = s.tokens();
        let weights = |k: usize| (0..n).map(|t| ((t * 7 + k) % 5) as f32 - 1.7).collect();
        let (a, b, c): (Vec<f32>, Vec<f32>, Vec<f32>) = (weights(0), weights(1), weights(2));
        let loss = |network: &mut Bigram| -> f64 {
            let outputs = network
                .forward(&s, OutputSpec::TRAIN.with_entropy())
                .unwrap();
            let dot = |x: Vec<f32>, w: &[f32]| -> f64 {
                x.iter()
                    .zip(w)
                    .map(|(x, w)| f64::from(*x) * f64::from(*w))
                    .sum()
            };
            dot(outputs.log_probs.to_vec().unwrap(), &a)
                + dot(outputs.entropy.unwrap().to_vec().unwrap(), &b)
                + dot(outputs.values.unwrap().to_vec().unwrap(), &c)
        };
        let mut network = Bigram::random(5, Storage::Trainable, 9);
        loss(&mut network);
        let gradients = OutputGrads {
            log_probs: Some(a.clone()),
            entropy: Some(b.clone()),
            values: Some(c.clone()),
            ..OutputGrads::default()
        };
        network.backward(&gradients).unwrap();
        for id in network.parameters.ids() {
            let gradient = network.parameters.gradient(id).unwrap().to_vec();
            for (i, gradient) in gradient.into_iter().enumerate() {
                let mut at = |step: f32| {
                    network.parameters.weights_mut(id)[i] += step;
                    let loss = loss(&mut network);
                    network.parameters.weights_mut(id)[i] -= step;
                    loss
                };
                let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!(
                    (slope - f64::from(gradient)).abs() < 2e-3,
                    "{slope} {gradient}"
                );
            }
        }
    }
}
