//! The registry entry of PPO: presets, checks, epochs and mini-batches.

use crate::{Config, Ppo};
use rlhf_objective::Result;
use rlhf_train::{MethodSpec, OnlineSpec, Preset, RunShape, Updates};

/// The registry entry of PPO.
#[derive(Debug, Clone, Copy)]
pub struct PpoSpec;

impl MethodSpec for PpoSpec {
    type Settings = Config;

    const NAME: &'static str = "ppo";
    const ABOUT: &'static str = "Proximal policy optimization";
    const PRESETS: &'static [Preset] = &[
        Preset {
            name: "ppo-kl",
            about: "PPO, with the KL to a reference model in the reward",
            prior: "reference",
        },
        Preset {
            name: "maxent",
            about: "PPO with the counting prior: maximum-entropy RL",
            prior: "counting",
        },
        Preset {
            name: "imitation",
            about: "PPO with a model fitted to demonstrations as the prior",
            prior: "demonstrations",
        },
    ];

    fn check(settings: &Config, run: &RunShape) -> Result<()> {
        settings.check()?;
        RunShape::check_minibatches(settings.minibatches, run.responses, "responses")
    }
}

impl OnlineSpec for PpoSpec {
    type Method = Ppo;

    fn method(settings: &Config) -> Result<Ppo> {
        Ppo::new(settings.clone())
    }

    fn updates(settings: &Config) -> Updates {
        Updates {
            epochs: settings.epochs,
            minibatches: settings.minibatches,
            may_stop_early: settings.target_kl.is_some(),
        }
    }
}
