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
/// As a [`Network`] it is the policy (or the scorer) with its critic: a read answers with the log-probs of
/// the policy and with the values of the [critic](Role::Critic), a network of its own where there is one,
/// else the policy's head; gradients go back to the network that answered; one gradient norm and one
/// optimizer step are those of all networks that are trained. A loss therefore does not know where values
/// come from. Averaged copies are never stepped: they move in
/// [`update_averages`](Self::update_averages) alone.
///
/// A method with a loss for each role takes the networks one by one:
/// [`network_mut`](Self::network_mut) and [`several_mut`](Self::several_mut).
///
/// A network comes with the function that writes it to a folder ([`SavedNetwork`]).
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
    /// The policy or scorer first.
    members: Vec<Member>,
    /// Whether a head of the policy is the critic.
    value_head: bool,
    /// Whether the policy was given gradients of whole rows that it has not carried down yet.
    rows_came_back: bool,
}

struct Member {
    role: Role,
    network: SavedNetwork,
    moves: Moves,
}

/// What moves the weights of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moves {
    Optimizer,
    /// An update of averages, by this fraction of the way.
    Average(f64),
}

impl Networks {
    /// A policy.
    #[must_use]
    pub fn policy(network: SavedNetwork) -> Self {
        Self::first(Role::Policy, network)
    }

    /// A reward model to fit.
    #[must_use]
    pub fn scorer(network: SavedNetwork) -> Self {
        Self::first(Role::Scorer, network)
    }

    fn first(role: Role, network: SavedNetwork) -> Self {
        Self {
            members: vec![Member {
                role,
                network,
                moves: Moves::Optimizer,
            }],
            value_head: false,
            rows_came_back: false,
        }
    }

    /// Says that a head of the policy is the critic.
    ///
    /// # Errors
    /// If there is a critic already.
    pub fn with_value_head(mut self) -> Result<Self> {
        self.check_free(Role::Critic)?;
        self.value_head = true;
        Ok(self)
    }

    /// Adds a network that is trained.
    ///
    /// # Errors
    /// If the role is taken, or it is that of an average, of a policy or of a scorer: the last two come
    /// first, because a checkpoint's folder is theirs.
    pub fn with(mut self, role: Role, network: SavedNetwork) -> Result<Self> {
        if !matches!(role, Role::Critic | Role::SecondCritic) {
            return refused(format!(
                "a network of role {role} cannot be added to be trained: only critics can"
            ));
        }
        self.check_free(role)?;
        self.members.push(Member {
            role,
            network,
            moves: Moves::Optimizer,
        });
        Ok(self)
    }

    /// Adds the moving average of a network that is there already: a frozen copy, which moves by the
    /// fraction `tau` of the way at each update.
    ///
    /// # Errors
    /// If the role is taken or is not that of an average, there is no network to average, the copy is
    /// trained or of another shape, or τ is not in (0, 1].
    pub fn with_average(mut self, role: Role, copy: SavedNetwork, tau: f64) -> Result<Self> {
        self.check_free(role)?;
        let Some(online) = role.average_of() else {
            return refused(format!("the role {role} is not that of an average"));
        };
        let shape = |network: &dyn Network| -> Vec<(String, Vec<usize>)> {
            let sets = network.parameter_sets();
            let all = sets.iter().flat_map(|set| set.describe());
            all.map(|info| (info.name.to_owned(), info.shape.to_vec()))
                .collect()
        };
        if copy.network().is_trained() {
            return refused(format!(
                "the network of role {role} must be frozen: it is never stepped"
            ));
        }
        if shape(self.network(online)?) != shape(copy.network()) {
            return refused(format!(
                "the network of role {role} has other parameters than that of role {online}"
            ));
        }
        if !(tau > 0.0 && tau <= 1.0) {
            return refused(format!("τ of role {role} is {tau}: give one in (0, 1]"));
        }
        self.members.push(Member {
            role,
            network: copy,
            moves: Moves::Average(tau),
        });
        Ok(self)
    }

    fn check_free(&self, role: Role) -> Result<()> {
        let taken = self.members.iter().any(|member| member.role == role);
        if taken || (role == Role::Critic && self.value_head) {
            return refused(format!("there are two networks for the role {role}"));
        }
        Ok(())
    }

    /// The roles that have a network of their own, in the order of checkpoints and optimizer steps.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.members.iter().map(|member| member.role)
    }

    /// Refuses a run that lacks a role.
    ///
    /// # Errors
    /// If a role has no network and, if it is the critic, no head.
    pub fn check_roles(&self, needed: &[Role]) -> Result<()> {
        needed
            .iter()
            .try_for_each(|role| self.place(*role).map(|_| ()))
    }

    /// The network of a role; the policy is the critic where the critic is a head of it.
    ///
    /// # Errors
    /// If there is none.
    pub fn network(&self, role: Role) -> Result<&dyn Network> {
        Ok(self.members[self.place(role)?].network.network())
    }

    /// The same, to use.
    ///
    /// # Errors
    /// If there is none.
    pub fn network_mut(&mut self, role: Role) -> Result<&mut dyn Network> {
        let place = self.place(role)?;
        Ok(self.members[place].network.network_mut())
    }

    /// The networks of several roles at once, such as an actor and a critic whose rows are compared.
    ///
    /// # Errors
    /// If a role has no network, or two have the same.
    pub fn several_mut<const K: usize>(
        &mut self,
        roles: [Role; K],
    ) -> Result<[&mut dyn Network; K]> {
        let mut places = [0; K];
        for (place, role) in places.iter_mut().zip(roles) {
            *place = self.place(role)?;
        }
        match self.members.get_disjoint_mut(places) {
            Ok(members) => Ok(members.map(|member| member.network.network_mut())),
            Err(_) => refused("two roles of one network cannot be used at once".into()),
        }
    }

    fn place(&self, role: Role) -> Result<usize> {
        let found = self.members.iter().position(|member| member.role == role);
        match found {
            Some(place) => Ok(place),
            None if role == Role::Critic && self.value_head => Ok(0),
            None => refused(format!("there is no network for the role {role}")),
        }
    }

    /// Moves every average by its τ towards the network that it averages, as that is now.
    ///
    /// # Errors
    /// If a network's parameters cannot be read or written.
    pub fn update_averages(&mut self) -> Result<()> {
        for index in 0..self.members.len() {
            let Member { role, moves, .. } = self.members[index];
            let (Moves::Average(tau), Some(online)) = (moves, role.average_of()) else {
                continue;
            };
            let online = self.place(online)?;
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

    /// Writes every network: the policy to `folder`, the others to their folders in it
    /// ([`Role::folder`]).
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

    /// Those that the optimizer moves.
    fn stepped(&self) -> impl Iterator<Item = &dyn Network> {
        let members = self
            .members
            .iter()
            .filter(|member| member.moves == Moves::Optimizer);
        members.map(|member| member.network.network())
    }
}

fn refused<T>(message: String) -> Result<T> {
    Err(Error::Unsupported(message))
}

impl Network for Networks {
    fn vocab(&self) -> usize {
        self.members[0].network.network().vocab()
    }

    fn forward(&mut self, sequences: &Sequences, spec: OutputSpec) -> Result<Outputs> {
        self.rows_came_back = false;
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
        self.rows_came_back = true;
        Ok(())
    }

    fn backward(&mut self, gradients: &OutputGrads) -> Result<()> {
        let of_rows = std::mem::take(&mut self.rows_came_back);
        if self.critic_mut().is_none() {
            return self.main_mut().backward(gradients);
        }
        let OutputGrads {
            log_probs,
            entropy,
            values,
            scores,
        } = gradients.clone();
        if of_rows || log_probs.is_some() || entropy.is_some() || scores.is_some() {
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

    /// Of every network that is trained, in the order of [`roles`](Self::roles): not of averages.
    fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
        self.stepped()
            .flat_map(|network| network.parameter_sets())
            .collect()
    }

    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
        let members = self.members.iter_mut();
        let members = members.filter(|member| member.moves == Moves::Optimizer);
        members
            .flat_map(|member| member.network.network_mut().parameter_sets_mut())
            .collect()
    }
}

#[cfg(test)]
mod tests;
