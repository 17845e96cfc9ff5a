//! A network of one row a state: what a policy is on a problem small enough to enumerate.

use super::table_decoder::TableDecoder;
use crate::checkpoint::{MODEL, Tensors};
use crate::{Error, Model, Result, save};
use rlhf_objective::{Decoder, Network, OutputGrads, Outputs, Purpose, Sequences, Want};
use rlhf_tensor::{Device, ParameterSpec, Parameters, Storage, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

const CONFIG: &str = "config.json";
const LOGITS: &str = "table.logits";
const VALUES: &str = "table.values";
/// In a file: a logit of −∞, because a checkpoint's numbers are finite.
const NEVER: f32 = f32::MIN;
/// In `next`: the response is complete.
const COMPLETE: u32 = u32::MAX;

/// What a table has a row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum States {
    /// Each incomplete response of at most this many tokens, breadth first, tokens in order: the
    /// empty one is row 0. The prompt is not looked at, so there is one problem a table.
    Prefixes(usize),
    /// Each token, as the one before; of the prompt to begin with.
    LastToken,
}

/// The shape of a [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// V.
    pub vocab_size: usize,
    /// The token that ends a response, if one does.
    pub eos_token_id: Option<u32>,
    /// What there is a row for.
    pub states: States,
    /// The longest prompt and response together, in tokens.
    pub n_positions: usize,
}

impl TableConfig {
    /// Over every response of at most `horizon` tokens to a prompt of one token.
    #[must_use]
    pub const fn prefixes(vocab: usize, eos: Option<u32>, horizon: usize) -> Self {
        Self {
            vocab_size: vocab,
            eos_token_id: eos,
            states: States::Prefixes(horizon),
            n_positions: horizon,
        }
    }

    /// The state that each token leads to from each state: [states × V].
    fn next(&self) -> Vec<u32> {
        let tokens = 0..self.vocab_size as u32;
        let States::Prefixes(horizon) = self.states else {
            return tokens.clone().flat_map(|_| tokens.clone()).collect();
        };
        let (mut next, mut depths, mut state) = (Vec::new(), vec![0], 0);
        while state < depths.len() {
            let depth = depths[state] + 1;
            for token in tokens.clone() {
                if Some(token) == self.eos_token_id || depth == horizon {
                    next.push(COMPLETE);
                } else {
                    next.push(depths.len() as u32);
                    depths.push(depth);
                }
            }
            state += 1;
        }
        next
    }
}

/// π(· | state) as softmax of a row of logits, and V(state): its parameters are the two tables,
/// `table.logits` [states, V] and `table.values` \[states\]. Any policy on the problem is one of these, so what a
/// method does to it is what the method does, and no network's doing.
#[derive(Debug)]
pub struct Table {
    config: TableConfig,
    next: Vec<u32>,
    parameters: Parameters,
    read: Option<Read>,
}

/// What was read last.
#[derive(Debug)]
struct Read {
    /// (state, token) of each response token.
    pairs: Vec<(usize, u32)>,
    purpose: Purpose,
    rows: Rows,
}

/// log π(· | state) of the states that were asked for, nats: computed once, however often a batch
/// comes by.
#[derive(Debug, Default)]
pub(super) struct Rows(HashMap<usize, Vec<f32>>);

impl Rows {
    pub(super) fn get(&mut self, table: &Table, state: usize) -> &[f32] {
        self.0.entry(state).or_insert_with(|| table.row(state))
    }
}

impl Table {
    /// All zeros: a uniform policy.
    #[must_use]
    pub fn new(config: TableConfig, storage: Storage) -> Self {
        let (next, vocab) = (config.next(), config.vocab_size);
        let parameters = Parameters::new(specs(next.len() / vocab, vocab), storage);
        Self {
            config,
            next,
            parameters,
            read: None,
        }
    }

    /// With these logits, [states, V] row-major; −∞ where a token is never said.
    ///
    /// # Errors
    /// If there is not one row a state.
    pub fn with_logits(config: TableConfig, logits: &[f32], storage: Storage) -> Result<Self> {
        let mut table = Self::new(config, storage);
        table.parameters.set(LOGITS, logits)?;
        Ok(table)
    }

    /// What [`Model::save`] wrote.
    ///
    /// # Errors
    /// If a file is missing or malformed.
    pub fn load(folder: &Path, storage: Storage) -> Result<Self> {
        let path = folder.join(CONFIG);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let config: TableConfig =
            serde_json::from_str(&text).map_err(|error| Error::invalid(&path, error))?;
        let (next, vocab) = (config.next(), config.vocab_size);
        let specs = specs(next.len() / vocab, vocab);
        let tensors = Tensors::open_model(folder)?;
        tensors.check(&specs, &[])?;
        let mut parameters = tensors.parameters(specs, storage)?;
        let logits = parameters.id(LOGITS).expect("one of the two tables");
        for x in parameters.weights_mut(logits) {
            if *x == NEVER {
                *x = f32::NEG_INFINITY;
            }
        }
        Ok(Self {
            config,
            next,
            parameters,
            read: None,
        })
    }

    /// The logits, [states, V] row-major.
    #[must_use]
    pub fn logits(&self) -> &[f32] {
        self.table(LOGITS)
    }

    fn table(&self, name: &str) -> &[f32] {
        let id = self.parameters.id(name).expect("one of the two tables");
        self.parameters.weights().get(id)
    }

    /// Where a response to this prompt begins.
    pub(super) fn start(&self, prompt: &[u32]) -> usize {
        match self.config.states {
            States::Prefixes(_) => 0,
            States::LastToken => prompt.last().map_or(0, |&token| token as usize),
        }
    }

    /// Where a token leads; nowhere if it completes the response.
    pub(super) fn step(&self, state: usize, token: u32) -> Result<Option<usize>> {
        let vocab = self.config.vocab_size;
        if token as usize >= vocab {
            let message = format!("token {token} is not in the vocabulary of {vocab}");
            return Err(Error::Batch(message));
        }
        let next = self.next[state * vocab + token as usize];
        Ok((next != COMPLETE).then_some(next as usize))
    }

    /// log π(· | state), \[V\], nats.
    fn row(&self, state: usize) -> Vec<f32> {
        let vocab = self.config.vocab_size;
        let logits = &self.logits()[state * vocab..][..vocab];
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let above = |&x: &f32| f64::from(x - most).exp();
        let log_sum = f64::from(most) + logits.iter().map(above).sum::<f64>().ln();
        let log_prob = |&x: &f32| (f64::from(x) - log_sum) as f32;
        logits.iter().map(log_prob).collect()
    }

    /// The state before each response token, and the token.
    fn walk(&self, sequences: &Sequences) -> Result<Vec<(usize, u32)>> {
        let mut pairs = Vec::with_capacity(sequences.tokens());
        for (index, response) in sequences.responses().iter().enumerate() {
            let prompt = &sequences.prompt_of(index).ids;
            let mut state = match prompt
                .iter()
                .find(|&&x| x as usize >= self.config.vocab_size)
            {
                Some(token) => {
                    let message = format!("token {token} of a prompt is not in the vocabulary");
                    return Err(Error::Batch(message));
                }
                None => Some(self.start(prompt)),
            };
            for &token in &response.ids {
                let Some(at) = state else {
                    let message = format!("response {index} goes on after it is complete");
                    return Err(Error::Batch(message));
                };
                pairs.push((at, token));
                state = self.step(at, token)?;
            }
        }
        Ok(pairs)
    }
}

fn specs(states: usize, vocab: usize) -> Vec<ParameterSpec> {
    vec![
        ParameterSpec::undecayed(LOGITS, &[states, vocab]),
        ParameterSpec::undecayed(VALUES, &[states]),
    ]
}

/// The entropy of a row, nats.
fn entropy(log_dist: &[f32]) -> f32 {
    let term = |&x: &f32| {
        if x == f32::NEG_INFINITY {
            0.0
        } else {
            x.exp() * x
        }
    };
    -log_dist.iter().map(term).sum::<f32>()
}

impl Network for Table {
    fn vocab(&self) -> usize {
        self.config.vocab_size
    }

    fn read(&mut self, sequences: &Sequences, want: Want) -> rlhf_objective::Result<Outputs> {
        self.read = None;
        let pairs = self.walk(sequences)?;
        let mut rows = Rows::default();
        let taken = pairs
            .iter()
            .map(|&(state, token)| rows.get(self, state)[token as usize]);
        let log_probs = taken.collect();
        let entropies = pairs.iter().map(|pair| entropy(rows.get(self, pair.0)));
        let entropies = want.entropy.then(|| entropies.collect());
        let values = pairs.iter().map(|pair| self.table(VALUES)[pair.0]);
        let outputs = Outputs::new(sequences, log_probs, entropies, Some(values.collect()));
        self.read = Some(Read {
            pairs,
            purpose: want.purpose,
            rows,
        });
        outputs
    }

    fn log_dist(&mut self, rows: Range<usize>) -> rlhf_objective::Result<Tensor> {
        let read = self
            .read
            .as_ref()
            .filter(|read| rows.end <= read.pairs.len());
        let read = read.ok_or_else(nothing_read)?;
        let mut flat = Vec::with_capacity(rows.len() * self.config.vocab_size);
        for (state, _) in &read.pairs[rows.clone()] {
            flat.extend_from_slice(&read.rows.0[state]);
        }
        let shape = (rows.len(), self.config.vocab_size);
        Ok(Tensor::from_vec(flat, shape, &Device::Cpu)?)
    }

    fn backward(&mut self, gradients: &OutputGrads) -> rlhf_objective::Result<()> {
        let read = self
            .read
            .as_ref()
            .filter(|read| read.purpose == Purpose::Train);
        let read = read.ok_or_else(nothing_read)?;
        let of = |d: &Option<Vec<f32>>, t: usize| d.as_ref().map_or(0.0, |d| d[t]);
        let vocab = self.config.vocab_size;
        let ids: Vec<_> = self.parameters.ids().collect();
        let mut all = self.parameters.gradients_mut();
        // The slopes of a state's log-probs and entropies, over all tokens drawn there.
        let mut sums: BTreeMap<usize, [f32; 2]> = BTreeMap::new();
        for (t, &(state, token)) in read.pairs.iter().enumerate() {
            let log_prob = of(&gradients.log_probs, t);
            all.get_mut(ids[0])[state * vocab + token as usize] += log_prob;
            all.get_mut(ids[1])[state] += of(&gradients.values, t);
            let sum = sums.entry(state).or_default();
            sum[0] += log_prob;
            sum[1] += of(&gradients.entropy, t);
        }
        for (state, [log_prob, slope]) in sums {
            let row = &read.rows.0[&state];
            let entropy = entropy(row);
            let logits = &mut all.get_mut(ids[0])[state * vocab..][..vocab];
            for (d, &x) in logits.iter_mut().zip(row) {
                let p = x.exp();
                if p > 0.0 {
                    *d -= p * (log_prob + slope * (x + entropy));
                }
            }
        }
        Ok(())
    }

    fn decoder(&mut self) -> rlhf_objective::Result<Box<dyn Decoder + '_>> {
        Ok(Box::new(TableDecoder::new(self)))
    }

    fn parameters(&self) -> Vec<&Parameters> {
        vec![&self.parameters]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameters> {
        vec![&mut self.parameters]
    }
}

fn nothing_read() -> rlhf_objective::Error {
    rlhf_objective::Error::Unsupported("these rows were not read for this".into())
}

impl Model for Table {
    /// `config.json` and `model.safetensors`, which [`Table::load`] alone reads.
    fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = folder.join(CONFIG);
        let text = serde_json::to_string(&self.config);
        let text = text.map_err(|error| Error::invalid(&path, error))?;
        save::replace(&path, |path| std::fs::write(path, &text))?;
        let written = self.logits().iter().map(|&x| x.max(NEVER));
        let (written, values): (Vec<f32>, _) = (written.collect(), self.table(VALUES));
        let specs = specs(values.len(), self.config.vocab_size);
        let mut finite = Parameters::new(specs, Storage::Frozen);
        finite.set(LOGITS, &written)?;
        finite.set(VALUES, values)?;
        let ids: Vec<_> = finite.ids().collect();
        save::tensors(&folder.join(MODEL), &finite, &ids)
    }

    fn eos(&self) -> Option<u32> {
        self.config.eos_token_id
    }

    fn bos(&self) -> Option<u32> {
        None
    }

    fn context(&self) -> usize {
        self.config.n_positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response, Start};
    use rlhf_tensor::{Init, Rng, Stream};

    const SHAPE: TableConfig = TableConfig::prefixes(3, Some(2), 3);

    fn random(config: TableConfig) -> Table {
        let mut table = Table::new(config, Storage::Trainable);
        for (index, name) in [LOGITS, VALUES].into_iter().enumerate() {
            let mut rng = Rng::new(9, Stream::Init, index as u64, 0);
            table
                .parameters
                .initialize(name, Init::Normal { std: 1.0 }, &mut rng);
        }
        table
    }

    fn sequences(responses: &[&[u32]]) -> Sequences {
        let answer = |ids: &&[u32]| Response::new(0, ids.to_vec(), Finish::Length);
        let answers = responses.iter().map(answer).collect();
        Sequences::new(vec![Prompt::from_ids(vec![1])], answers).unwrap()
    }

    #[test]
    fn a_row_for_each_prefix_in_order() {
        // (), 0, 1, 00, 01, 10, 11.
        let table = Table::new(SHAPE, Storage::Frozen);
        assert_eq!(table.logits().len(), 7 * 3);
        let s = sequences(&[&[0, 1, 0], &[1, 1, 2], &[2], &[1, 2]]);
        let states: Vec<_> = table.walk(&s).unwrap().iter().map(|x| x.0).collect();
        assert_eq!(states, [0, 1, 4, 0, 2, 6, 0, 0, 2]);
        for bad in [&[2, 0][..], &[0, 0, 0, 0], &[3]] {
            assert!(table.walk(&sequences(&[bad])).is_err(), "{bad:?}");
        }
        let bigrams = TableConfig {
            states: States::LastToken,
            n_positions: 9,
            ..SHAPE
        };
        let table = Table::new(bigrams, Storage::Frozen);
        let states = table.walk(&sequences(&[&[2, 0, 0, 1]])).unwrap();
        assert_eq!(states, [(1, 2), (2, 0), (0, 0), (0, 1)]);
    }

    #[test]
    fn what_is_never_said_stays_so() {
        let mut logits = vec![0.0; 21];
        logits[0] = f32::NEG_INFINITY;
        let mut table = Table::with_logits(SHAPE, &logits, Storage::Trainable).unwrap();
        let s = sequences(&[&[1, 2], &[2]]);
        let outputs = table.read(&s, Want::TRAIN.with_entropy()).unwrap();
        let half = -std::f32::consts::LN_2;
        assert_eq!(outputs.log_probs.to_vec().unwrap()[0], half);
        assert!((outputs.entropy.unwrap().to_vec().unwrap()[0] + half).abs() < 1e-7);
        let gradients = OutputGrads {
            log_probs: Some(vec![1.0; 3]),
            entropy: Some(vec![1.0; 3]),
            ..OutputGrads::default()
        };
        table.backward(&gradients).unwrap();
        let id = table.parameters.id(LOGITS).unwrap();
        let of = table.parameters.gradient(id).unwrap();
        assert!(of.iter().all(|x| x.is_finite()) && of[0] == 0.0, "{of:?}");
        table.parameters.adamw_step(&Default::default(), 0.1, 1.0);
        assert_eq!(table.row(0)[0], f32::NEG_INFINITY);
    }

    /// The gradient against central differences of Σ w·(log-prob, entropy, value).
    #[test]
    fn gradients_are_slopes() {
        let s = sequences(&[&[0, 1, 0], &[1, 1, 2], &[2], &[0, 2]]);
        let weights = |k: usize| (0..9).map(|t| ((t * 7 + k) % 5) as f32 - 1.7).collect();
        let [a, b, c]: [Vec<f32>; 3] = [weights(0), weights(1), weights(2)];
        let loss = |table: &mut Table| -> f64 {
            let outputs = table.read(&s, Want::TRAIN.with_entropy()).unwrap();
            let parts = [Some(outputs.log_probs), outputs.entropy, outputs.values];
            let dot = |(part, w): (Option<rlhf_objective::PerToken>, &Vec<f32>)| -> f64 {
                let numbers = part.unwrap().to_vec().unwrap();
                let pairs = numbers.iter().zip(w);
                pairs.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
            };
            parts.into_iter().zip([&a, &b, &c]).map(dot).sum()
        };
        let mut table = random(SHAPE);
        loss(&mut table);
        let gradients = OutputGrads {
            log_probs: Some(a.clone()),
            entropy: Some(b.clone()),
            values: Some(c.clone()),
            ..OutputGrads::default()
        };
        table.backward(&gradients).unwrap();
        for id in table.parameters.ids() {
            let gradient = table.parameters.gradient(id).unwrap().to_vec();
            for (i, gradient) in gradient.into_iter().enumerate() {
                let mut at = |step: f32| {
                    table.parameters.weights_mut(id)[i] += step;
                    let loss = loss(&mut table);
                    table.parameters.weights_mut(id)[i] -= step;
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

    #[test]
    fn a_saved_table_is_read_back_and_decodes_as_it_reads() {
        let folder = tempfile::tempdir().unwrap();
        let mut saved = random(SHAPE);
        let logits = saved.parameters.id(LOGITS).unwrap();
        saved.parameters.weights_mut(logits)[5] = f32::NEG_INFINITY;
        saved.save(folder.path()).unwrap();
        let mut table = Table::load(folder.path(), Storage::Trainable).unwrap();
        let checksum = |table: &Table| table.parameters.checksum();
        assert_eq!(checksum(&table), checksum(&saved));
        assert_eq!((table.eos(), table.context()), (Some(2), 3));
        let s = sequences(&[&[0, 1, 0], &[1, 1, 2]]);
        table.read(&s, Want::SCORE).unwrap();
        let read = |table: &mut Table, row: usize| -> Vec<f32> {
            let rows = table.log_dist(row..row + 1).unwrap();
            rows.flatten_all().unwrap().to_vec1().unwrap()
        };
        let expected: Vec<Vec<f32>> = (0..6).map(|row| read(&mut table, row)).collect();
        assert!(table.log_dist(5..7).is_err());
        let mut decoder = table.decoder().unwrap();
        let start = Start {
            prompt: &[1],
            samples: 2,
            max_new_tokens: 3,
        };
        decoder.start(&[start]).unwrap();
        assert_eq!(decoder.scores(), [&expected[0][..], &expected[3]].concat());
        decoder.step(&[0, 1]).unwrap();
        assert_eq!(decoder.scores(), [&expected[1][..], &expected[4]].concat());
        decoder.retain(&[false, true]).unwrap();
        decoder.step(&[1]).unwrap();
        assert_eq!(decoder.scores(), expected[5]);
        assert!(decoder.step(&[2]).is_err() && decoder.step(&[]).is_err());
    }
}
