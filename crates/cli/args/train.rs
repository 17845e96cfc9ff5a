//! What `train` is given, and the settings it makes.

use crate::help;
use crate::names::{dtypes, objectives};
use anyhow::Result;
use clap::Args;
use rlhf_experiment::{DtypeName, Layers, Session, reward_rule};
use std::path::{Path, PathBuf};

/// Trains a policy.
///
/// Without a model and data of yours, it is the small world inside the program that is trained on: film
/// reviews, a model that writes them, and a reward model.
#[derive(Debug, Default, Args)]
#[command(after_help = help::EXAMPLE, after_long_help = help::train())]
pub(crate) struct TrainArgs {
    /// What to run: a method with its prior [default: ppo-kl].
    #[arg(long, value_parser = objectives())]
    pub(crate) objective: Option<String>,
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
    /// The data: a file (JSONL, a JSON array, CSV, TSV, text, Parquet; also .gz, .zst), a folder of
    /// them, or a data set of the hub, owner/name[@revision] (data.train).
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// The price of a nat of KL, in units of the reward.
    #[arg(long)]
    pub(crate) beta: Option<f64>,
    /// What products are computed in: f32, or bf16, which is faster where the processor has
    /// avx512_bf16 (model.dtype).
    #[arg(long, value_parser = dtypes())]
    pub(crate) dtype: Option<DtypeName>,
    /// What the weights of prior and reward models are held in: f32, or bf16, which halves their
    /// memory and rounds what is not bf16 in the checkpoint (model.frozen_dtype).
    #[arg(long, value_parser = dtypes())]
    pub(crate) frozen_dtype: Option<DtypeName>,
    /// Train a LoRA adapter of this rank on all linear layers in place of the weights (model.adapter.rank); it
    /// wants a learning rate about ten times as high.
    #[arg(long, value_name = "RANK")]
    pub(crate) lora: Option<u32>,
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
            "data", "beta", "dtype", "frozen_dtype", "lora", "seed", "set"]
    )]
    pub(crate) resume: bool,
    /// With --resume: continue although files that the run was started with changed, and note that in
    /// run.json.
    #[arg(long)]
    pub(crate) accept_changes: bool,
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
    pub(crate) fn layers(&self, session: &Session) -> Result<Layers> {
        let mut layers = session.layers(self.config.as_deref())?;
        self.add_to(session, &mut layers)?;
        Ok(layers)
    }

    /// Lays what was typed over other layers.
    pub(crate) fn add_to(&self, session: &Session, layers: &mut Layers) -> Result<()> {
        if let Some(objective) = &self.objective {
            layers.put("--objective", "objective", objective.clone());
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
            layers.put(
                "--prior",
                "prior",
                named_prior(prior, &layers.prior_kind()?),
            );
        }
        if let Some(reward) = &self.reward {
            let rule = reward_rule(&session.registry.catalog().rewards, reward)?;
            layers.put("--reward", "reward", toml::Value::try_from(rule)?);
        }
        if let Some(beta) = self.beta {
            layers.put("--beta", "beta", beta);
        }
        for (flag, key, dtype) in [
            ("--dtype", "model.dtype", self.dtype),
            ("--frozen-dtype", "model.frozen_dtype", self.frozen_dtype),
        ] {
            if let Some(dtype) = dtype {
                layers.put(flag, key, dtype.name());
            }
        }
        if let Some(rank) = self.lora {
            layers.put("--lora", "model.adapter.rank", i64::from(rank));
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
fn named_prior(typed: &str, kind: &str) -> toml::Table {
    let is_data = |path: &str| {
        let extension = Path::new(path).extension();
        let known = extension.is_some_and(|e| ["jsonl", "json", "txt"].iter().any(|x| e == *x));
        (known && !Path::new(path).is_dir()) || Path::new(path).is_file()
    };
    let demonstrations = typed.strip_prefix("demonstrations:");
    let path = demonstrations.unwrap_or(typed);
    let demonstrated = demonstrations.is_some() || kind == "demonstrations";
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
