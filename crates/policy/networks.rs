//! The networks of a run, by role.

use crate::{Role, SaveError, SavedNetwork};
use rlhf_objective::{
    ActionValues, Decoder, Error, LogDist, Network, OutputGrads, OutputSpec, Outputs, ParameterSet,
    Result, RowGradients, Sequences,
};
use std::ops::Range;
use std::path::Path;

/// The networks that a method trains or averages, by role.
///
/// As a [`Network`] it is the policy (or the scorer) with its critic. A forward pass returns the log-probs
/// of the policy and the values of the [critic](Role::Critic), which is a separate network or a head of the
/// policy. Gradients go to the network that computed the output; the gradient norm and the optimizer step
/// cover all trained networks. A loss is therefore the same for both kinds of critic. The optimizer never
/// updates averaged copies; [`update_averages`](Self::update_averages) does.
///
/// A method with one loss per role uses the networks separately, through
/// [`network_mut`](Self::network_mut) and [`several_mut`](Self::several_mut).
///
/// Each network comes with the function that saves it to a folder ([`SavedNetwork`]).
///
/// ```
/// use rlhf_policy::{Networks, Role, SavedNetwork, testing::Bigram};
/// use rlhf_tensor::Storage;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bigram = |seed, storage| SavedNetwork::new(Bigram::random(5, storage, seed), Bigram::save);
/// let mut networks = Networks::policy(bigram(1, Storage::Trainable))
///     .with(Role::Critic, bigram(2, Storage::Trainable))?
///     .with_average(Role::AveragedCritic, bigram(2, Storage::Frozen), 0.005)?;
/// networks.update_averages()?;
/// # Ok(())
/// # }
/// ```
pub struct Networks {
    /// The policy or scorer is first.
    members: Vec<Member>,
    /// Whether the critic is a head of the policy.
    value_head: bool,
    /// Whether the policy has accumulated gradients of rows since its last backward pass.
    has_row_gradients: bool,
}

struct Member {
    role: Role,
    network: SavedNetwork,
    update: Update,
}

/// What updates the weights of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Update {
    Optimizer,
    /// [`Networks::update_averages`], with this τ.
    Average(f64),
}

impl Networks {
    /// Networks with this policy.
    #[must_use]
    pub fn policy(network: SavedNetwork) -> Self {
        Self::first(Role::Policy, network)
    }

    /// Networks with this reward model to fit.
    #[must_use]
    pub fn scorer(network: SavedNetwork) -> Self {
        Self::first(Role::Scorer, network)
    }

    fn first(role: Role, network: SavedNetwork) -> Self {
        Self {
            members: vec![Member {
                role,
                network,
                update: Update::Optimizer,
            }],
            value_head: false,
            has_row_gradients: false,
        }
    }

    /// Declares that the critic is a head of the policy.
    ///
    /// # Errors
    /// If there is a critic already.
    pub fn with_value_head(mut self) -> Result<Self> {
        self.check_free(Role::Critic)?;
        self.value_head = true;
        Ok(self)
    }

    /// Adds a trained network.
    ///
    /// # Errors
    /// If the role is taken, or the role is not a critic.
    pub fn with(mut self, role: Role, network: SavedNetwork) -> Result<Self> {
        if !matches!(role, Role::Critic | Role::SecondCritic) {
            return unsupported(format!(
                "a trained network of role {role} cannot be added: only critics can"
            ));
        }
        self.check_free(role)?;
        self.members.push(Member {
            role,
            network,
            update: Update::Optimizer,
        });
        Ok(self)
    }

    /// Adds the exponential moving average of a network that was added before: a frozen copy, with the
    /// coefficient `tau`, τ, of each update.
    ///
    /// # Errors
    /// If the role is taken or is not an average, there is no network to average, the copy is
    /// trainable or has other parameters, or τ is not in (0, 1].
    pub fn with_average(mut self, role: Role, copy: SavedNetwork, tau: f64) -> Result<Self> {
        self.check_free(role)?;
        let Some(online) = role.average_of() else {
            return unsupported(format!("the role {role} is not an average of another role"));
        };
        let shape = |network: &dyn Network| -> Vec<(String, Vec<usize>)> {
            let sets = network.parameter_sets();
            let all = sets.iter().flat_map(|set| set.describe());
            all.map(|info| (info.name.to_owned(), info.shape.to_vec()))
                .collect()
        };
        if copy.network().is_trained() {
            return unsupported(format!(
                "the network of role {role} is trainable: load averaged copies frozen"
            ));
        }
        if shape(self.network(online)?) != shape(copy.network()) {
            return unsupported(format!(
                "the networks of roles {role} and {online} have other parameters: make the average a \
                copy of the network"
            ));
        }
        if !(tau > 0.0 && tau <= 1.0) {
            return unsupported(format!("τ of role {role} is {tau}: it must be in (0, 1]"));
        }
        self.members.push(Member {
            role,
            network: copy,
            update: Update::Average(tau),
        });
        Ok(self)
    }

    fn check_free(&self, role: Role) -> Result<()> {
        let taken = self.members.iter().any(|member| member.role == role);
        if taken || (role == Role::Critic && self.value_head) {
            return unsupported(format!("there are two networks for the role {role}"));
        }
        Ok(())
    }

    /// The roles with a network of their own, in the order of checkpoints and optimizer steps.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.members.iter().map(|member| member.role)
    }

    /// Checks that every role of a method exists.
    ///
    /// # Errors
    /// If a role has no network (for the critic: and no value head).
    pub fn check_roles(&self, needed: &[Role]) -> Result<()> {
        needed
            .iter()
            .try_for_each(|role| self.index_of(*role).map(|_| ()))
    }

    /// The network of a role. The policy is the network of the critic if the critic is its head.
    ///
    /// # Errors
    /// If there is none.
    pub fn network(&self, role: Role) -> Result<&dyn Network> {
        Ok(self.members[self.index_of(role)?].network.network())
    }

    /// The same, mutable.
    ///
    /// # Errors
    /// If there is none.
    pub fn network_mut(&mut self, role: Role) -> Result<&mut dyn Network> {
        let index = self.index_of(role)?;
        Ok(self.members[index].network.network_mut())
    }

    /// The networks of several roles at once, for example to compare the rows of an actor and a critic.
    ///
    /// # Errors
    /// If a role has no network, or two roles have the same network.
    pub fn several_mut<const K: usize>(
        &mut self,
        roles: [Role; K],
    ) -> Result<[&mut dyn Network; K]> {
        let mut indices = [0; K];
        for (index, role) in indices.iter_mut().zip(roles) {
            *index = self.index_of(role)?;
        }
        match self.members.get_disjoint_mut(indices) {
            Ok(members) => Ok(members.map(|member| member.network.network_mut())),
            Err(_) => {
                unsupported("two roles of the same network cannot be borrowed together".into())
            }
        }
    }

    fn index_of(&self, role: Role) -> Result<usize> {
        let found = self.members.iter().position(|member| member.role == role);
        match found {
            Some(index) => Ok(index),
            None if role == Role::Critic && self.value_head => Ok(0),
            None => unsupported(format!("there is no network for the role {role}")),
        }
    }

    /// Updates every average by its τ from the current weights of its network.
    ///
    /// # Errors
    /// If a network's parameters cannot be read or written.
    pub fn update_averages(&mut self) -> Result<()> {
        for index in 0..self.members.len() {
            let Member { role, update, .. } = self.members[index];
            let (Update::Average(tau), Some(online)) = (update, role.average_of()) else {
                continue;
            };
            let online = self.index_of(online)?;
            let [copy, online] = self
                .members
                .get_disjoint_mut([index, online])
                .map_err(Error::other)?;
            let copies = copy.network.network_mut().parameter_sets_mut();
            let online = online.network.network().parameter_sets();
            for (copy, online) in copies.into_iter().zip(online) {
                copy.average_towards(online, tau)?;
            }
        }
        Ok(())
    }

    /// Saves every network: the policy to `folder`, the others to subfolders ([`Role::folder`]).
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: &Path) -> std::result::Result<(), SaveError> {
        self.members
            .iter()
            .try_for_each(|member| member.network.save(&member.role.folder(folder)))
    }

    /// The separate critic, if there is one.
    fn critic_mut(&mut self) -> Option<&mut dyn Network> {
        let mut members = self.members.iter_mut();
        let critic = members.find(|member| member.role == Role::Critic)?;
        Some(critic.network.network_mut())
    }

    fn main_mut(&mut self) -> &mut dyn Network {
        self.members[0].network.network_mut()
    }

    /// The networks that the optimizer updates.
    fn trained(&self) -> impl Iterator<Item = &dyn Network> {
        let members = self
            .members
            .iter()
            .filter(|member| member.update == Update::Optimizer);
        members.map(|member| member.network.network())
    }
}

fn unsupported<T>(message: String) -> Result<T> {
    Err(Error::Unsupported(message))
}

impl Network for Networks {
    fn vocab(&self) -> usize {
        self.members[0].network.network().vocab()
    }

    fn forward(&mut self, sequences: &Sequences, spec: OutputSpec) -> Result<Outputs> {
        self.has_row_gradients = false;
        let outputs = self.main_mut().forward(sequences, spec)?;
        let Some(critic) = self.critic_mut() else {
            return Ok(outputs);
        };
        let only_values = OutputSpec {
            entropy: false,
            ..spec
        };
        let values = critic.forward(sequences, only_values)?.values;
        Ok(Outputs { values, ..outputs })
    }

    fn log_dist(&mut self, rows: Range<usize>) -> Result<LogDist<'_>> {
        self.main_mut().log_dist(rows)
    }

    fn action_values(&mut self, rows: Range<usize>) -> Result<ActionValues<'_>> {
        self.main_mut().action_values(rows)
    }

    fn backward_rows(&mut self, rows: Range<usize>, gradients: &RowGradients) -> Result<()> {
        self.main_mut().backward_rows(rows, gradients)?;
        self.has_row_gradients = true;
        Ok(())
    }

    fn backward(&mut self, gradients: &OutputGrads) -> Result<()> {
        let has_row_gradients = std::mem::take(&mut self.has_row_gradients);
        if self.critic_mut().is_none() {
            return self.main_mut().backward(gradients);
        }
        let OutputGrads {
            log_probs,
            entropy,
            values,
            scores,
        } = gradients.clone();
        if has_row_gradients || log_probs.is_some() || entropy.is_some() || scores.is_some() {
            self.main_mut().backward(&OutputGrads {
                log_probs,
                entropy,
                values: None,
                scores,
            })?;
        }
        match (values, self.critic_mut()) {
            (Some(values), Some(critic)) => critic.backward(&OutputGrads {
                values: Some(values),
                ..OutputGrads::default()
            }),
            _ => Ok(()),
        }
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        self.main_mut().decoder()
    }

    /// Those of every trained network, in the order of [`roles`](Self::roles), without averages.
    fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
        self.trained()
            .flat_map(|network| network.parameter_sets())
            .collect()
    }

    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
        let members = self.members.iter_mut();
        let members = members.filter(|member| member.update == Update::Optimizer);
        members
            .flat_map(|member| member.network.network_mut().parameter_sets_mut())
            .collect()
    }
}

#[cfg(test)]
mod networks_tests;
