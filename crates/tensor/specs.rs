//! What a network's parameters are called, how large they are, and how they are held.

use rlhf_device::WeightDecay;

/// Whether [`Storage::FrozenBf16`] holds a parameter in bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// In f32 always: what is small, and added or scaled by.
    Never,
    /// In bf16: the operand of a matrix product, or a table of embeddings. It is read by
    /// [`Weights::stored`](crate::Weights::stored).
    Allowed,
}

/// Where a parameter lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// From a cache line on.
    Aligned,
    /// Right behind the parameter before it, which is held and trained alike: both can be read as one
    /// ([`Weights::joined`](crate::Weights::joined)).
    Adjoining,
}

/// One parameter's name and shape, and how it is trained and held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSpec {
    /// The name, as in the checkpoint file.
    pub name: String,
    /// The shape, row-major.
    pub shape: Vec<usize>,
    /// Whether it is trained, where the network is loaded to be trained: not a frozen base that shares a
    /// table with its adapters. In a frozen table nothing is.
    pub trainable: bool,
    /// Whether weight decay applies.
    pub decay: WeightDecay,
    /// Whether it may be held in bf16; not, unless [`may_round`](Self::may_round) says so.
    pub rounding: Rounding,
    /// Where it lies; from a cache line on, unless [`adjoining`](Self::adjoining) says otherwise.
    pub placement: Placement,
}

impl ParameterSpec {
    /// A matrix of a linear layer: decayed.
    pub fn matrix(name: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            trainable: true,
            decay: WeightDecay::Yes,
            rounding: Rounding::Never,
            placement: Placement::Aligned,
        }
    }

    /// A norm's scale, a bias or an embedding: not decayed.
    pub fn undecayed(name: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            trainable: true,
            decay: WeightDecay::No,
            rounding: Rounding::Never,
            placement: Placement::Aligned,
        }
    }

    /// The same, which is not trained.
    #[must_use]
    pub fn frozen(self) -> Self {
        Self {
            trainable: false,
            ..self
        }
    }

    /// The same, which lies right behind the parameter before it.
    #[must_use]
    pub fn adjoining(self) -> Self {
        Self {
            placement: Placement::Adjoining,
            ..self
        }
    }

    /// The same, which may be held in bf16.
    #[must_use]
    pub fn may_round(self) -> Self {
        Self {
            rounding: Rounding::Allowed,
            ..self
        }
    }
}

/// How a network's weights are stored, and how much beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Weights only: a prior, a reward model, a policy that only answers.
    Frozen,
    /// The same, with matrices (see [`Rounding`]) in bf16, to the nearest, ties to even: half the
    /// memory.
    FrozenBf16,
    /// Weights, and gradients and two moments of those that are [`trainable`](ParameterSpec::trainable).
    Trainable,
}

impl Storage {
    /// Whether there are gradients and moments.
    #[must_use]
    pub const fn is_trainable(self) -> bool {
        matches!(self, Self::Trainable)
    }

    /// Whether a parameter of this spec is held in bf16.
    #[must_use]
    pub const fn halves(self, spec: &ParameterSpec) -> bool {
        matches!((self, spec.rounding), (Self::FrozenBf16, Rounding::Allowed))
    }
}

/// How to fill a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All values equal.
    Constant(f32),
    /// Independent normal values of mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
}
