//! Plots and tables of the measurements of runs. Nothing is trained or measured here.
//!
//! ```
//! use rlhf_journal::{Estimate, FrontierPoint, Intervals, Point};
//! let at = |value| Estimate::within(value, value - 0.1, value + 0.1);
//! let point = FrontierPoint {
//!     label: "ppo-kl-000".into(),
//!     point: Point::Checkpoint { step: 10 },
//!     kl: at(1.2),
//!     reward: at(0.5),
//!     kl_k1: Some(1.1),
//!     kl_k1_error: Some(0.1),
//!     intervals: Intervals::AllPrompts,
//!     prompts: 20,
//!     reward_prompts: None,
//!     rows: Some(20),
//!     samples: 80,
//!     no_opinion: 0,
//! };
//! let picture = rlhf_report::kl_reward_svg(std::slice::from_ref(&point));
//! assert!(picture.starts_with("<svg"));
//! assert!(rlhf_report::table(&[point]).contains("ppo-kl-000"));
//! ```

#![forbid(unsafe_code)]

mod axis;
mod growth;
mod kl_reward;
mod svg;
mod table;

pub use growth::{GrowthPoint, growth_svg};
pub use kl_reward::kl_reward_svg;
pub use table::table;
