//! The traits of losses and methods.

use crate::{Loss, Role, Stats};
use rlhf_objective::{KlPenalty, Network, OutputSpec, Outputs, Result, Scored, Sequences};
use rlhf_tensor::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::ControlFlow;

/// A loss over network outputs.
///
/// **A loss is a sum** over items whose weights are already normalized by the whole batch (the
/// batch carries them), so that the losses and gradients of its parts add up to its own.
pub trait Learner {
    /// The roles of the networks it needs. With a [critic](Role::Critic), which is a value head or a
    /// separate network, outputs have values.
    const ROLES: &'static [Role] = &[Role::Policy];

    /// The inputs of the loss besides the outputs.
    type Batch;

    /// The responses of a batch, in the order of the outputs.
    fn sequences<'a>(&self, batch: &'a Self::Batch) -> &'a Sequences;

    /// What forward passes must compute: a loss on entropies requests them here.
    fn output_spec(&self) -> OutputSpec {
        OutputSpec::TRAIN
    }

    /// How many consecutive responses must be in the same micro-batch: 1, or 2 for pairs.
    fn group(&self) -> usize {
        1
    }

    /// The batch with quantities that depend on all of it under the current network, such as ranks or a
    /// mean over its items. They are computed before the batch is cut into micro-batches, by a separate
    /// forward pass of at most `tokens` tokens at once. `None` if the batch needs nothing, the default.
    ///
    /// # Errors
    /// If a forward pass fails.
    fn prepare(
        &self,
        _network: &mut dyn Network,
        _batch: &Self::Batch,
        _tokens: usize,
    ) -> Result<Option<Self::Batch>> {
        Ok(None)
    }

    /// The part of a batch with these responses, with unchanged weights.
    ///
    /// # Errors
    /// If the device fails.
    fn select(&self, batch: &Self::Batch, responses: &[usize]) -> Result<Self::Batch>;

    /// The loss, a scalar that is minimized, and its statistics.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn loss(&self, outputs: &Outputs, batch: &Self::Batch) -> Result<Loss>;
}

/// A learner that improves a policy from its own rollouts.
pub trait Method: Learner {
    /// The state that is kept between iterations and saved in checkpoints, such as a moving baseline. `()`
    /// if there is none.
    type State: Serialize + DeserializeOwned + Default;

    /// Cuts scored rollouts into the batches of an iteration, one per optimizer step, for all epochs.
    /// Statistics over all rollouts (whitening, group means) are computed here.
    ///
    /// # Errors
    /// If the rollouts lack what the method needs, such as values.
    fn batches(
        &mut self,
        scored: Scored,
        penalty: &mut KlPenalty,
        rng: Rng,
    ) -> Result<Vec<Self::Batch>>;

    /// The minimum number of scored responses per prompt: 2 for methods that compare them with each other.
    /// Prompts with fewer are removed.
    fn min_responses_per_prompt(&self) -> usize {
        1
    }

    /// Called after each optimizer step with the statistics of its batch. `Break` ends the iteration early.
    fn after_step(&mut self, _stats: &Stats) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// The state for the next iteration.
    fn state(&self) -> Self::State;

    /// Restores what [`state`](Self::state) returned when a run resumes, or sets the default when one
    /// begins.
    fn load_state(&mut self, state: Self::State);
}
