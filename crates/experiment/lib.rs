//! Runs from their settings: what `rlhf train` and `rlhf eval` do, for programs of one's own.
//!
//! ```text
//! Layers → Config → Settled → Prepared → run → Judge
//! settings, checked   found here or on the hub   opened and tokenized once   trained   measured
//! ```
//!
//! A [`Session`] holds what all runs of a program share. Its [`Registry`] lists the methods by name; what
//! a program adds to it can be named in settings as any other.

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
    Parts, Size, Taught, open_data, rows, settings as row_settings, source as data_source,
};
pub use error::{Interrupted, Usage, one_line};
pub use evaluation::{Instead, Judge};
pub use exact::{Row, of_run as exact};
pub use interrupts::Interrupts;
pub use layers::Layers;
pub use lengths::{context, least_of, limits, max_new_tokens};
pub use method::{Facts, Method, Methods, Objective};
pub use needs::{of_reward as reward_needs, readers};
pub use networks::{backend, frozen, model_path, network};
pub use plan::{Lines, json, plan, say};
pub use prepared::Prepared;
pub use prior::check_beta;
pub use progress::{Display, Quiet};
pub use registry::Registry;
pub use resolve::{Locator, Missing, Settled, reward as reward_rule};
pub use reward::{check_reward, reward};
pub use rewards::Rewards;
pub use run::{OfflineData, OpenData, RunContext};
pub use sampling::sampling;
pub use session::{Session, start_threads};
pub use vocabulary::{Vocabulary, stops};
