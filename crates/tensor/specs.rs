//! What a network's parameters are called, how large they are, and how they are held.

/// Whether AdamW's decoupled weight decay applies to a parameter (Loshchilov & Hutter 2017; as is
/// usual: matrices yes; norms, biases and embeddings no).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// Decayed.
    Yes,
    /// Not decayed.
    No,
}

/// Whether [`Storage::FrozenBf16`] holds a parameter in bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// In f32 always: what is small, and added or scaled by.
    Never,
    /// In bf16: the operand of a matrix product, or a table of embeddings. It is read by
    /// [`Weights::matrix`](crate::Weights::matrix).
    Allowed,
}

/// One parameter's name, shape and decay group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSpec {
    /// The name, as in the checkpoint file.
    pub name: String,
    /// The shape, row-major.
    pub shape: Vec<usize>,
    /// Whether weight decay applies.
    pub decay: Decay,
    /// Whether it may be held in bf16; not, unless [`may_round`](Self::may_round) says so.
    pub rounding: Rounding,
}

impl ParameterSpec {
    /// A matrix of a linear layer: decayed.
    pub fn matrix(name: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            decay: Decay::Yes,
            rounding: Rounding::Never,
        }
    }

    /// A norm's scale, a bias or an embedding: not decayed.
    pub fn undecayed(name: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            decay: Decay::No,
            rounding: Rounding::Never,
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

/// How weights are stored, and how much beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Weights only: a prior, a reward model, a policy that only answers.
    Frozen,
    /// The same, with matrices (see [`Rounding`]) in bf16, to the nearest, ties to even: half the
    /// memory.
    FrozenBf16,
    /// Weights, gradients and two moments.
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
