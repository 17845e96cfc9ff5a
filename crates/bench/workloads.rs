//! What is timed: the shapes, and the work on them.

use crate::operations::{Batch, Reads};
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
/// Responses sampled, scored or learned from at a time; pairs of a step.
const ROWS: usize = 16;
const PAIRS: usize = 8;
/// Responses to each prompt, where they are compared with each other.
const GROUP: usize = 4;
/// How often PPO goes through a rollout.
const EPOCHS: usize = 4;

/// What was measured of one workload.
pub(crate) struct Measured {
    pub(crate) batch: Batch,
    /// Tokens that a second's rate counts: responses' where they are sampled, else all that are read.
    pub(crate) tokens: usize,
    pub(crate) operations: f64,
    /// Seconds of each repetition, whole and by phase.
    pub(crate) seconds: Vec<f64>,
    pub(crate) phases: BTreeMap<String, Vec<f64>>,
    /// The operations of phases that have a name for them.
    pub(crate) of_phase: BTreeMap<&'static str, f64>,
}

/// Times one workload; runs leave their folders in `scratch`.
pub(crate) fn measure(
    workload: Workload,
    size: &Size,
    asked: &Settings,
    scratch: &Path,
) -> Result<Measured> {
    match workload {
        Workload::Generate => generate(size, asked),
        Workload::Score => score(size, asked),
        Workload::Train => language(size, asked, scratch),
        Workload::Dpo => dpo(size, asked, scratch),
        Workload::Ppo => ppo(size, asked, scratch),
        Workload::Rloo => rloo(size, asked, scratch),
    }
}

/// `count` random tokens of a vocabulary of `vocab`.
#[must_use]
pub fn tokens(rng: &mut Rng, vocab: usize, count: usize) -> Vec<u32> {
    (0..count).map(|_| rng.below(vocab) as u32).collect()
}

/// `sequences` of them, `responses` to each prompt, where nothing else is asked for.
fn batch(sequences: usize, responses: usize, shape: &Shape) -> Batch {
    let or = |asked: Option<NonZeroUsize>, own| asked.map_or(own, NonZeroUsize::get);
    Batch {
        count: or(shape.batch, sequences).div_ceil(responses),
        responses,
        prompt: or(shape.prompt, LENGTHS.0),
        response: or(shape.response, LENGTHS.1),
    }
}

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

/// Repeats some work, once more than it counts, because the first time memory is new; with no
/// repeats the first counts.
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

fn generate(size: &Size, asked: &Settings) -> Result<Measured> {
    let batch = batch(ROWS, 1, &asked.shape);
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
    let times = repeat(asked.repeats, || {
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
    let operations = batch.forward(&size.shape, Reads::Language);
    let of_prompts = Batch {
        response: 1,
        ..batch
    }
    .forward(&size.shape, Reads::Language);
    Ok(Measured {
        batch,
        tokens: drawn,
        operations,
        seconds: times.seconds,
        phases: times.phases,
        of_phase: [("prompts", of_prompts), ("tokens", operations - of_prompts)].into(),
    })
}

fn score(size: &Size, asked: &Settings) -> Result<Measured> {
    let batch = batch(ROWS, 1, &asked.shape);
    let mut model = size.load(Storage::Frozen, OutputHeads::Language)?;
    let sequences = random(&batch, size.shape.vocab)?;
    let times = repeat(asked.repeats, || {
        model.forward(&sequences, OutputSpec::SCORE)?;
        Ok(BTreeMap::new())
    })?;
    Ok(Measured {
        batch,
        tokens: sequences.network_tokens(0..sequences.len()),
        operations: batch.forward(&size.shape, Reads::Language),
        seconds: times.seconds,
        phases: times.phases,
        of_phase: BTreeMap::new(),
    })
}

/// The steps of a run of `rlhf train` in `scratch`, counted as in [`repeat`].
fn steps(
    scratch: &Path,
    size: &Size,
    (asked, batch): (&Settings, &Batch),
    settings: &[&str],
) -> Result<Times> {
    let folder = scratch.join("run");
    let sequences = batch.count * batch.responses;
    let read = sequences * (batch.prompt + batch.response);
    let fixed = [
        format!("model.path={}", size.folder.display()),
        "train.checkpoints=1".into(),
        "train.samples=0".into(),
        format!("train.micro_batch_tokens={}", read.max(4096)),
        format!(
            "train.activation_checkpointing={}",
            asked.shape.activation_checkpointing()
        ),
    ];
    let settings: Vec<_> = settings
        .iter()
        .map(ToString::to_string)
        .chain(fixed)
        .chain(size.settings())
        .collect();
    Session::default().fit_with(&settings, &folder)?;
    let mut times = Times::default();
    let rows = rlhf_journal::timing(&folder)?;
    for row in rows.into_iter().skip(asked.repeats.min(1)) {
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

/// Writes rows of random ids and answers the setting that reads them.
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

/// Documents of 96 tokens, of 128 at GPT-2's size: the first token is given.
fn language(size: &Size, asked: &Settings, scratch: &Path) -> Result<Measured> {
    let (count, length) = if size.shape.width >= 768 {
        (8, 128)
    } else {
        (16, 96)
    };
    let shape = Shape {
        prompt: asked.shape.prompt.or(NonZeroUsize::new(1)),
        response: asked.shape.response.or(NonZeroUsize::new(length - 1)),
        ..asked.shape.clone()
    };
    let batch = batch(count, 1, &shape);
    let fields = [("prompt", batch.prompt), ("completion", batch.response)];
    let data = data(scratch, size, batch.count * (asked.repeats + 1), &fields)?;
    let per_step = format!("train.batch_size={}", batch.count);
    let settings = [
        "objective=sft",
        &data,
        "data.held_out_fraction=0.0",
        "train.epochs=1",
        &per_step,
    ];
    let times = steps(scratch, size, (asked, &batch), &settings)?;
    let operations = batch.training(&size.shape, Reads::Language);
    Ok(Measured {
        batch,
        tokens: batch.count * (batch.prompt + batch.response),
        operations,
        seconds: times.seconds,
        phases: times.phases,
        of_phase: [
            ("forward", operations / 3.0),
            ("backward", operations / 1.5),
        ]
        .into(),
    })
}

/// A step on pairs, and what the prior says of them, which is asked once before the first pass.
fn dpo(size: &Size, asked: &Settings, scratch: &Path) -> Result<Measured> {
    let batch = batch(2 * PAIRS, 2, &asked.shape);
    let fields = [
        ("prompt", batch.prompt),
        ("chosen", batch.response),
        ("rejected", batch.response),
    ];
    let data = data(scratch, size, batch.count * (asked.repeats + 1), &fields)?;
    let pairs = format!("train.batch_size={}", batch.count);
    let settings = [
        "objective=dpo",
        &data,
        "data.held_out_fraction=0.0",
        "train.epochs=1",
        &pairs,
    ];
    let mut times = steps(scratch, size, (asked, &batch), &settings)?;
    let prior = Box::new(rlhf_prior::Frozen::new(size.prior()?)?);
    let mut penalty = KlPenalty::new(prior, Beta::Fixed(0.1));
    let sequences = random(&batch, size.shape.vocab)?;
    let of_prior = repeat(asked.repeats, || {
        penalty.with_prior(Pairs::new(sequences.clone())?, usize::MAX)?;
        Ok(BTreeMap::new())
    })?;
    for (whole, prior) in times.seconds.iter_mut().zip(&of_prior.seconds) {
        *whole += prior;
    }
    times.phases.insert("prior".into(), of_prior.seconds);
    let forward = batch.forward(&size.shape, Reads::Language);
    Ok(Measured {
        batch,
        tokens: batch.count * 2 * (batch.prompt + batch.response),
        operations: 4.0 * forward,
        seconds: times.seconds,
        phases: times.phases,
        of_phase: [
            ("forward", forward),
            ("backward", 2.0 * forward),
            ("prior", forward),
        ]
        .into(),
    })
}

fn ppo(size: &Size, asked: &Settings, scratch: &Path) -> Result<Measured> {
    let batch = batch(ROWS, 1, &asked.shape);
    let epochs = format!("method.epochs={EPOCHS}");
    let critic = format!("model.critic={}", asked.critic.name());
    let own = [
        "objective=ppo-kl",
        &critic,
        &epochs,
        "sampling.samples_per_prompt=1",
    ];
    let times = online(size, &batch, asked, scratch, &own)?;
    let forward = batch.forward(&size.shape, Reads::Language);
    let of_critic = match asked.critic {
        Critic::Head => 0.0,
        Critic::Separate => batch.forward(&size.shape, Reads::Values),
    };
    let scoring = 2.0 * forward + of_critic + batch.forward(&size.shape, Reads::Score);
    // The first forward pass is the scoring's.
    let update = (EPOCHS as f64 * 3.0 - 1.0) * (forward + of_critic);
    Ok(sampled(batch, times, [forward, scoring, update]))
}

fn rloo(size: &Size, asked: &Settings, scratch: &Path) -> Result<Measured> {
    let batch = batch(ROWS, GROUP, &asked.shape);
    let group = format!("sampling.samples_per_prompt={GROUP}");
    let times = online(size, &batch, asked, scratch, &["objective=rloo", &group])?;
    let forward = batch.forward(&size.shape, Reads::Language);
    let scoring = 2.0 * forward + batch.forward(&size.shape, Reads::Score);
    Ok(sampled(batch, times, [forward, scoring, 2.0 * forward]))
}

/// Iterations against a reward model of the same size.
fn online(
    size: &Size,
    batch: &Batch,
    asked: &Settings,
    scratch: &Path,
    own: &[&str],
) -> Result<Times> {
    let rows = batch.count * batch.responses;
    let reward = scratch.join("reward");
    size.reward_model(&reward)?;
    let data = data(
        scratch,
        size,
        batch.count * (asked.repeats + 1),
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
        format!("train.iterations={}", asked.repeats + 1),
    ];
    let settings: Vec<&str> = own
        .iter()
        .copied()
        .chain(shared.iter().map(String::as_str))
        .collect();
    steps(scratch, size, (asked, batch), &settings)
}

/// Operations of sampling, scoring and updating.
fn sampled(batch: Batch, times: Times, operations: [f64; 3]) -> Measured {
    Measured {
        batch,
        tokens: batch.tokens(),
        operations: operations.iter().sum(),
        seconds: times.seconds,
        phases: times.phases,
        of_phase: ["sample", "score", "update"]
            .into_iter()
            .zip(operations)
            .collect(),
    }
}
