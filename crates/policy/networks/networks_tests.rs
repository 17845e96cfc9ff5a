//! Tests of forward passes, updates and roles of several networks.

use super::*;
use crate::testing::{Bigram, sequences};
use rlhf_tensor::{AdamW, Storage};

fn bigram(seed: u64, storage: Storage) -> SavedNetwork {
    SavedNetwork::new(Bigram::random(5, storage, seed), Bigram::save)
}

fn with_critic() -> Networks {
    Networks::policy(bigram(1, Storage::Trainable))
        .with(Role::Critic, bigram(2, Storage::Trainable))
        .unwrap()
}

fn with_averaged_critic(tau: f64) -> Networks {
    let copy = bigram(3, Storage::Frozen);
    with_critic()
        .with_average(Role::AveragedCritic, copy, tau)
        .unwrap()
}

fn weights(networks: &Networks, role: Role) -> Vec<f32> {
    let network = networks.network(role).unwrap();
    let sets = network.parameter_sets();
    let all = ["logits", "values"].map(|name| sets[0].weights(name).unwrap().into_owned());
    all.concat()
}

fn ones(s: &Sequences) -> Option<Vec<f32>> {
    Some(vec![1.0; s.tokens()])
}

#[test]
fn values_and_their_gradients_belong_to_the_critic() {
    let s = sequences();
    let mut alone = Bigram::random(5, Storage::Trainable, 1);
    let mut critic = Bigram::random(5, Storage::Trainable, 2);
    let mut both = with_critic();
    let outputs = both.forward(&s, OutputSpec::TRAIN.with_entropy()).unwrap();
    let policy = alone.forward(&s, OutputSpec::TRAIN.with_entropy()).unwrap();
    let values = critic
        .forward(&s, OutputSpec::TRAIN)
        .unwrap()
        .values
        .unwrap();
    let numbers = |x: &rlhf_objective::PerToken| x.to_vec().unwrap();
    assert_eq!(numbers(&outputs.log_probs), numbers(&policy.log_probs));
    assert_eq!(numbers(outputs.values.as_ref().unwrap()), numbers(&values));

    let gradients = OutputGrads {
        log_probs: ones(&s),
        values: ones(&s),
        ..OutputGrads::default()
    };
    both.backward(&gradients).unwrap();
    let only_log_probs = OutputGrads {
        values: None,
        ..gradients.clone()
    };
    alone.backward(&only_log_probs).unwrap();
    let only_values = OutputGrads {
        values: ones(&s),
        ..OutputGrads::default()
    };
    critic.backward(&only_values).unwrap();
    for (role, network) in [(Role::Policy, &alone), (Role::Critic, &critic)] {
        let of_role = both.network(role).unwrap();
        assert_eq!(of_role.gradient_norm(), network.gradient_norm());
    }
    let together = [&alone, &critic].map(|network| network.gradient_norm().powi(2));
    assert_eq!(both.gradient_norm(), (together[0] + together[1]).sqrt());
    both.zero_gradients();
    assert_eq!(both.gradient_norm(), 0.0);
}

#[test]
fn save_writes_each_network_to_the_folder_of_its_role() {
    let folder = tempfile::tempdir().unwrap();
    let networks = with_averaged_critic(0.5);
    networks.save(folder.path()).unwrap();
    for (role, place) in [
        (Role::Policy, ""),
        (Role::Critic, "critic"),
        (Role::AveragedCritic, "averaged-critic"),
    ] {
        let path = folder.path().join(place);
        assert_eq!(role.folder(folder.path()), path);
        let loaded = Bigram::load(&path, Storage::Frozen).unwrap();
        let network = networks.network(role).unwrap();
        assert_eq!(loaded.checksums(), network.checksums());
    }
}

/// An optimizer step updates both networks and not the average. An update of averages with τ = ½ moves the
/// average half of the way to the stepped critic, and nothing else.
#[test]
fn only_update_averages_changes_an_average() {
    let s = sequences();
    let mut networks = with_averaged_critic(0.5);
    let roles = [Role::Policy, Role::Critic, Role::AveragedCritic];
    assert_eq!(networks.roles().collect::<Vec<_>>(), roles);
    assert_eq!(networks.parameter_sets().len(), 2);
    let before = roles.map(|role| weights(&networks, role));
    networks.forward(&s, OutputSpec::TRAIN).unwrap();
    let gradients = OutputGrads {
        log_probs: ones(&s),
        values: ones(&s),
        ..OutputGrads::default()
    };
    networks.backward(&gradients).unwrap();
    networks.optimizer_step(&AdamW::default(), 0.25, 1.0);
    let stepped = roles.map(|role| weights(&networks, role));
    assert_ne!(stepped[0], before[0]);
    assert_ne!(stepped[1], before[1]);
    assert_eq!(stepped[2], before[2]);
    networks.update_averages().unwrap();
    let updated = roles.map(|role| weights(&networks, role));
    assert_eq!(updated[..2], stepped[..2]);
    let halfway = before[2].iter().zip(&stepped[1]);
    let halfway: Vec<f32> = halfway
        .map(|(copy, online)| 0.5 * copy + 0.5 * online)
        .collect();
    assert_eq!(updated[2], halfway);
}

#[test]
fn several_mut_returns_different_networks() {
    let s = sequences();
    let mut networks = with_averaged_critic(1.0);
    let roles = [Role::AveragedCritic, Role::Policy];
    let [average, policy] = networks.several_mut(roles).unwrap();
    average.forward(&s, OutputSpec::SCORE).unwrap();
    policy.forward(&s, OutputSpec::SCORE).unwrap();
    let kl = policy.log_dist(0..2).unwrap();
    assert_eq!(kl.kl(&average.log_dist(0..2).unwrap()).unwrap().len(), 2);
    assert!(networks.several_mut([Role::Policy, Role::Policy]).is_err());
    // If the critic is a head, its network is the policy.
    let head = Networks::policy(bigram(1, Storage::Trainable)).with_value_head();
    let mut head = head.unwrap();
    head.check_roles(&[Role::Policy, Role::Critic]).unwrap();
    assert!(head.several_mut([Role::Policy, Role::Critic]).is_err());
    assert!(head.network_mut(Role::Critic).is_ok());
}

#[test]
fn wrong_roles_and_networks_are_errors() {
    let error = |networks: Result<Networks>| networks.err().unwrap().to_string();
    let frozen = |seed| bigram(seed, Storage::Frozen);
    let trained = |seed| bigram(seed, Storage::Trainable);
    let twice = error(with_critic().with(Role::Critic, trained(3)));
    assert!(
        twice.contains("two networks for the role critic"),
        "{twice}"
    );
    let average = error(with_critic().with(Role::AveragedCritic, trained(3)));
    assert!(average.contains("averaged-critic"), "{average}");
    let second = error(with_critic().with(Role::Scorer, trained(3)));
    assert!(second.contains("only critics"), "{second}");
    let head = error(with_critic().with_value_head());
    assert!(head.contains("two networks"), "{head}");
    let stepped = error(with_critic().with_average(Role::AveragedCritic, trained(3), 0.1));
    assert!(stepped.contains("frozen"), "{stepped}");
    let no_network = error(with_critic().with_average(Role::AveragedSecondCritic, frozen(3), 0.1));
    assert!(no_network.contains("second-critic"), "{no_network}");
    let large = SavedNetwork::new(Bigram::random(6, Storage::Frozen, 1), Bigram::save);
    let shape = error(with_critic().with_average(Role::AveragedCritic, large, 0.1));
    assert!(shape.contains("other parameters"), "{shape}");
    for tau in [0.0, 1.5, f64::NAN] {
        let tau = error(with_critic().with_average(Role::AveragedCritic, frozen(3), tau));
        assert!(tau.contains("(0, 1]"), "{tau}");
    }
    let networks = Networks::policy(trained(1));
    let missing = networks.check_roles(&[Role::Policy, Role::Critic]);
    let missing = missing.unwrap_err().to_string();
    assert!(
        missing.contains("no network for the role critic"),
        "{missing}"
    );
}
