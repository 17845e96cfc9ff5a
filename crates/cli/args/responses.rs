//! What `eval`, `generate` and `score` are given: they look at responses.

use super::number::{from_zero, positive};
use crate::names::{backends, dtypes};
use clap::Args;
use rlhf_experiment::{BackendName, DtypeName};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Measures runs: how much reward was bought with how much KL.
///
/// Expected reward and exact KL to the prior of every checkpoint, in nats a response, on held-out
/// prompts; writes frontier.jsonl and kl_reward.svg.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf eval runs/ppo-kl-000 runs/dpo-000 --out both\n  rlhf eval \
    runs/sft-000 --reward lexicon:words.txt --json\n\nAll runs are measured by the reward and on the \
    held-out prompts of the first, unless --reward\nand --prompts say otherwise."
)]
pub(crate) struct EvalArgs {
    /// Run folders; all are drawn on the same axes.
    #[arg(required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// Another reward than the first run's, as for train; all runs are measured by it.
    #[arg(long)]
    pub(crate) reward: Option<String>,
    /// Prompts to use instead of those the first run held out, as for train --data.
    #[arg(long)]
    pub(crate) prompts: Option<PathBuf>,
    /// Where frontier.jsonl and kl_reward.svg go [default: the first run folder].
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// List every response instead of drawing some: exact reward, KL, J = reward − β·KL, its gap to
    /// the optimum β·log Z, and the share of the prior's gap that is closed. For small vocabularies
    /// and short responses.
    #[arg(long, conflicts_with = "out")]
    pub(crate) exact: bool,
    /// Print the points as JSON lines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Draws responses from a model.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf generate --model gpt2/ --prompt 'the film was' -n 4\n  rlhf \
    generate --model gpt2/ --prompts prompts.jsonl --stop ' .' --temperature 0.7 --json"
)]
pub(crate) struct GenerateArgs {
    /// The checkpoint, a folder or a repository of the hub, owner/name[@revision].
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A prompt; may be repeated. Without a tokenizer: token ids separated by blanks.
    #[arg(long, required_unless_present = "prompts")]
    pub(crate) prompt: Vec<String>,
    /// A file of prompts, or a data set of the hub.
    #[arg(long, conflicts_with = "prompt")]
    pub(crate) prompts: Option<PathBuf>,
    /// How many responses to each prompt.
    #[arg(short, default_value = "1")]
    pub(crate) n: NonZeroUsize,
    /// What logits are divided by; 0 takes the likeliest token each time.
    #[arg(long, default_value_t = 1.0, value_parser = from_zero)]
    pub(crate) temperature: f64,
    /// The greatest length of a response, tokens.
    #[arg(long, default_value = "64")]
    pub(crate) max_new_tokens: NonZeroUsize,
    /// A token that ends a response, besides the EOS: its text or its id; may be repeated.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) stop: Vec<String>,
    /// What products are computed in: bf16 is faster where the processor has avx512_bf16, and reads
    /// half the bytes of weights elsewhere.
    #[arg(long, value_parser = dtypes(), default_value = "f32")]
    pub(crate) dtype: DtypeName,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print one JSON object a response, with ids and log-probs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Scores completions: log-probs of a model, or what a reward says.
///
/// Prints JSON lines in the order of the input; log-probs are in nats.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf score --model gpt2/ --input completions.jsonl\n  rlhf score --reward \
    reward/ --input completions.jsonl\n\nEach line of \
    the input is {\"prompt\": …, \"completion\": …} or {\"prompt_ids\": […], \
    \"completion_ids\": […]};\neach line of the output {\"log_probs\": […], \"log_prob\": their \
    sum, \"tokens\": their number},\nor {\"score\": …} with --reward, scaled by its reward.json if it has one, or null where a program or an\nendpoint has no opinion.\nNo EOS is appended to score \
    log-probs; a reward reads a completion given as text with an EOS,\nas in training, and completion_ids as they are."
)]
pub(crate) struct ScoreArgs {
    /// The language model, a folder or a repository of the hub, owner/name[@revision]; with --reward,
    /// whose tokenizer the rule is to use.
    #[arg(long, required_unless_present = "reward")]
    pub(crate) model: Option<PathBuf>,
    /// A reward as for train: a reward model, or a rule, program or endpoint.
    #[arg(long, conflicts_with = "temperature")]
    pub(crate) reward: Option<String>,
    /// The file of prompts and completions, or a data set of the hub.
    #[arg(long)]
    pub(crate) input: PathBuf,
    /// What logits are divided by.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub(crate) temperature: f64,
    /// Which implementation of the network computes.
    #[arg(long, value_parser = backends(), default_value = "engine")]
    pub(crate) backend: BackendName,
    /// What products are computed in: bf16 is faster where the processor has avx512_bf16.
    #[arg(long, value_parser = dtypes(), default_value = "f32")]
    pub(crate) dtype: DtypeName,
}
