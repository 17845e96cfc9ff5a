//! LoRA (Hu et al. 2021): y = x·W + b + s·(x·Aᵀ)·Bᵀ, with W frozen and A [r, in], B [out, r] trained.
//!
//! `peft.rs` reads and writes the settings in PEFT's layout, `layers.rs` finds the linear layers that they
//! name, `base.rs` keeps the frozen weights of a folder once, whichever networks read them.

pub(crate) mod base;
pub(crate) mod layers;
pub(crate) mod peft;

use serde::{Deserialize, Serialize};

/// The linear layers that get an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// `"all-linear"`: every linear layer of the blocks. Any other text is a regular expression that the whole
    /// name of a layer must match, as in PEFT.
    Pattern(String),
    /// Those whose names are, or end in `.` and, one of these, as in PEFT: `["q_proj", "v_proj"]`.
    Names(Vec<String>),
}

impl Targets {
    /// The word for every linear layer of the blocks.
    pub const ALL_LINEAR: &'static str = "all-linear";
}

impl Default for Targets {
    fn default() -> Self {
        Self::Pattern(Self::ALL_LINEAR.into())
    }
}

/// The size of an adapter and what it adapts.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterSpec {
    /// r.
    pub rank: usize,
    /// α: the update is multiplied by α/r, or by α/√r.
    pub alpha: f64,
    /// The layers that get one.
    pub targets: Targets,
    /// What the update is multiplied by.
    pub scaling: Scaling,
}

/// What the update of an adapter is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// α/r (Hu et al. 2021, §4.1).
    ByRank,
    /// α/√r, which keeps gradients of one size as the rank grows (rsLoRA: Kalajdzievski 2023).
    ByRootRank,
}

impl AdapterSpec {
    /// s, what the update is multiplied by.
    #[must_use]
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        match self.scaling {
            Scaling::ByRank => self.alpha / rank,
            Scaling::ByRootRank => self.alpha / rank.sqrt(),
        }
    }

    /// Refuses sizes that make no adapter.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self) -> Result<(), String> {
        if self.rank == 0 {
            return Err("rank = 0: an adapter has a rank of at least 1".into());
        }
        if !self.alpha.is_finite() || self.alpha == 0.0 {
            return Err(format!(
                "alpha = {}: must be a number other than 0",
                self.alpha
            ));
        }
        match &self.targets {
            Targets::Names(names) if names.is_empty() => {
                Err("targets = []: name at least one layer, or \"all-linear\"".into())
            }
            _ => Ok(()),
        }
    }
}
