//! Runs training and evaluation from settings: what `rlhf train` and `rlhf eval` do, as a library.
//!
//! ```text
//! Layers → Config                merges and validates the settings
//!        → Located               finds files, locally or on the hub
//!        → Prepared              opens the data and tokenizes it
//!        → run → Evaluator       trains, then measures reward and KL
//! ```
//!
//! A [`Session`] holds what all runs of a program share. Its [`Registry`] lists methods, priors and rewards
//! by name; settings can name those that a program adds like the built-in ones.

#![forbid(unsafe_code)]

mod before_after;
mod catalog;
mod changes;
mod config;
mod dataset;
mod error;
mod evaluation;
mod exact;
mod held_out;
mod inputs;
mod interrupts;
mod layers;
mod lengths;
mod memory;
mod method;
mod needs;
mod networks;
mod notes;
mod objective_summary;
mod opened;
mod plan;
mod prepared;
mod prior;
mod prior_fit;
mod prior_pass;
mod progress;
mod record;
mod registry;
mod resolve;
mod reward;
mod reward_model;
mod rewards;
mod run;
mod sampling;
mod session;
pub mod small_world;
mod steps;
mod stored;
pub mod tabular;
mod vocabulary;
mod without_text;
mod words;

pub use catalog::Catalog;
pub use changes::Changes;
pub use config::{
    AdaptiveBeta, BackendName, BetaSetting, Config, Critic, DataSection, DtypeName, EvalSection,
    ModelSection, OptimSection, PathSlot, PriorFacts, PriorSection, Priors, SamplingSection,
    TrainSection,
};
pub use dataset::{
    LabelSignal, Size, Splits, open_data, rows, settings as row_settings, source as data_source,
};
pub use error::{Interrupted, Usage, one_line};
pub use evaluation::{EvalOverrides, Evaluator};
pub use exact::{ExactRow, exact};
pub use interrupts::Interrupts;
pub use layers::Layers;
pub use lengths::{context, context_note, limits, max_new_tokens};
pub use method::{Facts, Method, Methods, Objective};
pub use needs::{of_reward as reward_needs, readers};
pub use networks::{backend, frozen, model_path, network};
pub use plan::{Lines, note_plan, plan, plan_json};
pub use prepared::Prepared;
pub use prior::check_beta;
pub use progress::{Display, Quiet};
pub use registry::Registry;
pub use resolve::{Located, Locator, Missing, reward as reward_rule};
pub use reward::{check_reward, reward};
pub use rewards::Rewards;
pub use run::{OfflineData, OpenData, RunContext};
pub use sampling::sampling;
pub use session::{Session, start_threads};
pub use vocabulary::{Vocabulary, stops};
