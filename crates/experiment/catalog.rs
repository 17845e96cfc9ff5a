//! The methods, priors and rewards that settings can name.

use crate::config::Priors;
use crate::method::Methods;
use crate::rewards::Rewards;

/// The registered methods, priors and rewards, by name.
#[derive(Clone, Default)]
pub struct Catalog {
    /// Methods, by the names of their objectives.
    pub methods: Methods,
    /// Kinds of priors.
    pub priors: Priors,
    /// Rewards that the program registered, besides the built-in rules.
    pub rewards: Rewards,
}
