//! What a run writes to its folder, and how to read it back. Nothing of ours is known here.
//!
//! ```text
//! runs/ppo-kl-000/
//!   config.toml       the settings, every default written out
//!   run.json          versions, seeds, settings, checksums of every file the run reads
//!   metrics.jsonl     one line a step: what the seed determines
//!   timing.jsonl      one line a step: seconds and tokens a second, which it does not
//!   samples.jsonl     some responses of each step
//!   warnings.jsonl    what a person should look at, and from which step on; most runs have none
//!   prior_log_probs/  what the prior says of data that it reads before the first step
//!   checkpoints/step-N/   the state after N steps
//!   final/            the trained model
//!   held_out.json     numbers on data that no step saw, where there is such data
//!   calibration.json  of a reward model on such pairs: its confidence, and how right it was
//!   frontier.jsonl    reward and KL of the checkpoints, once evaluated
//!   .lock             held while a process writes here; empty otherwise
//! ```
//!
//! Lines are appended and flushed as they happen; whole files and folders appear under their names
//! only when complete.

#![forbid(unsafe_code)]

mod claim;
mod error;
mod files;
mod frontier;
mod inputs;
mod journal;
mod lock;
mod numbers;
mod read;

pub use claim::{Claim, next_free};
pub use error::{Error, Result};
pub use files::write_atomic;
pub use frontier::{Estimate, FrontierPoint, Interval, Intervals, LEAST_PROMPTS, Point};
pub use inputs::{Input, InputChange, InputFile, Stamp, hexadecimal, input_changes, sha256};
pub use journal::{Existing, Journal};
pub use numbers::{Dropped, Kept, KeptNumbers};
pub use read::{Checkpoint, Row, checkpoints, last_checkpoint, lines, metrics, timing};
