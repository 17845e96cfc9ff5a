//! Writes and reads run folders.
//!
//! ```text
//! runs/ppo-kl-000/
//!   config.toml       the settings, including every default
//!   run.json          versions, seeds, settings, checksums of every input file
//!   metrics.jsonl     one line per step: metrics, determined by the seed
//!   timing.jsonl      one line per step: seconds and tokens per second, not reproducible
//!   samples.jsonl     some responses of each step
//!   warnings.jsonl    warnings with the step at which they first occurred; most runs have none
//!   prior_log_probs/  log-probs of offline data under the prior, computed before the first step
//!   checkpoints/step-N/   the state after N steps
//!   final/            the trained model
//!   held_out.json     metrics on held-out data, if there is any
//!   calibration.json  confidence and accuracy of a reward model on held-out pairs
//!   frontier.jsonl    reward and KL of the evaluated checkpoints
//!   .lock             locked while a process writes to the folder; empty otherwise
//! ```
//!
//! Lines are appended and flushed as they occur; whole files and folders appear under their names
//! only when complete.

#![forbid(unsafe_code)]

mod claim;
mod error;
mod files;
mod frontier;
mod inputs;
mod journal;
mod lock;
mod number_file;
mod read;

pub use claim::{Claim, next_free};
pub use error::{Error, Result};
pub use files::write_atomic;
pub use frontier::{Estimate, FrontierPoint, Interval, Intervals, LEAST_PROMPTS, Point};
pub use inputs::{Input, InputChange, InputFile, Stamp, hexadecimal, input_changes, sha256};
pub use journal::{Existing, Journal};
pub use number_file::{Dropped, NumberFile, StoredNumbers};
pub use read::{Checkpoint, Row, checkpoints, last_checkpoint, lines, metrics, timing};
