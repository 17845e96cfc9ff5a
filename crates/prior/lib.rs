//! p₀: the priors. A method never knows which one it has.

mod frozen;

pub use frozen::Frozen;

/// A pretrained model as the prior: the KL of RLHF.
pub type Reference = Frozen;

/// A model fitted to demonstrations as the prior: imitation-bootstrapped RL.
pub type Demonstrations = Frozen;
