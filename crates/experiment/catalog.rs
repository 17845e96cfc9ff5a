//! Everything that settings can name.

use crate::config::Priors;
use crate::method::Methods;

/// The tables of names.
#[derive(Clone, Default)]
pub struct Catalog {
    /// Methods, by their objectives.
    pub methods: Methods,
    /// Kinds of priors.
    pub priors: Priors,
}
