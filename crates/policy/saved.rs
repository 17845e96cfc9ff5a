//! A network together with the function that saves it.

use rlhf_objective::Network;
use std::path::Path;

/// The error of a function that saves a network.
pub type SaveError = Box<dyn std::error::Error + Send + Sync>;

/// A network with the function that saves it to a folder, so that this crate does not depend on the format
/// of checkpoints.
pub struct SavedNetwork(Box<dyn Saved>);

/// Erases the types of the network and of the function.
trait Saved {
    fn network(&self) -> &dyn Network;
    fn network_mut(&mut self) -> &mut dyn Network;
    fn save(&self, folder: &Path) -> Result<(), SaveError>;
}

struct WithSave<N, S> {
    network: N,
    save: S,
}

impl<N, S, E> Saved for WithSave<N, S>
where
    N: Network,
    S: Fn(&N, &Path) -> Result<(), E>,
    E: Into<SaveError>,
{
    fn network(&self) -> &dyn Network {
        &self.network
    }

    fn network_mut(&mut self) -> &mut dyn Network {
        &mut self.network
    }

    fn save(&self, folder: &Path) -> Result<(), SaveError> {
        (self.save)(&self.network, folder).map_err(Into::into)
    }
}

impl SavedNetwork {
    /// A network that `save` saves to a folder.
    pub fn new<N, S, E>(network: N, save: S) -> Self
    where
        N: Network + 'static,
        S: Fn(&N, &Path) -> Result<(), E> + 'static,
        E: Into<SaveError> + 'static,
    {
        Self(Box::new(WithSave { network, save }))
    }

    pub(crate) fn network(&self) -> &dyn Network {
        self.0.network()
    }

    pub(crate) fn network_mut(&mut self) -> &mut dyn Network {
        self.0.network_mut()
    }

    pub(crate) fn save(&self, folder: &Path) -> Result<(), SaveError> {
        self.0.save(folder)
    }
}
