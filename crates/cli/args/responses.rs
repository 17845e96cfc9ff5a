//! The arguments of `eval`, `generate` and `score`.

use super::number::{from_zero, positive};
use crate::names::{backends, dtypes};
use clap::Args;
use rlhf_experiment::{BackendName, DtypeName};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Measures the reward and the KL of runs.
///
/// Measures the expected reward and the exact KL to the prior, in nats per response, of every checkpoint on
/// held-out prompts; writes frontier.jsonl and kl_reward.svg.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf eval runs/ppo-kl-000 runs/dpo-000 --out both\n  rlhf eval \
    runs/sft-000 --reward lexicon:words.txt --json\n\nAll runs are measured with the reward and the \
    held-out prompts of the first, unless --reward\nor --prompts is given."
)]
pub(crate) struct EvalArgs {
    /// Run folders; all are plotted on the same axes.
    #[arg(required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// The reward to measure all runs with, as for train [default: that of the first run].
    #[arg(long)]
    pub(crate) reward: Option<String>,
    /// The prompts to measure on, as for train --data [default: those that the first run held out].
    #[arg(long)]
    pub(crate) prompts: Option<PathBuf>,
    /// The folder for frontier.jsonl and kl_reward.svg [default: the first run folder].
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// List every response instead of sampling: exact reward, KL, J = reward − β·KL, its gap to the
    /// optimum β·log Z, and the fraction of the prior's gap that is closed. For small vocabularies and
    /// short responses.
    #[arg(long, conflicts_with = "out")]
    pub(crate) exact: bool,
    /// Print the points as JSON lines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Samples responses from a model.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf generate --model gpt2/ --prompt 'the film was' -n 4\n  rlhf \
    generate --model gpt2/ --prompts prompts.jsonl --stop ' .' --temperature 0.7 --json"
)]
pub(crate) struct GenerateArgs {
    /// The checkpoint, a folder or a repository of the hub, owner/name[@revision].
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A prompt; may be repeated. Without a tokenizer: token ids separated by spaces.
    #[arg(long, required_unless_present = "prompts")]
    pub(crate) prompt: Vec<String>,
    /// A file of prompts, or a data set of the hub.
    #[arg(long, conflicts_with = "prompt")]
    pub(crate) prompts: Option<PathBuf>,
    /// Responses per prompt.
    #[arg(short, default_value = "1")]
    pub(crate) n: NonZeroUsize,
    /// The sampling temperature; 0 is greedy decoding.
    #[arg(long, default_value_t = 1.0, value_parser = from_zero)]
    pub(crate) temperature: f64,
    /// The greatest length of a response, tokens.
    #[arg(long, default_value = "64")]
    pub(crate) max_new_tokens: NonZeroUsize,
    /// A token that ends a response, in addition to the EOS: its text or its id; may be repeated.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) stop: Vec<String>,
    /// The precision of matrix products: bf16 is faster if the processor has avx512_bf16, and halves the
    /// memory traffic of weights on others.
    #[arg(long, value_parser = dtypes(), default_value = "f32")]
    pub(crate) dtype: DtypeName,
    /// The seed of the samples.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print one JSON object per response, with token ids and log-probs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Scores completions by the log-probs of a model, or by a reward.
///
/// Prints JSON lines in the order of the input; log-probs are in nats.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf score --model gpt2/ --input completions.jsonl\n  rlhf score --reward \
    reward/ --input completions.jsonl\n\nEach line of \
    the input is {\"prompt\": …, \"completion\": …} or {\"prompt_ids\": […], \
    \"completion_ids\": […]};\neach line of the output {\"log_probs\": […], \"log_prob\": their \
    sum, \"tokens\": their number},\nor {\"score\": …} with --reward, normalized by its reward.json if it has one, or null if a program or\nendpoint returns no score.\nFor log-probs no EOS is appended. \
    For a reward, an EOS is appended to a completion given as text, as\nin training, and not to completion_ids."
)]
pub(crate) struct ScoreArgs {
    /// The language model, a folder or a repository of the hub, owner/name[@revision]; with --reward, the
    /// model with the tokenizer for the reward.
    #[arg(long, required_unless_present = "reward")]
    pub(crate) model: Option<PathBuf>,
    /// A reward, as for train: a reward model, rule, program or endpoint.
    #[arg(long, conflicts_with = "temperature")]
    pub(crate) reward: Option<String>,
    /// The file of prompts and completions, or a data set of the hub.
    #[arg(long)]
    pub(crate) input: PathBuf,
    /// The temperature that logits are divided by.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub(crate) temperature: f64,
    /// The implementation of the network.
    #[arg(long, value_parser = backends(), default_value = "engine")]
    pub(crate) backend: BackendName,
    /// The precision of matrix products: bf16 is faster if the processor has avx512_bf16.
    #[arg(long, value_parser = dtypes(), default_value = "f32")]
    pub(crate) dtype: DtypeName,
}
