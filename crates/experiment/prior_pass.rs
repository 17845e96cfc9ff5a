//! Precomputes the prior log-probs of offline data before the first step, and saves them in the run
//! folder.

use crate::config::Config;
use crate::error::Interrupted;
use crate::interrupts::Interrupts;
use crate::notes::note;
use crate::progress::Phase;
use anyhow::Result;
use rlhf_journal::{Dropped, NumberFile, StoredNumbers, hexadecimal};
use rlhf_objective::{Error, KlPenalty, Pairs, PairsWithPrior, PerSeq, Sequences};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The folder of the saved log-probs inside a run folder.
const FOLDER: &str = "prior_log_probs";

/// Computes and saves the prior log-probs of a run.
pub(crate) struct PriorPass {
    pub(crate) penalty: KlPenalty,
    /// Identifies the prior and its settings, to match saved log-probs. `None` for a prior without
    /// networks, whose log-probs are not saved.
    prior: Option<String>,
    folder: PathBuf,
    tokens: usize,
    interrupts: Interrupts,
}

impl PriorPass {
    /// The prior of a run in `folder`, whose networks have these checksums.
    pub(crate) fn new(
        penalty: KlPenalty,
        checksums: &Value,
        config: &Config,
        (folder, interrupts): (&Path, &Interrupts),
    ) -> Result<Self> {
        let networks = checksums
            .as_array()
            .is_some_and(|models| !models.is_empty());
        Ok(Self {
            penalty,
            prior: networks.then(|| prior_identity(checksums, config)),
            folder: folder.join(FOLDER),
            tokens: config.train.micro_batch_tokens,
            interrupts: interrupts.clone(),
        })
    }

    /// Pairs with their prior log-probs; `part` names the file in which they are saved.
    pub(crate) fn pairs(&mut self, part: &str, pairs: Pairs) -> Result<PairsWithPrior> {
        Ok(PairsWithPrior {
            prior_log_probs: self.log_probs(part, pairs.sequences())?,
            beta: self.penalty.beta().value(),
            pairs,
        })
    }

    /// log p₀(y|x) of each response, nats: \[B\]. Log-probs that an earlier process saved are reused. A
    /// signal ends it between two batches, with the computed ones saved.
    pub(crate) fn log_probs(&mut self, part: &str, sequences: &Sequences) -> Result<PerSeq> {
        let Some(prior) = &self.prior else {
            return Ok(self.penalty.prior_log_probs(sequences, self.tokens)?);
        };
        let path = self.folder.join(format!("{part}.jsonl"));
        let (mut file, kept) = NumberFile::open(&path, &identity(prior, sequences))?;
        let known = saved_log_probs(&path, kept, sequences.len());
        let done = sequences.network_tokens(0..known.len());
        let total = sequences.network_tokens(0..sequences.len());
        let name = format!("prior reads {part}");
        let mut phase = Phase::new(&name, "tokens", total as u64, done as u64);
        let running = self.interrupts.begin();
        let read = self.penalty.continue_prior_log_probs(
            sequences,
            self.tokens,
            known,
            &mut |range, numbers| {
                check_finite(range.start, numbers)?;
                file.append(numbers)?;
                phase.advance(sequences.network_tokens(range) as u64);
                if running.interrupt().requested() {
                    return Err(anyhow::Error::from(Interrupted));
                }
                Ok(())
            },
        );
        drop(phase);
        // A signal after the last batch also ends the run.
        if running.end() && read.is_ok() {
            return Err(Interrupted.into());
        }
        read
    }
}

/// The log-probs that were saved by an earlier process; notes how many are reused.
fn saved_log_probs(path: &Path, kept: StoredNumbers, all: usize) -> Vec<f32> {
    let StoredNumbers {
        mut numbers,
        dropped,
    } = kept;
    numbers.truncate(all);
    let (shown, known) = (path.display(), numbers.len());
    match dropped {
        Some(Dropped::OtherIdentity) => note(format_args!(
            "{shown}: belongs to another prior, other data or other settings; all prior log-probs are \
             computed again"
        )),
        Some(Dropped::Damaged) => note(format_args!(
            "{shown}: damaged or truncated; prior log-probs after the first {known} of {all} responses \
             are computed again"
        )),
        None if known > 0 => note(format_args!(
            "{shown}: reusing the prior log-probs of {known} of {all} responses"
        )),
        None => {}
    }
    numbers
}

/// Fails at the first response with probability 0 under the prior, instead of after all are computed.
fn check_finite(first: usize, numbers: &[f32]) -> Result<()> {
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NotFinite {
            what: "the prior's log-probability",
            sequence: first + at,
            value: f64::from(numbers[at]),
            fix: "remove its row, or use a prior with support on it",
        }
        .into()),
    }
}

/// Everything that the log-probs depend on, to the last bit, except the sequences.
fn prior_identity(checksums: &Value, config: &Config) -> String {
    let mut section = config.clone();
    // Files are identified by checksums, so their paths are left out.
    for (_, mut path) in section.paths() {
        path.set(PathBuf::new());
    }
    let sums: Vec<_> = checksums
        .as_array()
        .map(|models| models.iter().map(|model| &model["sha256"]).collect())
        .unwrap_or_default();
    json!({
        "rlhf": env!("CARGO_PKG_VERSION"),
        "prior": section.prior,
        "networks": sums,
        "backend": config.model.backend,
        "dtype": config.model.dtype,
        "frozen_dtype": config.model.frozen_dtype,
        "temperature": config.sampling.temperature,
        "tokens": config.sampling.tokens,
        "tokens_at_once": config.train.micro_batch_tokens,
    })
    .to_string()
}

/// The checksum of the prior's identity and of all tokens.
fn identity(prior: &str, sequences: &Sequences) -> String {
    let mut digest = Sha256::new_with_prefix(prior);
    let mut bytes = Vec::new();
    let mut ids = |ids: &[u32]| {
        bytes.clear();
        bytes.extend((ids.len() as u32).to_le_bytes());
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        digest.update(&bytes);
    };
    let mut last = None;
    for response in sequences.responses() {
        // Responses that share a prompt are computed in one forward pass.
        if last != Some(response.prompt) {
            ids(&sequences.prompts()[response.prompt].ids);
            last = Some(response.prompt);
        }
        // Responses are never empty, so an empty list marks the end of the one before.
        ids(&[]);
        ids(&response.ids);
    }
    hexadecimal(&digest.finalize())
}
