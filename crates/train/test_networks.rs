//! Small random GPT-2 networks for the tests of the loops.

use crate::test_world::TestSetup;
use rlhf_lm::{
    ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, OutputVocabulary, init, load,
};
use rlhf_objective::Network;
use rlhf_policy::{Networks, Role, SavedNetwork};
use rlhf_tensor::Storage;
use std::path::Path;

/// A value head on the policy's hidden states.
pub(crate) const HEAD: TestSetup = TestSetup {
    policy: |checkpoint| {
        let heads = OutputHeads::LanguageAndValue;
        let policy = model(checkpoint, Storage::Trainable, heads);
        Networks::policy(saved(policy)).with_value_head().unwrap()
    },
    prior: frozen,
};

/// A separate critic.
pub(crate) const SEPARATE: TestSetup = TestSetup {
    policy: |checkpoint| {
        let policy = model(checkpoint, Storage::Trainable, OutputHeads::Language);
        let critic = checkpoint.map(|folder| Role::Critic.folder(folder));
        let critic = model(critic.as_deref(), Storage::Trainable, OutputHeads::Value);
        let networks = Networks::policy(saved(policy));
        networks.with(Role::Critic, saved(critic)).unwrap()
    },
    prior: frozen,
};

fn saved(model: Box<dyn Model>) -> SavedNetwork {
    SavedNetwork::new(model, |model, folder| model.save(folder))
}

fn frozen() -> Box<dyn Network> {
    model(None, Storage::Frozen, OutputHeads::Language)
}

/// The network of a folder, or a random one with a fixed seed.
fn model(folder: Option<&Path>, storage: Storage, heads: OutputHeads) -> Box<dyn Model> {
    let options = LoadOptions {
        storage,
        activation_checkpointing: ActivationCheckpointing::None,
        heads,
        vocabulary: OutputVocabulary::Whole,
        temperature: 1.5,
        backend: Backend::F32,
    };
    if let Some(folder) = folder {
        return load(folder, &options).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("given.json");
    let text = r#"{"model_type": "gpt2", "vocab_size": 7, "n_positions": 12, "n_embd": 16,
        "n_layer": 2, "n_head": 2, "initializer_range": 0.3, "eos_token_id": 0}"#;
    std::fs::write(&config, text).unwrap();
    init(&config, 3, folder.path()).unwrap();
    load(folder.path(), &options).unwrap()
}
