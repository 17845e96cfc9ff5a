//! What was typed.

use crate::config::{BackendName, DtypeName, ObjectiveName, PriorKind};
use crate::help;
use crate::layers::Layers;
use crate::resolve;
use crate::tabular::TabularMethod;
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Aligns small language models by KL-regularized policy optimization:
/// maximizes E[reward] − β·KL(policy ‖ prior).
#[derive(Debug, Parser)]
#[command(
    name = "rlhf",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = HELP
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const HELP: &str = "Example: a first look, in about a minute, with nothing to download
  rlhf train --out first
  rlhf generate --model first/final --prompt 'the film was' -n 3
  rlhf eval first

rlhf COMMAND --help says more, with an example. A model is a folder in Hugging Face layout.
Exit codes: 0 done, 1 failed, 2 bad usage or settings, 130 interrupted after saving.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Train(Box<TrainArgs>),
    Eval(EvalArgs),
    Generate(GenerateArgs),
    Score(ScoreArgs),
    Oracle(OracleArgs),
    /// Looks at a checkpoint, fetches one, or makes a random one.
    #[command(subcommand)]
    Model(ModelCommand),
    Bench(BenchArgs),
    /// Looks at a data set.
    #[command(subcommand)]
    Data(DataCommand),
}

/// Trains a policy.
///
/// Without a model and data of yours, it is the small world inside the program that is trained on: film
/// reviews, a model that writes them, and a reward model.
#[derive(Debug, Default, Args)]
#[command(after_help = help::EXAMPLE, after_long_help = help::train())]
pub(crate) struct TrainArgs {
    /// What to run: a method with its prior [default: ppo-kl].
    #[arg(long)]
    pub(crate) objective: Option<ObjectiveName>,
    /// A TOML file of settings; see configs/.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// The checkpoint to start from, a folder or a repository of the hub, owner/name[@revision]
    /// (model.path).
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The prior: counting, uniform, reference (the model itself), a checkpoint as for --model, or a file of
    /// demonstrations, to which a copy of the model is fitted before the run
    /// [default: the objective's].
    ///
    /// A checkpoint is the model of a reference, or of demonstrations where the objective or the
    /// config file has such a prior. A file is a path that ends in .jsonl, .json or .txt, or names a
    /// file. Write demonstrations:PATH to have either as demonstrations in any case. It sets
    /// prior.kind with prior.model or prior.data, and keeps the other settings of [prior] where the
    /// kind stays. Mixtures are written in a config file.
    #[arg(long)]
    pub(crate) prior: Option<String>,
    /// The reward: a rule as lexicon:FILE, a reward model as for --model, command:PROGRAM,
    /// http://…, and more: see below with --help.
    #[arg(long)]
    pub(crate) reward: Option<String>,
    /// The data file, JSONL, a JSON array or plain text, or a data set of the hub,
    /// owner/name[@revision] (data.train).
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// The price of a nat of KL, in units of the reward.
    #[arg(long)]
    pub(crate) beta: Option<f64>,
    /// What products are computed in: f32, or bf16, which is faster where the processor has
    /// avx512_bf16 (model.dtype).
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<DtypeName>,
    /// The seed of everything random (train.seed).
    #[arg(long)]
    pub(crate) seed: Option<u32>,
    /// Any setting, as in --set optim.learning_rate=1e-4; wins over the file. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The run folder [default: runs/OBJECTIVE-NNN, the next free number].
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Continue an interrupted run in the run folder --out, with the settings it was started with.
    #[arg(
        long,
        requires = "out",
        conflicts_with_all = ["overwrite", "dry_run", "objective", "config", "model", "prior", "reward",
            "data", "beta", "dtype", "seed", "set"]
    )]
    pub(crate) resume: bool,
    /// Replace what is in the run folder.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Check everything, print the target, the plan and the memory it takes, and train nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl TrainArgs {
    /// The settings given, as layers over the defaults.
    pub(crate) fn layers(&self) -> Result<Layers> {
        let mut layers = Layers::new(self.config.as_deref())?;
        self.add_to(&mut layers)?;
        Ok(layers)
    }

    /// Lays what was typed over other layers.
    pub(crate) fn add_to(&self, layers: &mut Layers) -> Result<()> {
        if let Some(objective) = self.objective {
            layers.put("--objective", "objective", objective.to_string());
        }
        for (flag, key, value) in [
            ("--model", "model.path", &self.model),
            ("--data", "data.train", &self.data),
        ] {
            if let Some(value) = value {
                layers.put(flag, key, value.clone());
            }
        }
        if let Some(prior) = &self.prior {
            layers.put("--prior", "prior", named_prior(prior, layers.prior_kind()?));
        }
        if let Some(reward) = &self.reward {
            let rule = resolve::reward(reward)?;
            layers.put("--reward", "reward", toml::Value::try_from(rule)?);
        }
        if let Some(beta) = self.beta {
            layers.put("--beta", "beta", beta);
        }
        if let Some(dtype) = self.dtype {
            layers.put("--dtype", "model.dtype", dtype.name());
        }
        if let Some(seed) = self.seed {
            layers.put("--seed", "train.seed", i64::from(seed));
        }
        for typed in &self.set {
            layers.set(typed)?;
        }
        Ok(())
    }

    /// Whether nothing says what to train on: then it is the small world.
    pub(crate) fn is_bare(&self) -> bool {
        let sets = |key: &str| {
            self.set
                .iter()
                .any(|typed| typed.trim_start().starts_with(key))
        };
        let given = self.config.is_some() || self.model.is_some() || self.data.is_some();
        !given && !sets("model.path") && !sets("data.train")
    }
}

/// `[prior]` as `--prior` names it, where it would else be of this kind.
fn named_prior(typed: &str, kind: PriorKind) -> toml::Table {
    let is_data = |path: &str| {
        let extension = Path::new(path).extension();
        let known = extension.is_some_and(|e| ["jsonl", "json", "txt"].iter().any(|x| e == *x));
        (known && !Path::new(path).is_dir()) || Path::new(path).is_file()
    };
    let demonstrations = typed.strip_prefix("demonstrations:");
    let path = demonstrations.unwrap_or(typed);
    let demonstrated = demonstrations.is_some() || kind == PriorKind::Demonstrations;
    let (kind, source) = match typed {
        "counting" | "uniform" | "reference" => (typed, None),
        _ if is_data(path) => ("demonstrations", Some("data")),
        _ if demonstrated => ("demonstrations", Some("model")),
        _ => ("reference", Some("model")),
    };
    let mut table = toml::Table::from_iter([("kind".into(), kind.into())]);
    table.extend(source.map(|source| (source.to_string(), path.into())));
    table
}

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

impl EvalArgs {
    /// These runs, and nothing else.
    pub(crate) fn of(runs: Vec<PathBuf>) -> Self {
        Self {
            runs,
            reward: None,
            prompts: None,
            out: None,
            exact: false,
            json: false,
        }
    }
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
    #[arg(long, value_enum, default_value_t = DtypeName::F32)]
    pub(crate) dtype: DtypeName,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print one JSON object a response, with ids and log-probs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Scores completions: log-probs of a model, or what a reward model says.
///
/// Prints JSON lines in the order of the input; log-probs are in nats.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf score --model gpt2/ --input completions.jsonl\n  rlhf score --reward \
    reward/ --input completions.jsonl\n\nEach line of \
    the input is {\"prompt\": …, \"completion\": …} or {\"prompt_ids\": […], \
    \"completion_ids\": […]};\neach line of the output {\"log_probs\": […], \"log_prob\": their \
    sum, \"tokens\": their number},\nor {\"score\": …} with --reward, scaled by its reward.json if it has one.\nNo EOS is appended to score \
    log-probs; a reward model reads a completion given as text\nwith its EOS, as in training."
)]
pub(crate) struct ScoreArgs {
    /// The language model, a folder or a repository of the hub, owner/name[@revision].
    #[arg(long, required_unless_present = "reward")]
    pub(crate) model: Option<PathBuf>,
    /// The reward model, as for --model.
    #[arg(long, conflicts_with_all = ["model", "temperature"])]
    pub(crate) reward: Option<PathBuf>,
    /// The file of prompts and completions, or a data set of the hub.
    #[arg(long)]
    pub(crate) input: PathBuf,
    /// What logits are divided by.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub(crate) temperature: f64,
    /// Which implementation of the network computes.
    #[arg(long, value_enum, default_value_t = BackendName::Engine)]
    pub(crate) backend: BackendName,
    /// What products are computed in: bf16 is faster where the processor has avx512_bf16.
    #[arg(long, value_enum, default_value_t = DtypeName::F32)]
    pub(crate) dtype: DtypeName,
}

/// Solves a problem small enough to enumerate, exactly; with a method, trains it there from nothing
/// and says how near it came.
#[derive(Debug, Args)]
#[command(after_help = ORACLE_HELP)]
pub(crate) struct OracleArgs {
    /// The problem, a JSON file.
    pub(crate) problem: PathBuf,
    /// Train this method on a table of one row a prefix, over the same tokens.
    #[arg(long, value_enum)]
    pub(crate) method: Option<TabularMethod>,
    /// The seed of the method.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A setting of the method: steps, responses, learning_rate, decay or epochs. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", requires = "method")]
    pub(crate) set: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The first problem is pasted by a test.
const ORACLE_HELP: &str = r#"Example: control as inference with two actions. In two.json

  {"vocab": 2, "eos": null, "horizon": 1, "beta": 1.0, "gamma": 1.0,
   "prior": "counting", "reward": {"0": 1.0, "1": 0.0}}

  rlhf oracle two.json
  rlhf oracle two.json --method rloo

Rewards are (1, 0), α = 1, and there is no prior: V = log(e + 1) = 1.3133 and π = (.7311, .2689).

A token problem has A tokens, 0..A. A response is complete when it ends with eos or has as many
tokens as the horizon; prefixes and responses are ids joined by spaces.
  {"vocab": A, "eos": id or null, "horizon": T, "beta": β, "gamma": γ,
   "prior": {"": [p, …], "0 1": [p, …], …} or "uniform" or "counting",
   "reward": {"0 0 2": r, …}}       a row for each incomplete prefix, a reward for each response
--json prints log_z (nats), value = β·log Z, then expected_reward, kl, entropy and elbo of the
optimum, prior_elbo, values and policy of each prefix, and the frontier. A method adds method, gap,
kl_to_optimum = gap/β (nats), samples and its path; elbo is then the method's.

A decision process may have consequences drawn by chance; values of terminal states are 0.
  {"states": n, "terminal": [s, …], "alpha": α, "gamma": γ,
   "actions": [{"state": s, "action": a, "reward": r, "next": [[s2, p], …]}, …]}
--json prints variational and naive_exact, each with values and policy; the naive form with the
true_values that its policy earns."#;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Describes a checkpoint from its headers: shape, parameters, memory.
    #[command(after_help = "Example:\n  rlhf model inspect gpt2/")]
    Inspect {
        /// The checkpoint, a folder or a repository of the hub, owner/name[@revision].
        folder: PathBuf,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fetches a checkpoint from the hub and prints its folder.
    #[command(
        after_help = "Example:\n  rlhf model fetch openai-community/gpt2\n\nHF_ENDPOINT, HF_HOME, \
        HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH and HF_HUB_OFFLINE mean what they mean\nto Python's \
        huggingface_hub, and the cache is the same."
    )]
    Fetch {
        /// The repository, owner/name[@revision]; a revision is a branch, a tag or a commit.
        repository: String,
        /// Print the folder and the commit as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Writes a checkpoint of random weights.
    #[command(after_help = "Example:\n  rlhf model init config.json fresh/ --seed 3")]
    Init {
        /// A config.json of GPT-2 in Hugging Face layout.
        config: PathBuf,
        /// The folder to write; must not exist or be empty.
        out: PathBuf,
        /// The seed of the weights.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Measures this program on this machine: how fast it is, or with --suite which requirements it
/// reaches.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rlhf bench --size small --workload train --json\n  \
    RLHF_TEST_DATA=data rlhf bench --suite rewards --seeds 1\n\nOperations are counted: one for each \
    multiplication and each addition of a matrix product that the\nworkload needs. The peak is that of \
    a 1024 × 1024 × 1024 product, measured before and after."
)]
pub(crate) struct BenchArgs {
    /// The suite; `acceptance` runs all of them.
    #[arg(long, conflicts_with_all = ["workload", "size", "repeats", "critic", "growth"])]
    pub(crate) suite: Option<String>,
    /// Draw how tokens/s and memory grow with batch, length, vocabulary, model and threads, into this
    /// SVG file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "size"])]
    pub(crate) growth: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    /// How many seeds a suite trains with, where it trains.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..), requires = "suite")]
    pub(crate) seeds: u32,
    /// The folder of real checkpoints and data that some suites need.
    #[arg(long, env = "RLHF_TEST_DATA", hide_env_values = true)]
    pub(crate) real_data: Option<PathBuf>,
    /// The network: tiny, small or gpt2, with random weights, or a checkpoint folder.
    #[arg(long, default_value = "tiny")]
    pub(crate) size: String,
    /// What to time [default: everything, each in a process of its own].
    #[arg(long, value_enum)]
    pub(crate) workload: Option<Workload>,
    /// Where PPO has its values from.
    #[arg(long, value_enum, default_value_t = CriticName::Head)]
    pub(crate) critic: CriticName,
    /// How often each workload is timed, after a first time that does not count; 0 counts the first.
    #[arg(long, default_value_t = 3)]
    pub(crate) repeats: usize,
    /// What products are computed in, and the peak they are compared with.
    #[arg(long, value_enum, default_value_t = DtypeName::F32)]
    pub(crate) dtype: DtypeName,
    /// Threads; 0 takes as many as there are cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn from_zero(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    match number.is_finite() && number >= 0.0 {
        true => Ok(number),
        false => Err("must be a number from 0".into()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match from_zero(text)? {
        0.0 => Err("must be a positive number".into()),
        number => Ok(number),
    }
}

/// Another shape than the workload's own.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ShapeArgs {
    /// Sequences at a time, instead of the workload's number.
    #[arg(long)]
    pub(crate) batch: Option<NonZeroUsize>,
    /// Tokens of a prompt.
    #[arg(long)]
    pub(crate) prompt: Option<NonZeroUsize>,
    /// Tokens of a response.
    #[arg(long)]
    pub(crate) response: Option<NonZeroUsize>,
    /// Vocabulary of a network with random weights.
    #[arg(long)]
    pub(crate) vocab: Option<NonZeroUsize>,
    /// What training keeps for the backward pass, as train.recompute: none or blocks.
    #[arg(long, value_parser = ["none", "blocks"])]
    pub(crate) recompute: Option<String>,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Sampling 16 responses of 64 tokens to prompts of 32.
    Generate,
    /// The log-probs of 16 such responses.
    Score,
    /// A step of supervised fine-tuning: 16 documents of 96 tokens, or 8 of 128 at GPT-2's size.
    Train,
    /// A step of direct preference optimization on 8 pairs, 32 + 64 tokens, the prior's share included.
    Dpo,
    /// An iteration of PPO: 16 responses, 4 epochs, a reward model of the same size.
    Ppo,
    /// An iteration of RLOO: 4 responses to each of 4 prompts, a reward model of the same size.
    Rloo,
}

impl ShapeArgs {
    /// The same on a command line.
    pub(crate) fn typed(&self) -> Vec<String> {
        let numbers = [
            ("--batch", self.batch),
            ("--prompt", self.prompt),
            ("--response", self.response),
            ("--vocab", self.vocab),
        ];
        let numbers = numbers.into_iter();
        let numbers = numbers.filter_map(|(flag, number)| Some((flag, number?.to_string())));
        let recompute = self.recompute.iter();
        numbers
            .chain(recompute.map(|name| ("--recompute", name.clone())))
            .flat_map(|(flag, value)| [flag.to_string(), value])
            .collect()
    }
}

impl Workload {
    pub(crate) const ALL: [Self; 6] = [
        Self::Generate,
        Self::Score,
        Self::Train,
        Self::Dpo,
        Self::Ppo,
        Self::Rloo,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Score => "score",
            Self::Train => "train",
            Self::Dpo => "dpo",
            Self::Ppo => "ppo",
            Self::Rloo => "rloo",
        }
    }
}

/// Where values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CriticName {
    /// A head on the policy's hidden states.
    Head,
    /// A network of its own.
    Separate,
}

impl CriticName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Separate => "separate",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    Check(CheckArgs),
}

/// Says what a data set holds and what is wrong with it, row by row, before anything is trained on
/// it. Fails if there are rows that training would refuse.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf data check pairs.jsonl --model gpt2/ --no-preview\n\nA file \
    is JSONL, a JSON array, CSV, TSV, plain text or Parquet, by its name; .gz and .zst are\n\
    decompressed. A folder, or a repository, is all its files of a split. Lengths are of a random\n\
    sample of at most 20,000 rows, in tokens where there is a model, else in characters. How rows\n\
    are read is set as for train: --set data.fields.prompt=question, --set data.format=tsv,\n\
    --set 'data.columns=[\"id\", \"text\"]', --set data.documents=lines, --set data.split=test (or\n\
    a folder of the folder, =harmless-base, =harmless-base/test)."
)]
pub(crate) struct CheckArgs {
    /// A file, a folder, or a data set of the hub, owner/name[@revision].
    pub(crate) data: PathBuf,
    /// The checkpoint whose tokenizer, chat template and context count, a folder or a repository.
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// A TOML file of settings, of which [data] counts.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Any setting, as for train. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Show no row.
    #[arg(long)]
    pub(crate) no_preview: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
