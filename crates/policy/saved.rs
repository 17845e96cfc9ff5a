//! A network, and how it is written to a folder.

use rlhf_objective::Network;
use std::path::Path;

/// An error of whatever writes a network to a folder.
pub type SaveError = Box<dyn std::error::Error + Send + Sync>;

/// A network with the function that writes it to a folder: what a checkpoint looks like is the business
/// of whoever made the network.
pub struct SavedNetwork(Box<dyn Saved>);

/// The two behind one pointer.
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
    /// A network that `save` writes to a folder.
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
