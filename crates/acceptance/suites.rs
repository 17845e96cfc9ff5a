//! The list of suites.

use crate::suite::Suite;
use crate::{demo, optimum, ragged, rewards, trees};

/// All suites, in the order in which they run.
pub(crate) const SUITES: [Suite; 6] = [
    demo::SUITE,
    trees::SUITE,
    optimum::SUITE,
    rewards::SUITE,
    rewards::HARMLESS,
    ragged::SUITE,
];
