//! Everything that settings can name.

use crate::config::Priors;
use crate::method::Methods;
use crate::rewards::Rewards;

/// The tables of names.
#[derive(Clone, Default)]
pub struct Catalog {
    /// Methods, by their objectives.
    pub methods: Methods,
    /// Kinds of priors.
    pub priors: Priors,
    /// Rewards beside those that are built in.
    pub rewards: Rewards,
}
