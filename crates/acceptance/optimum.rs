//! The suite `optimum`: the share of the gap to the exact optimum that each method closes.

use crate::network_world::World;
use crate::suite::{Outcome, Required, Suite, SuiteContext, Verdict};
use anyhow::{Context, Result};
use rlhf_experiment::{Instead, Judge, Row, Session, exact};
use rlhf_journal::Estimate;
use serde_json::json;

pub(crate) const SUITE: Suite = Suite {
    name: "optimum",
    about: "the share of the gap to the exact optimum that each method closes, with transformers",
    run,
};

/// The training data of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrainingData {
    /// Samples of the policy.
    OwnSamples,
    /// Pairs of samples of the prior, labelled with their preference probabilities.
    SoftLabels,
    /// The same, labelled with the share of [`VOTES`] sampled preferences.
    SampledLabels,
}

/// A method with its settings and the share of the gap that it must close.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) objective: &'static str,
    pub(crate) data: TrainingData,
    pub(crate) required: f64,
    pub(crate) settings: &'static [&'static str],
}

/// The learning rate decays to 0, because near the optimum gradients are mostly noise; and β₂ of AdamW
/// is small, because gradients are much larger at the start than at the end.
const CASES: [Case; 5] = [
    Case {
        name: "rloo",
        objective: "rloo",
        data: TrainingData::OwnSamples,
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
        data: TrainingData::OwnSamples,
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
        data: TrainingData::OwnSamples,
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
        data: TrainingData::SoftLabels,
        required: 0.98,
        settings: &[
            "train.batch_size=384",
            "train.epochs=6",
            "optim.learning_rate=2e-3",
            "optim.beta2=0.95",
        ],
    },
    Case {
        name: "dpo, sampled labels",
        objective: "dpo",
        data: TrainingData::SampledLabels,
        required: 0.95,
        settings: &[
            "train.batch_size=384",
            "train.epochs=3",
            "optim.learning_rate=2e-3",
            "optim.beta2=0.95",
        ],
    },
];

/// Samples for pairs, for each prompt.
const SAMPLES: usize = 2000;
/// Sampled preferences for each pair. With rewards in [0, 1] each preference is close to a coin flip: a
/// gap of at most 2 % due to label noise needs about a million of them in all.
const VOTES: u32 = 64;

fn run(context: &SuiteContext<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for world in World::all(context)? {
        for case in CASES {
            let mut shares = Vec::new();
            for seed in 1..=u64::from(context.seeds) {
                let row = fit(context.session, &world, &case, seed)?;
                let closed = row.evaluation.gap.context("β is not fixed")?.closed;
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

/// Trains one run, and evaluates its last policy.
fn fit(session: &Session, world: &World, case: &Case, seed: u64) -> Result<Row> {
    let folder = tempfile::tempdir_in(&world.folder)?;
    let mut settings = world.settings();
    settings.push(format!("objective={}", case.objective));
    settings.push(format!("train.seed={seed}"));
    settings.push("train.checkpoints=1".into());
    settings.extend(case.settings.iter().map(ToString::to_string));
    match case.data {
        TrainingData::OwnSamples => {}
        TrainingData::SoftLabels | TrainingData::SampledLabels => {
            let votes = (case.data == TrainingData::SampledLabels).then_some(VOTES);
            let path = folder.path().join("pairs.jsonl");
            world.pairs(session, &path, (SAMPLES, votes, seed))?;
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
