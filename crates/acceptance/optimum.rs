//! How near each method brings a real network to the exact optimum.

use crate::network_world::World;
use crate::suite::{Outcome, Required, Setting, Suite, Verdict};
use anyhow::{Context, Result};
use rlhf_experiment::{Instead, Judge, Row, Session, exact};
use rlhf_journal::Estimate;
use serde_json::json;

pub(crate) const SUITE: Suite = Suite {
    name: "optimum",
    about: "the share of the gap to the exact optimum that each method closes on a real network",
    run,
};

/// Where a method learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// Its own samples.
    Itself,
    /// Pairs of responses of the prior with the probability of their preference.
    SoftLabels,
    /// The same with the share of [`JUDGES`] preferences drawn for each.
    DrawnLabels,
}

/// A method with the settings it arrives with, and the share of the gap it must close.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) objective: &'static str,
    pub(crate) from: From,
    pub(crate) required: f64,
    pub(crate) settings: &'static [&'static str],
}

/// The learning rate falls to 0, because what is left near the optimum is noise; and AdamW forgets
/// old gradients soon, because they are much larger at the start than at the end.
const CASES: [Case; 5] = [
    Case {
        name: "rloo",
        objective: "rloo",
        from: From::Itself,
        required: 0.98,
        settings: &[
            "sampling.rollouts=384",
            "sampling.samples_per_prompt=16",
            "optim.learning_rate=4e-3",
            "optim.warmup=0.1",
            "optim.beta2=0.95",
            "train.iterations=150",
        ],
    },
    Case {
        name: "vargrad",
        objective: "vargrad",
        from: From::Itself,
        required: 0.98,
        settings: &[
            "sampling.rollouts=384",
            "sampling.samples_per_prompt=16",
            "optim.learning_rate=2e-3",
            "optim.warmup=0.1",
            "optim.beta2=0.95",
            "train.iterations=45",
        ],
    },
    Case {
        name: "ppo-kl",
        objective: "ppo-kl",
        from: From::Itself,
        required: 0.95,
        settings: &[
            "sampling.rollouts=768",
            "sampling.samples_per_prompt=32",
            "optim.learning_rate=1e-3",
            "method.lambda=1.0",
            "method.value_weight=0.5",
            "method.clip_value=1.0",
            "train.iterations=60",
        ],
    },
    Case {
        name: "dpo, soft labels",
        objective: "dpo",
        from: From::SoftLabels,
        required: 0.98,
        settings: &[
            "train.batch_size=384",
            "train.epochs=6",
            "optim.learning_rate=2e-3",
            "optim.beta2=0.95",
        ],
    },
    Case {
        name: "dpo, drawn labels",
        objective: "dpo",
        from: From::DrawnLabels,
        required: 0.95,
        settings: &[
            "train.batch_size=384",
            "train.epochs=3",
            "optim.learning_rate=2e-3",
            "optim.beta2=0.95",
        ],
    },
];

/// Responses drawn for pairs, to each prompt.
const SAMPLES: usize = 2000;
/// Preferences drawn for each pair. A reward within [0, 1] makes each little better than a coin's: a
/// gap of 2 % of label noise takes about a million of them, however they are spread over pairs.
const JUDGES: u32 = 64;

fn run(setting: &Setting<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for world in World::all(setting)? {
        for case in CASES {
            let mut shares = Vec::new();
            for seed in 1..=u64::from(setting.seeds) {
                let row = fit(setting.session, &world, &case, seed)?;
                let closed = row.standing.priced.context("β is fixed")?.closed;
                outcome.rows.push(
                    json!({"world": world.name, "method": case.name, "seed": seed,
                    "standing": row}),
                );
                shares.push(closed);
            }
            let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
            let most = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            outcome.verdicts.push(Verdict {
                name: format!(
                    "{}, {}: share of the gap closed, the least of {} seeds",
                    world.name,
                    case.name,
                    shares.len()
                ),
                required: Required::AtLeast(case.required),
                reached: Estimate::within(least, least, most),
            });
        }
    }
    Ok(outcome)
}

/// One run, and where its last policy stands.
fn fit(session: &Session, world: &World, case: &Case, seed: u64) -> Result<Row> {
    let folder = tempfile::tempdir_in(&world.folder)?;
    let mut settings = world.settings();
    settings.push(format!("objective={}", case.objective));
    settings.push(format!("train.seed={seed}"));
    settings.push("train.checkpoints=1".into());
    settings.extend(case.settings.iter().map(ToString::to_string));
    match case.from {
        From::Itself => {}
        From::SoftLabels | From::DrawnLabels => {
            let judges = (case.from == From::DrawnLabels).then_some(JUDGES);
            let path = folder.path().join("pairs.jsonl");
            world.pairs(session, &path, (SAMPLES, judges, seed))?;
            settings.push(format!("data.train={}", path.display()));
        }
    }
    let run = folder.path().join("run");
    session.fit_with(&settings, &run)?;
    let instead = Instead {
        prompts: Some(world.prompts()),
        ..Instead::default()
    };
    let runs = [run];
    let mut judge = Judge::new(session, &runs, &instead)?;
    let rows = exact(&mut judge, &runs[0])?;
    let mut policies = rows.into_iter().filter(|row| row.step.is_some());
    policies.next_back().context("the run has no policy")
}
