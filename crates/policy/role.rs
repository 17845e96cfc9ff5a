//! The roles of networks in a run.

use std::fmt;
use std::path::{Path, PathBuf};

/// The role of a network in a run. A method declares the roles that it needs and accesses networks by role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// π, which is sampled from.
    Policy,
    /// A reward model that is fitted, with one score per response.
    Scorer,
    /// V or Q: a head of the policy or a separate network.
    Critic,
    /// A second critic, for methods that use the minimum of two estimates.
    SecondCritic,
    /// The moving average of the policy's weights.
    AveragedPolicy,
    /// The moving average of the critic's weights.
    AveragedCritic,
    /// The moving average of the second critic's weights.
    AveragedSecondCritic,
}

impl Role {
    /// The role whose weights this one averages, if it is an average.
    #[must_use]
    pub const fn average_of(self) -> Option<Self> {
        match self {
            Self::AveragedPolicy => Some(Self::Policy),
            Self::AveragedCritic => Some(Self::Critic),
            Self::AveragedSecondCritic => Some(Self::SecondCritic),
            Self::Policy | Self::Scorer | Self::Critic | Self::SecondCritic => None,
        }
    }

    /// The name in settings and folders.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Scorer => "scorer",
            Self::Critic => "critic",
            Self::SecondCritic => "second-critic",
            Self::AveragedPolicy => "averaged-policy",
            Self::AveragedCritic => "averaged-critic",
            Self::AveragedSecondCritic => "averaged-second-critic",
        }
    }

    /// The folder of a network of this role in a checkpoint: the checkpoint itself for a policy or a
    /// scorer, a subfolder of its name for the others.
    #[must_use]
    pub fn folder(self, checkpoint: &Path) -> PathBuf {
        match self {
            Self::Policy | Self::Scorer => checkpoint.into(),
            _ => checkpoint.join(self.name()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
