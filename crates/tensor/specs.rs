//! The names, shapes and storage types of a network's parameters.

use rlhf_device::WeightDecay;

/// Whether [`Storage::FrozenBf16`] stores a parameter in bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Always stored in f32: biases and the scales of norms.
    Never,
    /// Stored in bf16: weight matrices and embedding tables, which are read with
    /// [`Weights::stored`](crate::Weights::stored).
    Allowed,
}

/// Where a parameter lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// From the start of a cache line.
    Aligned,
    /// Directly after the parameter before it, which is stored and trained alike: both can be read as one
    /// ([`Weights::joined`](crate::Weights::joined)).
    Adjoining,
}

/// One parameter's name and shape, and how it is trained and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSpec {
    /// The name, as in the checkpoint file.
    pub name: String,
    /// The shape, row-major.
    pub shape: Vec<usize>,
    /// Whether the optimizer updates it under [`Storage::Trainable`]. `false` for a frozen base model
    /// whose adapters are in the same table. Under the other storages nothing is trained.
    pub trainable: bool,
    /// Whether weight decay applies.
    pub decay: WeightDecay,
    /// Whether it may be stored in bf16: [`Rounding::Never`] unless set by [`may_round`](Self::may_round).
    pub rounding: Rounding,
    /// Where it lies: [`Placement::Aligned`] unless set by [`adjoining`](Self::adjoining).
    pub placement: Placement,
}

impl ParameterSpec {
    /// A matrix of a linear layer, with weight decay.
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

    /// A norm's scale, a bias or an embedding, without weight decay.
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

    /// The same parameter, not trained.
    #[must_use]
    pub fn frozen(self) -> Self {
        Self {
            trainable: false,
            ..self
        }
    }

    /// The same parameter, directly after the one before it.
    #[must_use]
    pub fn adjoining(self) -> Self {
        Self {
            placement: Placement::Adjoining,
            ..self
        }
    }

    /// The same parameter, which may be stored in bf16.
    #[must_use]
    pub fn may_round(self) -> Self {
        Self {
            rounding: Rounding::Allowed,
            ..self
        }
    }
}

/// How a network's weights are stored, and whether gradients and moments are allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Weights only: a prior, a reward model, or a policy used for inference.
    Frozen,
    /// Weights only, with matrices (see [`Rounding`]) rounded to the nearest bf16, ties to even: half
    /// the memory.
    FrozenBf16,
    /// Weights, and gradients and two moments of each [`trainable`](ParameterSpec::trainable) parameter.
    Trainable,
    /// As [`Trainable`](Self::Trainable); of a network with an adapter, the frozen base has its matrices in
    /// bf16.
    TrainableOverBf16,
}

impl Storage {
    /// Whether gradients and moments are allocated.
    #[must_use]
    pub const fn is_trainable(self) -> bool {
        matches!(self, Self::Trainable | Self::TrainableOverBf16)
    }

    /// How the frozen base of a network with an adapter is stored, where the network is stored like this.
    #[must_use]
    pub const fn of_base(self) -> Self {
        match self {
            Self::Frozen | Self::Trainable => Self::Frozen,
            Self::FrozenBf16 | Self::TrainableOverBf16 => Self::FrozenBf16,
        }
    }

    /// Whether a parameter of this spec is stored in bf16.
    #[must_use]
    pub const fn stores_bf16(self, spec: &ParameterSpec) -> bool {
        matches!((self, spec.rounding), (Self::FrozenBf16, Rounding::Allowed))
    }
}

/// How a parameter is initialized.
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
