//! What a method must say.

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
    /// The roles that networks play for it, read by whoever makes the networks before the learner is
    /// made. With a [critic](Role::Critic), a head or a network of its own, outputs have values.
    const ROLES: &'static [Role] = &[Role::Policy];

    /// What the loss needs besides the outputs.
    type Batch;

    /// The responses of a batch, in the order of the outputs.
    fn sequences<'a>(&self, batch: &'a Self::Batch) -> &'a Sequences;

    /// What a training read must answer: a loss on entropies asks for them here.
    fn output_spec(&self) -> OutputSpec {
        OutputSpec::TRAIN
    }

    /// How many consecutive responses must stay together: 1, or 2 for pairs.
    fn group(&self) -> usize {
        1
    }

    /// The batch completed by what depends on all of it under the network as it stands, such as
    /// ranks or a mean that all its items share: found before the split, by a pass of its own of at
    /// most `tokens` tokens at once. `None` if the batch is complete as it is, as most are.
    ///
    /// # Errors
    /// If the network cannot read a sequence.
    fn prepare(
        &self,
        _network: &mut dyn Network,
        _batch: &Self::Batch,
        _tokens: usize,
    ) -> Result<Option<Self::Batch>> {
        Ok(None)
    }

    /// The part of a batch with these responses, every weight unchanged.
    ///
    /// # Errors
    /// If the device fails.
    fn select(&self, batch: &Self::Batch, responses: &[usize]) -> Result<Self::Batch>;

    /// The loss, a scalar to minimize, and its statistics.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn loss(&self, outputs: &Outputs, batch: &Self::Batch) -> Result<Loss>;
}

/// A learner that improves a policy from its own rollouts.
pub trait Method: Learner {
    /// What an iteration needs from the one before, such as a moving baseline: part of every checkpoint.
    /// `()` where that is nothing.
    type State: Serialize + DeserializeOwned + Default;

    /// Cuts scored rollouts into the batches of an iteration, one optimizer step each, all epochs.
    /// Statistics of the whole (whitening, group means) are computed here, before the split.
    ///
    /// # Errors
    /// If the rollouts lack what the method needs, such as values.
    fn batches(
        &mut self,
        scored: Scored,
        penalty: &mut KlPenalty,
        rng: Rng,
    ) -> Result<Vec<Self::Batch>>;

    /// The fewest responses to a prompt that it learns from: 2 where it compares them with each other.
    /// Prompts that are left with fewer, because the reward has no opinion of the others, are left out.
    fn least_responses(&self) -> usize {
        1
    }

    /// After each optimizer step, with the statistics of its whole batch; `Break` ends the
    /// iteration early.
    fn after_step(&mut self, _stats: &Stats) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// What the next iteration needs from this one.
    fn state(&self) -> Self::State;

    /// Takes back what [`state`](Self::state) gave, when a run resumes, or the default when one begins.
    fn load_state(&mut self, state: Self::State);
}
