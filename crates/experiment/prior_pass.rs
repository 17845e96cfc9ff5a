//! What methods without samples ask the prior before the first step, once: a phase of its own, whose
//! numbers are kept in the run folder.

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

/// Where the numbers are in a run folder.
const FOLDER: &str = "prior_log_probs";

/// The prior of a run, about to be asked.
pub(crate) struct PriorPass {
    pub(crate) penalty: KlPenalty,
    /// What its numbers depend on beside the sequences; none where the prior reads nothing, for then
    /// nothing is worth keeping.
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
            prior: networks.then(|| described(checksums, config)),
            folder: folder.join(FOLDER),
            tokens: config.train.micro_batch_tokens,
            interrupts: interrupts.clone(),
        })
    }

    /// Pairs with what the prior says of them; `part` names them.
    pub(crate) fn pairs(&mut self, part: &str, pairs: Pairs) -> Result<PairsWithPrior> {
        Ok(PairsWithPrior {
            prior_log_probs: self.log_probs(part, pairs.sequences())?,
            beta: self.penalty.beta().value(),
            pairs,
        })
    }

    /// log p₀(y|x) of each response, nats: \[B\]. What an earlier run in the folder has read of them is
    /// not read again. A signal ends it between two batches, with what was read kept.
    pub(crate) fn log_probs(&mut self, part: &str, sequences: &Sequences) -> Result<PerSeq> {
        let Some(prior) = &self.prior else {
            return Ok(self.penalty.prior_log_probs(sequences, self.tokens)?);
        };
        let path = self.folder.join(format!("{part}.jsonl"));
        let (mut file, kept) = NumberFile::open(&path, &identity(prior, sequences))?;
        let known = say_kept(&path, kept, sequences.len());
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
                possible(range.start, numbers)?;
                file.append(numbers)?;
                phase.advance(sequences.network_tokens(range) as u64);
                if running.interrupt().requested() {
                    return Err(anyhow::Error::from(Interrupted));
                }
                Ok(())
            },
        );
        drop(phase);
        // A signal behind the last batch ends the run too.
        if running.end() && read.is_ok() {
            return Err(Interrupted.into());
        }
        read
    }
}

/// What is known already, with a word about what is not.
fn say_kept(path: &Path, kept: StoredNumbers, all: usize) -> Vec<f32> {
    let StoredNumbers {
        mut numbers,
        dropped,
    } = kept;
    numbers.truncate(all);
    let (shown, known) = (path.display(), numbers.len());
    match dropped {
        Some(Dropped::OtherIdentity) => note(format_args!(
            "{shown} is of another prior, other data or other settings: the prior reads all again"
        )),
        Some(Dropped::Damaged) => note(format_args!(
            "{shown} is damaged or was cut: the prior reads all after the first {known} of {all} \
             responses again"
        )),
        None if known > 0 => note(format_args!(
            "{shown}: what the prior says of {known} of {all} responses is known"
        )),
        None => {}
    }
    numbers
}

/// A response that the prior cannot give ends the run when it is read, not when all are.
fn possible(first: usize, numbers: &[f32]) -> Result<()> {
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NotFinite {
            what: "the prior's log-probability",
            sequence: first + at,
            value: f64::from(numbers[at]),
            fix: "drop its row, or take a prior that can say it",
        }
        .into()),
    }
}

/// Everything of a run that the numbers depend on but the sequences, to the last bit.
fn described(checksums: &Value, config: &Config) -> String {
    let mut section = config.clone();
    // What is in the files is told by the checksums of the networks; where they are is no matter.
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

/// The checksum of that and of all tokens.
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
        // Responses that share a prompt are read together.
        if last != Some(response.prompt) {
            ids(&sequences.prompts()[response.prompt].ids);
            last = Some(response.prompt);
        }
        // No response is empty: this ends the prompt or the response before.
        ids(&[]);
        ids(&response.ids);
    }
    hexadecimal(&digest.finalize())
}
