//! Tests that networks support an off-policy loop with one loss per role, on a tree that is solved exactly.

use crate::Role;
use rlhf_lm::{Model, Table, TableConfig};
use rlhf_objective::{
    Finish, LogDist, OutputGrads, OutputSpec, Prior, Prompt, Response, RowGradients, Sequences,
};
use rlhf_policy::{Networks, SavedNetwork, load_optimizer, save_optimizer};
use rlhf_prior::Frozen;
use rlhf_tensor::{AdamW, Storage};

/// Three tokens, of which the last is the EOS, and responses of at most three tokens.
const TREE: TableConfig = TableConfig::prefixes(3, Some(2), 3);
const BETA: f64 = 0.5;

/// Every response.
fn leaves() -> Sequences {
    let mut prefixes: Vec<Vec<u32>> = vec![vec![]];
    let mut done = Vec::new();
    while let Some(prefix) = prefixes.pop() {
        for token in 0..3 {
            let response = [&prefix[..], &[token]].concat();
            if token == 2 || response.len() == 3 {
                done.push(Response::new(0, response, Finish::Length));
            } else {
                prefixes.push(response);
            }
        }
    }
    Sequences::new(vec![Prompt::from_ids(vec![0])], done).unwrap()
}

fn prior() -> Frozen {
    let weights = [
        3, 1, 4, 2, 5, 3, 4, 2, 5, 4, 2, 5, 1, 4, 2, 5, 3, 1, 2, 5, 3,
    ];
    let logits = weights.map(|weight| (weight as f32).ln());
    let table = Table::with_logits(TREE, &logits, Storage::Frozen).unwrap();
    Frozen::new(Box::new(table)).unwrap()
}

/// The target of Q for each response token: the reward at the end, else the value of the next row.
fn targets(s: &Sequences, values: &[f32]) -> Vec<f32> {
    let token_rewards = [1.0, -0.5, 0.75];
    let mut targets = Vec::new();
    for response in s.responses() {
        for t in 0..response.ids.len() {
            let score: f32 = response
                .ids
                .iter()
                .map(|&token| token_rewards[token as usize])
                .sum();
            let last = t + 1 == response.ids.len();
            targets.push(if last {
                score
            } else {
                values[targets.len() + 1]
            });
        }
    }
    targets
}

/// A policy, a critic and the critic's average, from tables.
fn networks(table: impl Fn(Role, Storage) -> Table) -> Networks {
    let saved =
        |role, storage| SavedNetwork::new(table(role, storage), |table, folder| table.save(folder));
    let average = saved(Role::AveragedCritic, Storage::Frozen);
    Networks::policy(saved(Role::Policy, Storage::Trainable))
        .with(Role::Critic, saved(Role::Critic, Storage::Trainable))
        .unwrap()
        .with_average(Role::AveragedCritic, average, 0.2)
        .unwrap()
}

fn fresh() -> Networks {
    networks(|_, storage| Table::new(TREE, storage))
}

/// The gradients of the losses of soft actor–critic, with exact sums over actions, with respect to the rows
/// of each role. The critic's targets come from the averaged critic. No row is copied to the host.
fn losses(networks: &mut Networks, prior: &mut Frozen, s: &Sequences) -> [(Role, RowGradients); 2] {
    let tokens: Vec<u32> = s.responses().iter().flat_map(|y| y.ids.clone()).collect();
    let roles = [Role::Policy, Role::Critic, Role::AveragedCritic];
    let [actor, critic, average] = networks.several_mut(roles).unwrap();
    let all = 0..s.tokens();
    actor.forward(s, OutputSpec::TRAIN).unwrap();
    critic.forward(s, OutputSpec::TRAIN).unwrap();
    average.forward(s, OutputSpec::SCORE).unwrap();
    let policy_rows = actor.log_dist(all.clone()).unwrap();
    let prior_rows = prior.log_dist(s, all.clone()).unwrap();
    let target = average.action_values(all.clone()).unwrap();
    let tilt = target.expected_tilt(&policy_rows, &prior_rows, BETA);
    let values: Vec<f32> = tilt.unwrap().values.iter().map(|x| -x).collect();
    let q = critic.action_values(all).unwrap();
    let taken = q.gather(&tokens).unwrap();
    let errors = taken.iter().zip(targets(s, &values)).map(|(q, y)| q - y);
    let errors: Vec<f32> = errors.collect();
    let of_critic = q.gather_gradient(&tokens, &errors).unwrap();
    let tilt = q.expected_tilt(&policy_rows, &prior_rows, BETA).unwrap();
    let of_actor = tilt.gradient(&vec![1.0; s.tokens()]).unwrap();
    [(Role::Policy, of_actor), (Role::Critic, of_critic)]
}

/// One optimizer step of each role on its own loss, then an update of the average.
fn step(networks: &mut Networks, prior: &mut Frozen, s: &Sequences, learning_rate: f64) {
    for (role, gradient) in losses(networks, prior, s) {
        let network = networks.network_mut(role).unwrap();
        network.backward_rows(0..s.tokens(), &gradient).unwrap();
        network.backward(&OutputGrads::default()).unwrap();
        network.optimizer_step(&AdamW::default(), learning_rate, 1.0);
    }
    networks.update_averages().unwrap();
}

/// An actor and a critic with an averaged copy converge to the optimum under a prior, with one optimizer step
/// per role.
#[test]
fn an_actor_and_a_critic_converge_to_the_optimum() {
    let s = leaves();
    let (mut networks, mut prior) = (fresh(), prior());
    for at in 0..1500 {
        let rate = 0.05 * (1.0 - f64::from(at) / 1500.0);
        step(&mut networks, &mut prior, &s, rate);
    }
    let root = s.offsets()[0];
    let [actor, critic] = networks
        .several_mut([Role::Policy, Role::AveragedCritic])
        .unwrap();
    actor.forward(&s, OutputSpec::SCORE).unwrap();
    critic.forward(&s, OutputSpec::SCORE).unwrap();
    let rows = actor.log_dist(root..root + 1).unwrap().to_rows();
    let optimum = [0.893_806_9f32, 0.024_912_36, 0.081_280_74];
    for (log_prob, expected) in rows[0].iter().zip(optimum) {
        let got = log_prob.exp();
        assert!((got - expected).abs() < 1e-3, "{got} {expected}");
    }
    let q = critic.action_values(root..root + 1).unwrap();
    let prior_row = prior.log_dist(&s, root..root + 1).unwrap();
    let value = q.soft_value(&prior_row, BETA).unwrap().values[0];
    assert!((value - 1.658_349_5).abs() < 1e-3, "{value}");
    let policy = LogDist::of_log_probs(rows[0].clone(), 3).unwrap();
    let at_actor = -q.expected_tilt(&policy, &prior_row, BETA).unwrap().values[0];
    assert!((value - at_actor).abs() < 1e-3, "{value} {at_actor}");
}

/// Networks restored from a checkpoint take the same steps.
#[test]
fn roles_and_averages_continue_from_a_checkpoint() {
    let s = leaves();
    let steps = |networks: &mut Networks| {
        let mut prior = prior();
        (0..3).for_each(|_| step(networks, &mut prior, &s, 0.05));
    };
    let sums = |networks: &Networks| -> Vec<String> {
        let roles = networks.roles();
        roles
            .flat_map(|role| networks.network(role).unwrap().checksums())
            .collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let optimizer = folder.path().join("optimizer.safetensors");
    let mut first = fresh();
    steps(&mut first);
    first.save(folder.path()).unwrap();
    save_optimizer(&first, &optimizer).unwrap();
    let load = |role: Role, storage| Table::load(&role.folder(folder.path()), storage).unwrap();
    let mut second = networks(load);
    load_optimizer(&mut second, &optimizer).unwrap();
    assert_eq!(sums(&first), sums(&second));
    steps(&mut first);
    steps(&mut second);
    assert_eq!(sums(&first), sums(&second));
    let [_, critic, average] = &sums(&first)[..] else {
        panic!("three networks")
    };
    assert_ne!(critic, average);
}
