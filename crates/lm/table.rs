//! A network of one row a state: what a policy is on a problem small enough to enumerate.

use crate::checkpoint::{MODEL, Tensors};
use crate::file_order::FileOrders;
use crate::preconditions::{check_range, check_row_gradients};
use crate::{Error, Model, Result, save};
use rlhf_objective::{
    ActionValues, Decoder, LogDist, Network, OutputGrads, OutputSpec, Outputs, ParameterSet,
    Purpose, RowGradients, Sequences,
};
use rlhf_tensor::{ParameterSpec, Parameters, Storage};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

mod decoder;
mod shape;

use decoder::TableDecoder;
use shape::COMPLETE;
pub use shape::{States, TableConfig};

const CONFIG: &str = "config.json";
const LOGITS: &str = "table.logits";
const VALUES: &str = "table.values";
/// In a file: a logit of −∞, because a checkpoint's numbers are finite.
const NEVER: f32 = f32::MIN;

/// π(· | state) as softmax of a row of logits, and V(state): its parameters are the two tables,
/// `table.logits` [states, V] and `table.values` \[states\]. Any policy on the problem is one of these, so what a
/// method does to it is what the method does, and no network's doing.
#[derive(Debug)]
pub struct Table {
    config: TableConfig,
    next: Vec<u32>,
    parameters: Parameters,
    read: Option<ForwardPass>,
}

/// What was read last.
#[derive(Debug)]
struct ForwardPass {
    /// (state, token) of each response token.
    pairs: Vec<(usize, u32)>,
    purpose: Purpose,
    rows: Rows,
}

/// log π(· | state) of the states that were preconditions for, nats: computed once, however often a batch
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
        let tensors = Tensors::open_model(folder, |name| Some(name.into()))?;
        tensors.check(&specs, &[])?;
        let mut parameters = Parameters::new(specs, storage);
        tensors.fill(&mut parameters, &FileOrders::default())?;
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
    pub(super) fn start(&self, prompt: &[u32]) -> Result<usize> {
        match (&self.config.states, prompt.last()) {
            (States::Prefixes(_), _) | (States::LastToken, None) => Ok(0),
            (States::LastToken, Some(&token)) => {
                self.check(token)?;
                Ok(token as usize)
            }
        }
    }

    fn check(&self, token: u32) -> Result<()> {
        let vocab = self.config.vocab_size;
        match (token as usize) < vocab {
            true => Ok(()),
            false => Err(Error::Batch(format!(
                "token {token} is not in the vocabulary of {vocab}"
            ))),
        }
    }

    /// Where a token leads; nowhere if it completes the response.
    pub(super) fn step(&self, state: usize, token: u32) -> Result<Option<usize>> {
        self.check(token)?;
        let next = self.next[state * self.config.vocab_size + token as usize];
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
                None => Some(self.start(prompt)?),
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

    fn forward(
        &mut self,
        sequences: &Sequences,
        spec: OutputSpec,
    ) -> rlhf_objective::Result<Outputs> {
        self.read = None;
        let pairs = self.walk(sequences)?;
        let mut rows = Rows::default();
        let taken = pairs
            .iter()
            .map(|&(state, token)| rows.get(self, state)[token as usize]);
        let log_probs = taken.collect();
        let entropies = pairs.iter().map(|pair| entropy(rows.get(self, pair.0)));
        let entropies = spec.entropy.then(|| entropies.collect());
        let values = pairs.iter().map(|pair| self.table(VALUES)[pair.0]);
        let outputs = Outputs::new(sequences, log_probs, entropies, Some(values.collect()));
        self.read = Some(ForwardPass {
            pairs,
            purpose: spec.purpose,
            rows,
        });
        outputs
    }

    fn log_dist(&mut self, rows: Range<usize>) -> rlhf_objective::Result<LogDist<'_>> {
        let read = self.read.as_ref().ok_or_else(no_forward_pass)?;
        check_range(&rows, read.pairs.len())?;
        let mut flat = Vec::with_capacity(rows.len() * self.config.vocab_size);
        for (state, _) in &read.pairs[rows.clone()] {
            flat.extend_from_slice(&read.rows.0[state]);
        }
        LogDist::of_log_probs(flat, self.config.vocab_size)
    }

    /// The rows of logits themselves: as a critic, the table holds Q(state, token).
    fn action_values(&mut self, rows: Range<usize>) -> rlhf_objective::Result<ActionValues<'_>> {
        let read = self.read.as_ref().ok_or_else(no_forward_pass)?;
        check_range(&rows, read.pairs.len())?;
        let vocab = self.config.vocab_size;
        let row = |(state, _): &(usize, u32)| &self.logits()[state * vocab..][..vocab];
        let flat: Vec<f32> = read.pairs[rows].iter().flat_map(row).copied().collect();
        ActionValues::new(flat, vocab)
    }

    fn backward_rows(
        &mut self,
        rows: Range<usize>,
        gradients: &RowGradients,
    ) -> rlhf_objective::Result<()> {
        let vocab = self.config.vocab_size;
        let read = self
            .read
            .as_ref()
            .filter(|read| read.purpose == Purpose::Train);
        let read = read.ok_or_else(no_forward_pass)?;
        check_row_gradients(&rows, gradients, read.pairs.len(), vocab)?;
        let logits = self.parameters.id(LOGITS).expect("one of the two tables");
        let mut all = self.parameters.gradients_mut();
        let into = all.get_mut(logits);
        let gradients = gradients.to_host();
        let rows = gradients.chunks(vocab).zip(&read.pairs[rows]);
        for (row, (state, _)) in rows {
            let sums = into[state * vocab..][..vocab].iter_mut();
            sums.zip(row).for_each(|(sum, x)| *sum += x);
        }
        Ok(())
    }

    fn backward(&mut self, gradients: &OutputGrads) -> rlhf_objective::Result<()> {
        let read = self
            .read
            .as_ref()
            .filter(|read| read.purpose == Purpose::Train);
        let read = read.ok_or_else(no_forward_pass)?;
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

    fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
        vec![&self.parameters]
    }

    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
        vec![&mut self.parameters]
    }
}

fn no_forward_pass() -> rlhf_objective::Error {
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
        let path = folder.join(MODEL);
        save::tensors(
            &path,
            &finite,
            &finite.describe(),
            "",
            &FileOrders::default(),
        )
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
mod tests;
