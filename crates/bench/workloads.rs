//! The workloads: their shapes, and the work that is timed.

use crate::operations::{Batch, Forward};
use crate::settings::{Settings, Shape, Workload};
use crate::size::Size;
use crate::timed::Timed;
use anyhow::Result;
use rlhf_experiment::{Critic, Session};
use rlhf_lm::OutputHeads;
use rlhf_objective::{Beta, Finish, KlPenalty, OutputSpec, Pairs, Prompt, Response, Sequences};
use rlhf_policy::{Draw, Sampling, sample};
use rlhf_tensor::{Rng, Storage, Stream};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Tokens of a prompt and of a response.
const LENGTHS: (usize, usize) = (32, 64);
/// Responses per batch.
const ROWS: usize = 16;
/// Pairs per step of DPO.
const PAIRS: usize = 8;
/// Responses per prompt of RLOO.
const GROUP: usize = 4;
/// Passes of PPO over a rollout.
const EPOCHS: usize = 4;

/// The measurement of one workload.
pub(crate) struct Measured {
    pub(crate) batch: Batch,
    /// The tokens that tokens per second counts: response tokens if they are sampled, else all inputs.
    pub(crate) tokens: usize,
    pub(crate) operations: f64,
    /// Seconds of each repetition.
    pub(crate) seconds: Vec<f64>,
    /// Seconds of each repetition, by phase.
    pub(crate) phases: BTreeMap<String, Vec<f64>>,
    /// The operations of the phases for which they are counted.
    pub(crate) phase_operations: BTreeMap<&'static str, f64>,
}

/// Times one workload. Run folders are written to `scratch`.
pub(crate) fn measure(
    workload: Workload,
    size: &Size,
    settings: &Settings,
    scratch: &Path,
) -> Result<Measured> {
    match workload {
        Workload::Generate => generate(size, settings),
        Workload::Score => score(size, settings),
        Workload::Train => sft(size, settings, scratch),
        Workload::Dpo => dpo(size, settings, scratch),
        Workload::Ppo => ppo(size, settings, scratch),
        Workload::Rloo => rloo(size, settings, scratch),
    }
}

/// `count` random tokens of a vocabulary of `vocab`.
#[must_use]
pub fn tokens(rng: &mut Rng, vocab: usize, count: usize) -> Vec<u32> {
    (0..count).map(|_| rng.below(vocab) as u32).collect()
}

/// A batch of `sequences` sequences, `responses` per prompt, with the overrides of `shape`.
fn batch(sequences: usize, responses: usize, shape: &Shape) -> Batch {
    let or = |given: Option<NonZeroUsize>, default| given.map_or(default, NonZeroUsize::get);
    Batch {
        count: or(shape.batch, sequences).div_ceil(responses),
        responses,
        prompt: or(shape.prompt, LENGTHS.0),
        response: or(shape.response, LENGTHS.1),
    }
}

/// Sequences of random tokens in the shape of a batch.
fn random(batch: &Batch, vocab: usize) -> Result<Sequences> {
    let mut rng = Rng::new(1, Stream::Data, 0, 0);
    let prompts = (0..batch.count).map(|_| Prompt::from_ids(tokens(&mut rng, vocab, batch.prompt)));
    let prompts = prompts.collect();
    let responses = (0..batch.count * batch.responses).map(|index| {
        let ids = tokens(&mut rng, vocab, batch.response);
        Response::new(index / batch.responses, ids, Finish::Length)
    });
    Ok(Sequences::new(prompts, responses.collect())?)
}

/// Times `repeats` repetitions of some work, after one that is not counted because it allocates memory.
/// With 0 repeats the first is counted. `work` returns seconds by phase.
fn repeat(
    repeats: usize,
    mut work: impl FnMut() -> Result<BTreeMap<String, f64>>,
) -> Result<Times> {
    let mut times = Times::default();
    for round in 0..=repeats {
        let since = Instant::now();
        let phases = work()?;
        if round > 0 || repeats == 0 {
            times.seconds.push(since.elapsed().as_secs_f64());
            for (name, seconds) in phases {
                times.phases.entry(name).or_default().push(seconds);
            }
        }
    }
    Ok(times)
}

#[derive(Debug, Default)]
struct Times {
    seconds: Vec<f64>,
    phases: BTreeMap<String, Vec<f64>>,
}

fn generate(size: &Size, settings: &Settings) -> Result<Measured> {
    let batch = batch(ROWS, 1, &settings.shape);
    let mut model = size.load(Storage::Frozen, OutputHeads::Language)?;
    let prompts: Vec<Arc<Prompt>> = random(&batch, size.shape.vocab)?.prompts().to_vec();
    let sampling = Sampling {
        samples: 1,
        max_new_tokens: batch.response,
        rows: batch.count,
        stop: size.shape.eos.into_iter().collect(),
        context: size.shape.context,
        draw: Draw::Sample,
        seed: 1,
        step: 0,
    };
    let mut drawn = 0;
    let times = repeat(settings.repeats, || {
        let since = Instant::now();
        let mut decoder = Timed::new(model.decoder()?);
        let packing = since.elapsed().as_secs_f64();
        let sampled = sample(&mut decoder, &prompts, &sampling, &|_| String::new())?;
        drawn = sampled.sequences.tokens();
        let phases = [
            ("pack weights", packing),
            ("prompts", decoder.starts),
            ("tokens", decoder.steps),
        ];
        Ok(phases
            .map(|(name, seconds)| (name.to_string(), seconds))
            .into())
    })?;
    let operations = batch.forward(&size.shape, Forward::Language);
    let prompt_operations = Batch {
        response: 1,
        ..batch
    }
    .forward(&size.shape, Forward::Language);
    Ok(Measured {
        batch,
        tokens: drawn,
        operations,
        seconds: times.seconds,
        phases: times.phases,
        phase_operations: [
            ("prompts", prompt_operations),
            ("tokens", operations - prompt_operations),
        ]
        .into(),
    })
}

fn score(size: &Size, settings: &Settings) -> Result<Measured> {
    let batch = batch(ROWS, 1, &settings.shape);
    let mut model = size.load(Storage::Frozen, OutputHeads::Language)?;
    let sequences = random(&batch, size.shape.vocab)?;
    let times = repeat(settings.repeats, || {
        model.forward(&sequences, OutputSpec::SCORE)?;
        Ok(BTreeMap::new())
    })?;
    Ok(Measured {
        batch,
        tokens: sequences.network_tokens(0..sequences.len()),
        operations: batch.forward(&size.shape, Forward::Language),
        seconds: times.seconds,
        phases: times.phases,
        phase_operations: BTreeMap::new(),
    })
}

/// The times of the steps of a training run in `scratch`, counted as in [`repeat`]. `run_settings` are
/// settings of the run as `--set` takes them.
fn steps(
    scratch: &Path,
    size: &Size,
    (settings, batch): (&Settings, &Batch),
    run_settings: &[&str],
) -> Result<Times> {
    let folder = scratch.join("run");
    let sequences = batch.count * batch.responses;
    let tokens = sequences * (batch.prompt + batch.response);
    let shared = [
        format!("model.path={}", size.folder.display()),
        "train.checkpoints=1".into(),
        "train.samples=0".into(),
        format!("train.micro_batch_tokens={}", tokens.max(4096)),
        format!(
            "train.activation_checkpointing={}",
            settings.shape.activation_checkpointing()
        ),
    ];
    let run_settings: Vec<_> = run_settings
        .iter()
        .map(ToString::to_string)
        .chain(shared)
        .chain(size.settings())
        .collect();
    Session::default().fit_with(&run_settings, &folder)?;
    let mut times = Times::default();
    let rows = rlhf_journal::timing(&folder)?;
    for row in rows.into_iter().skip(settings.repeats.min(1)) {
        for (name, seconds) in row.values {
            match name.strip_prefix("seconds/") {
                Some(phase) => times.phases.entry(phase.into()).or_default().push(seconds),
                None if name == "seconds" => times.seconds.push(seconds),
                None => {}
            }
        }
    }
    Ok(times)
}

/// Writes rows of random token ids; returns the setting that names the file.
fn data(scratch: &Path, size: &Size, rows: usize, fields: &[(&str, usize)]) -> Result<String> {
    let mut rng = Rng::new(1, Stream::Data, 0, 0);
    let mut row = || -> serde_json::Map<_, _> {
        let ids = |&(name, count): &(&str, usize)| {
            (
                format!("{name}_ids"),
                json!(tokens(&mut rng, size.shape.vocab, count)),
            )
        };
        fields.iter().map(ids).collect()
    };
    let lines: String = (0..rows)
        .map(|_| format!("{}\n", Value::Object(row())))
        .collect();
    let path = scratch.join("data.jsonl");
    fs::write(&path, lines)?;
    Ok(format!("data.train={}", path.display()))
}

/// Supervised fine-tuning on documents of 96 tokens, or 128 at GPT-2's size. The first token is the prompt.
fn sft(size: &Size, settings: &Settings, scratch: &Path) -> Result<Measured> {
    let (count, length) = if size.shape.width >= 768 {
        (8, 128)
    } else {
        (16, 96)
    };
    let shape = Shape {
        prompt: settings.shape.prompt.or(NonZeroUsize::new(1)),
        response: settings.shape.response.or(NonZeroUsize::new(length - 1)),
        ..settings.shape.clone()
    };
    let batch = batch(count, 1, &shape);
    let fields = [("prompt", batch.prompt), ("completion", batch.response)];
    let data = data(scratch, size, batch.count * (settings.repeats + 1), &fields)?;
    let batch_size = format!("train.batch_size={}", batch.count);
    let run_settings = [
        "objective=sft",
        &data,
        "data.held_out_fraction=0.0",
        "train.epochs=1",
        &batch_size,
    ];
    let times = steps(scratch, size, (settings, &batch), &run_settings)?;
    let operations = batch.training(&size.shape, Forward::Language);
    Ok(Measured {
        batch,
        tokens: batch.count * (batch.prompt + batch.response),
        operations,
        seconds: times.seconds,
        phases: times.phases,
        phase_operations: [
            ("forward", operations / 3.0),
            ("backward", operations / 1.5),
        ]
        .into(),
    })
}

/// A step of DPO, with the prior log-probs of its pairs, which a run computes once before the first epoch.
fn dpo(size: &Size, settings: &Settings, scratch: &Path) -> Result<Measured> {
    let batch = batch(2 * PAIRS, 2, &settings.shape);
    let fields = [
        ("prompt", batch.prompt),
        ("chosen", batch.response),
        ("rejected", batch.response),
    ];
    let data = data(scratch, size, batch.count * (settings.repeats + 1), &fields)?;
    let pairs = format!("train.batch_size={}", batch.count);
    let run_settings = [
        "objective=dpo",
        &data,
        "data.held_out_fraction=0.0",
        "train.epochs=1",
        &pairs,
    ];
    let mut times = steps(scratch, size, (settings, &batch), &run_settings)?;
    let prior = Box::new(rlhf_prior::Frozen::new(size.prior()?)?);
    let mut penalty = KlPenalty::new(prior, Beta::Fixed(0.1));
    let sequences = random(&batch, size.shape.vocab)?;
    let prior_times = repeat(settings.repeats, || {
        penalty.with_prior(Pairs::new(sequences.clone())?, usize::MAX)?;
        Ok(BTreeMap::new())
    })?;
    for (step, prior) in times.seconds.iter_mut().zip(&prior_times.seconds) {
        *step += prior;
    }
    times.phases.insert("prior".into(), prior_times.seconds);
    let forward = batch.forward(&size.shape, Forward::Language);
    Ok(Measured {
        batch,
        tokens: batch.count * 2 * (batch.prompt + batch.response),
        operations: 4.0 * forward,
        seconds: times.seconds,
        phases: times.phases,
        phase_operations: [
            ("forward", forward),
            ("backward", 2.0 * forward),
            ("prior", forward),
        ]
        .into(),
    })
}

fn ppo(size: &Size, settings: &Settings, scratch: &Path) -> Result<Measured> {
    let batch = batch(ROWS, 1, &settings.shape);
    let epochs = format!("method.epochs={EPOCHS}");
    let critic = format!("model.critic={}", settings.critic.name());
    let method = [
        "objective=ppo-kl",
        &critic,
        &epochs,
        "sampling.samples_per_prompt=1",
    ];
    let times = online(size, &batch, settings, scratch, &method)?;
    let forward = batch.forward(&size.shape, Forward::Language);
    let critic_forward = match settings.critic {
        Critic::Head => 0.0,
        Critic::Separate => batch.forward(&size.shape, Forward::Values),
    };
    let scoring = 2.0 * forward + critic_forward + batch.forward(&size.shape, Forward::Score);
    // The first forward pass of the update is part of scoring.
    let update = (EPOCHS as f64 * 3.0 - 1.0) * (forward + critic_forward);
    Ok(sampled(batch, times, [forward, scoring, update]))
}

fn rloo(size: &Size, settings: &Settings, scratch: &Path) -> Result<Measured> {
    let batch = batch(ROWS, GROUP, &settings.shape);
    let group = format!("sampling.samples_per_prompt={GROUP}");
    let method = ["objective=rloo", &group];
    let times = online(size, &batch, settings, scratch, &method)?;
    let forward = batch.forward(&size.shape, Forward::Language);
    let scoring = 2.0 * forward + batch.forward(&size.shape, Forward::Score);
    Ok(sampled(batch, times, [forward, scoring, 2.0 * forward]))
}

/// Times online iterations with a reward model of the same size. `method` selects the method.
fn online(
    size: &Size,
    batch: &Batch,
    settings: &Settings,
    scratch: &Path,
    method: &[&str],
) -> Result<Times> {
    let rows = batch.count * batch.responses;
    let reward = scratch.join("reward");
    size.reward_model(&reward)?;
    let data = data(
        scratch,
        size,
        batch.count * (settings.repeats + 1),
        &[("prompt", batch.prompt)],
    )?;
    let shared = [
        data,
        "reward.kind=model".into(),
        format!("reward.folder={}", reward.display()),
        "data.held_out_fraction=0.0".into(),
        format!("sampling.max_new_tokens={}", batch.response),
        format!("sampling.rollouts={rows}"),
        format!("sampling.rows={rows}"),
        format!("train.iterations={}", settings.repeats + 1),
    ];
    let run_settings: Vec<&str> = method
        .iter()
        .copied()
        .chain(shared.iter().map(String::as_str))
        .collect();
    steps(scratch, size, (settings, batch), &run_settings)
}

/// The measurement of an online method. `operations` are those of sampling, scoring and updating.
fn sampled(batch: Batch, times: Times, operations: [f64; 3]) -> Measured {
    Measured {
        batch,
        tokens: batch.tokens(),
        operations: operations.iter().sum(),
        seconds: times.seconds,
        phases: times.phases,
        phase_operations: ["sample", "score", "update"]
            .into_iter()
            .zip(operations)
            .collect(),
    }
}
