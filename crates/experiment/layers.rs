//! Defaults, then a file, then `--set`: how a [`Config`] comes about, and errors that say where.

mod explain;
mod merge;
mod renamed;

use crate::catalog::Catalog;
use crate::config::{Config, NoPrior, Sections};
use crate::method::{Objective, SettingsError, key_of};

use crate::notes::warn;
use anyhow::{Context, Result, anyhow, bail};
use explain::broken;
use merge::merge;
use renamed::{OldName, rename};
use rlhf_reward::Rule;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Names of objectives that are planned.
const NOT_YET: [&str; 2] = ["sac", "softq"];

/// The objective where nothing names one.
const OBJECTIVE: &str = "ppo-kl";

/// What the user gave, later entries winning.
pub struct Layers {
    catalog: Catalog,
    file: Option<File>,
    sets: Vec<Set>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
    table: Table,
}

#[derive(Debug)]
struct Set {
    /// What was typed, to name it in an error.
    typed: String,
    path: Vec<String>,
    value: Value,
}

impl Layers {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// If it cannot be read, or is not TOML.
    pub fn new(catalog: &Catalog, file: Option<&Path>) -> Result<Self> {
        let read = |path: &Path| -> Result<File> {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the config file {}", path.display()))?;
            let table = text.parse().map_err(|error| broken(path, &text, &error))?;
            Ok(File {
                path: path.into(),
                text,
                table,
            })
        };
        Ok(Self {
            catalog: catalog.clone(),
            file: file.map(read).transpose()?,
            sets: Vec::new(),
        })
    }

    /// Adds `a.b=c` as it was typed: c is a TOML value, or else a string.
    pub fn set(&mut self, typed: &str) -> Result<()> {
        let (path, text) = typed
            .split_once('=')
            .with_context(|| format!("--set {typed}: expected KEY=VALUE, as in optim.clip=0.5"))?;
        let parsed = format!("v = {text}").parse::<Table>();
        let value = parsed
            .ok()
            .filter(|table| table.len() == 1)
            .and_then(|mut t| t.remove("v"));
        self.put(
            &format!("--set {typed}"),
            path,
            value.unwrap_or_else(|| text.into()),
        );
        Ok(())
    }

    /// Adds a value; `typed` is what the user wrote to give it.
    pub fn put(&mut self, typed: &str, path: &str, value: impl Into<Value>) {
        self.sets.push(Set {
            typed: typed.into(),
            path: path.trim().split('.').map(str::to_string).collect(),
            value: value.into(),
        });
    }

    /// Whether the file gives this key of a section.
    pub fn says(&self, section: &str, key: &str) -> bool {
        let table = self.file.as_ref().and_then(|file| file.table.get(section));
        table.is_some_and(|section| section.get(key).is_some())
    }

    /// The kind of prior, as far as the file or the objective says it.
    ///
    /// # Errors
    /// If there is no objective of the name that is given.
    pub fn prior_kind(&self) -> Result<String> {
        let of_file = self.file.as_ref().and_then(|file| file.table.get("prior"));
        match of_file.and_then(|prior| prior.get("kind")) {
            Some(kind) => Ok(kind.as_str().unwrap_or_default().into()),
            None => Ok(self.objective()?.preset.prior.into()),
        }
    }

    /// The whole configuration, checked.
    pub fn resolve(&self) -> Result<Config> {
        let mut table =
            Table::try_from(Config::defaults(&self.objective()?, &self.catalog.priors)?)?;
        let mut given = Table::new();
        for layer in self.renamed()? {
            merge(&mut table, &layer);
            merge(&mut given, &layer);
        }
        let method = table.get("method").cloned();
        let method = method.unwrap_or_else(|| Value::Table(Table::new()));
        let sections: Sections = self.typed(Value::Table(table), "")?;
        let method = self.objective()?.entry().with_settings(method);
        let method = method.map_err(|error| self.explained(&error, "method"))?;
        let prior = self.catalog.priors.section(sections.prior.clone());
        let prior = prior.map_err(|NoPrior { key, message }| match key.as_str() {
            // It names its key itself.
            _ if message.starts_with("prior.") => {
                anyhow!("{}{message}", self.place("prior"))
            }
            "" => self.explain("prior", &message),
            key => self.explain(&format!("prior.{key}"), &message),
        })?;
        let reward = sections.reward.as_ref().map(|section| self.reward(section));
        let mut config = sections.with(method, prior, reward.transpose()?);
        let fields = given.get("data").and_then(|data| data.get("fields"));
        let named = |key: &str| fields.is_some_and(|fields| fields.get(key).is_some());
        config
            .data
            .fields
            .resolve_conflicts(named)
            .map_err(anyhow::Error::msg)?;
        config.beta.complete();
        config.check(&self.catalog)?;
        Ok(config)
    }

    /// What each layer gives, by today's names; the others are warned of.
    fn renamed(&self) -> Result<Vec<Table>> {
        let objective = self.objective_name();
        let mut layers = Vec::with_capacity(1 + self.sets.len());
        layers.extend(self.file.iter().map(|file| file.table.clone()));
        for set in &self.sets {
            let nested = set.path.iter().rev().fold(set.value.clone(), |value, key| {
                Value::Table(Table::from_iter([(key.clone(), value)]))
            });
            let Value::Table(nested) = nested else {
                bail!("{}: expected KEY=VALUE", set.typed);
            };
            layers.push(nested);
        }
        for layer in &mut layers {
            let both = |OldName { old, new }| {
                anyhow!(
                    "{}`{old}` is the old name of `{new}`, which is given too: remove `{old}`",
                    self.place(old)
                )
            };
            for OldName { old, new } in rename(layer, objective).map_err(both)? {
                warn(format_args!(
                    "{}`{old}` is called `{new}` now, and is still read: rename it",
                    self.place(old)
                ));
            }
        }
        Ok(layers)
    }

    /// The name of the objective, as far as the layers say it.
    fn objective_name(&self) -> &str {
        let set = self.sets.iter().rev().find(|set| set.path == ["objective"]);
        let value = match (set, &self.file) {
            (Some(set), _) => Some(&set.value),
            (None, Some(file)) => file.table.get("objective"),
            (None, None) => None,
        };
        value.and_then(Value::as_str).unwrap_or(OBJECTIVE)
    }

    /// A value as a type; an error names the key below `prefix`, and where it was given.
    pub fn typed<T: DeserializeOwned>(&self, value: Value, prefix: &str) -> Result<T> {
        serde_path_to_error::deserialize(value)
            .map_err(|error: SettingsError| self.explained(&error, prefix))
    }

    /// `[reward]` as a rule.
    fn reward(&self, section: &Table) -> Result<Rule> {
        match self.catalog.rewards.rule(section) {
            Some(rule) => rule.map_err(|error| self.explained(&error, "reward")),
            None => self.typed(Value::Table(section.clone()), "reward"),
        }
    }

    fn explained(&self, error: &SettingsError, prefix: &str) -> anyhow::Error {
        let path = key_of(error);
        let separator = if prefix.is_empty() || path.is_empty() {
            ""
        } else {
            "."
        };
        self.explain(
            &format!("{prefix}{separator}{path}"),
            error.inner().message(),
        )
    }

    /// The objective, as far as the layers say it.
    ///
    /// # Errors
    /// If there is no objective of that name.
    pub fn objective(&self) -> Result<Objective> {
        let set = self.sets.iter().rev().find(|set| set.path == ["objective"]);
        let value = match (set, &self.file) {
            (Some(set), _) => Some(&set.value),
            (None, Some(file)) => file.table.get("objective"),
            (None, None) => None,
        };
        let objectives = self.catalog.methods.objectives();
        let names: Vec<_> = objectives.iter().map(|one| one.preset.name).collect();
        let name = match value {
            None => OBJECTIVE,
            Some(Value::String(name)) => name,
            Some(other) => {
                bail!(self.explain("objective", &format!("{other} is no name of an objective")))
            }
        };
        if NOT_YET.contains(&name) {
            let built = names.join(", ");
            bail!("objective `{name}` is not built in yet; these are: {built}");
        }
        self.catalog.methods.objective(name).ok_or_else(|| {
            let known: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            let known = known.join(", ");
            let message = format!("unknown variant `{name}`, expected one of {known}");
            self.explain("objective", &message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdaptiveBeta, BetaSetting};
    use crate::registry::Registry;
    use rlhf_lm::ActivationCheckpointing;
    use rlhf_objective::BatchSize;

    fn resolve(file: &str, sets: &[&str]) -> Result<Config> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("run.toml");
        std::fs::write(&path, file)?;
        let mut layers = Layers::new(Registry::default().catalog(), Some(&path))?;
        for set in sets {
            layers.set(set)?;
        }
        layers.resolve()
    }

    #[test]
    fn later_layers_win() {
        let file = "objective = \"dpo\"\nbeta = 0.2\n[optim]\nclip = 2.0\n";
        let config = resolve(file, &["optim.clip=3", "model.path=my/model"]).unwrap();
        assert_eq!(config.objective, "dpo");
        assert_eq!(config.beta, BetaSetting::Fixed(0.2));
        assert_eq!((config.optim.clip, config.optim.learning_rate), (3.0, 1e-6));
        assert_eq!(config.model.path.as_deref(), Some(Path::new("my/model")));
        assert_eq!(config.prior.facts().name, "reference");
        let adaptive = resolve(
            "beta = { start = 0.2, target_kl = 6, horizon = 10000 }",
            &[],
        );
        let beta = adaptive.unwrap().beta;
        assert_eq!(
            beta,
            BetaSetting::Adaptive(AdaptiveBeta {
                start: 0.2,
                target_kl: Some(6.0),
                target_entropy: None,
                horizon: 1e4,
                min: Some(0.0002),
                max: Some(200.0)
            })
        );
    }

    /// The `config.toml` that each objective left in its run before settings were renamed, with values that
    /// are not the defaults.
    #[test]
    fn settings_by_their_old_names_mean_the_same() {
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/settings");
        let registry = Registry::default();
        let objectives = registry.catalog().methods.objectives();
        for objective in objectives {
            let name = objective.preset.name;
            let path = stored.join(format!("{name}.toml"));
            let layers = Layers::new(registry.catalog(), Some(&path)).unwrap();
            let config = layers.resolve().unwrap();
            assert_eq!(config.objective, name);
            let train = &config.train;
            let kept = (train.micro_batch_tokens, train.activation_checkpointing);
            assert_eq!(kept, (2048, ActivationCheckpointing::Blocks), "{name}");
            let batch_size = match name {
                "dpo" | "reward" | "kto" => Some(BatchSize::Items(8)),
                "sft" => Some(BatchSize::Tokens(256)),
                _ => None,
            };
            assert_eq!(train.batch_size, batch_size, "{name}");
            let text = toml::to_string(&config).unwrap();
            assert_eq!(resolve(&text, &[]).unwrap(), config, "{name}");
            if name == "imitation" {
                let fits = config.prior.fits();
                assert_eq!(fits[0].1.settings.batch_size, BatchSize::Items(8));
            }
        }
    }

    #[test]
    fn a_resolved_config_reads_back() {
        let sets = ["reward.kind=token-share", "reward.token=2", "beta=0.1"];
        let config = resolve("", &sets).unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(resolve(&text, &[]).unwrap(), config);
    }

    #[test]
    fn errors_say_where_and_what_else() {
        for (file, sets, expected) in [
            (
                "\n[optim]\nlearning_rat = 1",
                vec![],
                "run.toml:3: unknown key `optim.learning_rat`; did you mean `learning_rate`?",
            ),
            (
                "[optin]\nclip = 1",
                vec![],
                "run.toml:1: unknown key `optin`; did you mean `optim`?",
            ),
            (
                "",
                vec!["train.sed=3"],
                "--set train.sed=3: unknown key `train.sed`; did you mean `seed`?",
            ),
            (
                "[train]\nbatch_pairs = 9\nbatch_size = 9",
                vec![],
                "run.toml:2: `train.batch_pairs` is the old name of `train.batch_size`, which is given \
                 too: remove `train.batch_pairs`",
            ),
            (
                "[train]\n\nrecompute = \"block\"",
                vec![],
                "run.toml:3: `train.activation_checkpointing`: unknown variant `block`",
            ),
            ("", vec!["train.recompute=block"], "did you mean `blocks`?"),
            (
                "[train]\nactivation_checkpointing = \"blocks\"\n[model]\nbackend = \"plain\"",
                vec![],
                "train.activation_checkpointing = \"blocks\": the plain network keeps everything",
            ),
            ("", vec!["train"], "--set train: expected KEY=VALUE"),
            (
                "[train]\nseed = \"x\"",
                vec![],
                "run.toml:2: `train.seed`: invalid type: string \"x\", expected a whole number from 0",
            ),
            (
                "objective = \"dop\"",
                vec![],
                "run.toml:1: `objective`: unknown variant `dop`, expected one of `ppo-kl`, `maxent`, `imitation`, `rloo`, `reinforce`, `grpo`, `vargrad`, `dpo`, `kto`, `sft`, `reward`; did you mean `dpo`?",
            ),
            (
                "objective = \"softq\"",
                vec![],
                "objective `softq` is not built in yet",
            ),
            (
                "[reward]\nkind = \"regex\"\npatern = \"x\"",
                vec![],
                "unknown key `reward.patern`; did you mean `pattern`?",
            ),
            (
                "[prior]\nkind = \"referense\"",
                vec![],
                "run.toml:2: `prior.kind`: unknown variant `referense`",
            ),
            ("", vec!["beta=nan"], "beta = NaN: β is the price"),
            ("", vec!["beta=-1"], "beta = -1: β is the price"),
            (
                "objective = \"dpo\"\nbeta = 0",
                vec![],
                "beta = 0: dpo has no optimum without its prior",
            ),
            (
                "",
                vec!["beta=high"],
                "`beta`: expected a number, or { start, target_kl or target_entropy, horizon, min, max }",
            ),
            (
                "",
                vec!["beta={ start = 0.2, target = 6, horizon = 1e4 }"],
                "unknown key `beta.target`; did you mean `target_kl`?",
            ),
            (
                "",
                vec!["beta={ start = 0.2, target_kl = 6 }"],
                "`beta`: missing field `horizon`",
            ),
            (
                "",
                vec!["beta={ start = 0.2, horizon = 1e4 }"],
                "beta has no target: give target_kl, or target_entropy",
            ),
            (
                "",
                vec!["beta={ start = 0.2, target_kl = 6, target_entropy = 6, horizon = 1e4 }"],
                "beta has two targets",
            ),
            (
                "",
                vec!["beta={ start = 0, target_kl = 6, horizon = 1e4 }"],
                "beta.start = 0: must be a positive number",
            ),
            (
                "",
                vec!["beta={ start = 0.2, target_entropy = -6, horizon = 1e4 }"],
                "beta.target_entropy = -6: must be a positive number",
            ),
            (
                "",
                vec!["beta={ start = 0.2, target_kl = 6, horizon = 1e4, max = 0.1 }"],
                "beta.max = 0.1: beta starts at 0.2, above it",
            ),
            (
                "",
                vec!["beta={ start = 0.2, target_kl = 6, horizon = 1e4, min = 0.3 }"],
                "beta.min = 0.3: beta starts at 0.2, below it",
            ),
            (
                "",
                vec!["beta={ start = 0.2, target_kl = 6, horizon = 12 }"],
                "beta.horizon = 12: a step of 64 responses would take more from beta than there is",
            ),
            (
                "objective = \"rloo\"",
                vec!["sampling.rollouts=30"],
                "sampling.rollouts = 30 is not a multiple of samples_per_prompt = 4",
            ),
            (
                "",
                vec!["method.minibatches=3"],
                "method.minibatches = 3 does not divide the 64 responses of an iteration",
            ),
            (
                "objective = \"vargrad\"",
                vec!["method.minibatches=3"],
                "method.minibatches = 3 does not divide the 16 prompts of an iteration",
            ),
            (
                "",
                vec!["train.device=cuda"],
                "train.device = \"cuda\": not built in",
            ),
            (
                "",
                vec!["model.adapter.rank=0"],
                "model.adapter.rank = 0: an adapter has a rank of at least 1",
            ),
            (
                "",
                vec!["train.epochs=3"],
                "train.epochs means nothing to ppo-kl",
            ),
            (
                "objective = \"rloo\"",
                vec!["sampling.samples_per_prompt=1"],
                "sampling.samples_per_prompt = 1: rloo compares",
            ),
            (
                "objective = \"rloo\"",
                vec!["method.epochs=2"],
                "--set method.epochs=2: unknown key `method.epochs`",
            ),
            (
                "objective = \"vargrad\"\nbeta = 0",
                vec![],
                "beta = 0: vargrad has no optimum without its prior",
            ),
            (
                "objective = \"sft\"",
                vec!["model.critic=head"],
                "model.critic means nothing to sft",
            ),
            (
                "",
                vec!["sampling.rollouts=0"],
                "sampling.rollouts = 0: must be positive",
            ),
            (
                "[method]\nclop = 1",
                vec![],
                "run.toml:2: unknown key `method.clop`; did you mean `clip`?",
            ),
            ("", vec!["method.lambda=2"], "lambda"),
            (
                "objective = \"sft\"\nmethod.per_step.tokens = \"x\"",
                vec![],
                "run.toml:2: `train.batch_size",
            ),
            ("[optim\n", vec![], "run.toml:1: not TOML: unclosed table"),
        ] {
            let error = format!("{:#}", resolve(file, &sets).unwrap_err());
            assert!(error.contains(expected), "{error}\nshould hold: {expected}");
        }
    }
}
