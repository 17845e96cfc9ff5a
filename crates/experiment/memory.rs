//! Estimates the peak memory of a run from checkpoint headers and the lengths of its data.

use crate::config::{Config, Critic, DtypeName};
use crate::method::Step;
use crate::networks::model_path;
use crate::prior::frozen_folders;
use anyhow::Result;
use rlhf_lm::{ActivationCheckpointing, AdapterSummary, Summary, inspect, plan_adapter};
use rlhf_objective::BatchSize;
use rlhf_objective::Purpose;

/// The mean size of one item of a data set: a prompt with its responses, a pair, a demonstration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PerItem {
    /// Input tokens of a forward pass.
    tokens: f64,
    /// Response tokens whose log-probs are computed.
    rows: f64,
}

impl PerItem {
    /// The mean over `items` items with `tokens` input tokens and `rows` response tokens in all.
    pub(crate) fn of(tokens: u64, rows: u64, items: usize) -> Self {
        let each = |count: u64| count as f64 / items.max(1) as f64;
        Self {
            tokens: each(tokens),
            rows: each(rows),
        }
    }

    /// A prompt of `prompt` tokens with its samples, each of the greatest length `length`.
    pub(crate) fn sampled(prompt: f64, length: f64, config: &Config) -> Self {
        let samples = config.sampling.samples_per_prompt as f64;
        Self {
            tokens: prompt + samples * (length - 1.0),
            rows: samples * length,
        }
    }
}

/// The adapter of the run: that of the settings, or that of the model's folder.
pub(crate) fn adapter(config: &Config) -> Result<Option<AdapterSummary>> {
    let spec = config.model.adapter.as_ref().map(|adapter| adapter.spec());
    Ok(plan_adapter(model_path(config)?, spec.as_ref())?)
}

/// The estimated peak in words, with its largest parts.
pub(crate) fn estimate(
    config: &Config,
    item: PerItem,
    adapter: Option<&AdapterSummary>,
) -> Result<String> {
    let model = inspect(model_path(config)?)?;
    let online = config.online();
    let (tokens, rows) = largest_micro_batch(config, item);
    let networks = match config.model.critic {
        Some(Critic::Separate) => 2,
        _ => 1,
    };
    let base = match config.model.frozen_dtype {
        DtypeName::F32 => model.memory.frozen,
        DtypeName::Bf16 => model.memory.frozen_bf16,
    };
    let trained = match adapter {
        None => networks * model.memory.trainable,
        // The weights once, and of each network the adapter with its gradients and moments.
        Some(adapter) => base + networks * 16 * adapter.parameters,
    };
    let mut activations = networks
        * model.forward_bytes(
            tokens,
            rows,
            (Purpose::Train, config.train.activation_checkpointing),
        );
    let mut frozen = 0;
    if online {
        for folder in frozen_folders(config)? {
            let other = inspect(&folder)?;
            let shared = adapter.is_some_and(|adapter| adapter.base == folder);
            frozen += if shared {
                0
            } else {
                match config.model.frozen_dtype {
                    DtypeName::F32 => other.memory.frozen,
                    DtypeName::Bf16 => other.memory.frozen_bf16,
                }
            };
            activations += other.forward_bytes(
                tokens,
                rows,
                (Purpose::Score, ActivationCheckpointing::None),
            );
        }
    }
    let sampling = if online {
        sampling(config, &model, item)
    } else {
        0
    };
    let parts = [
        ("weights, gradients and optimizer moments", trained),
        ("frozen networks", frozen),
        ("sampling", sampling),
        ("activations", activations),
        ("a checkpoint being written", model.largest_tensor_bytes()),
    ];
    let total: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    if total < 1 << 20 {
        return Ok("less than 1 MiB".into());
    }
    let parts = parts.iter().filter(|(_, bytes)| *bytes > total / 100);
    let parts: Vec<String> = parts
        .map(|(name, n)| format!("{name} {}", size(*n)))
        .collect();
    Ok(format!(
        "about {} at the peak: {}",
        size(total),
        parts.join(", ")
    ))
}

/// Input tokens and response tokens of the largest forward pass of an optimizer step.
fn largest_micro_batch(config: &Config, item: PerItem) -> (u64, u64) {
    let most = config.train.micro_batch_tokens as f64;
    let items = match config.method.configured().step() {
        Step::OfIteration(_) => {
            config.sampling.rollouts as f64 / config.sampling.samples_per_prompt as f64
        }
        Step::OfData(_) => match config.train.batch_size.unwrap_or_default() {
            BatchSize::Items(number) => number as f64,
            BatchSize::Tokens(number) => number as f64 / item.tokens,
        },
    };
    // A single item is never split.
    let tokens = (items * item.tokens).min(most).max(item.tokens);
    let rows = tokens * item.rows / item.tokens.max(1.0);
    (tokens.ceil() as u64, rows.ceil() as u64)
}

fn sampling(config: &Config, model: &Summary, item: PerItem) -> u64 {
    let rows = config.sampling.rows.min(config.sampling.rollouts);
    let samples = config.sampling.samples_per_prompt as f64;
    let prompt = item.tokens - item.rows + samples;
    let length = prompt + item.rows / samples;
    model.decoder_bytes(rows as u64, length.ceil() as u64)
}

fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match mib {
        1024.0.. => format!("{:.1} GiB", mib / 1024.0),
        10.0.. => format!("{mib:.0} MiB"),
        _ => format!("{mib:.1} MiB"),
    }
}
