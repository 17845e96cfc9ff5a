//! Locates the files that settings name: local paths or repositories of the hub.

use crate::config::Config;
use crate::error::Usage;
use crate::notes::note;
use crate::progress::Download;
use crate::rewards::Rewards;
use anyhow::{Result, anyhow, bail};
use rlhf_hub::{Kind, Repository, Settings, Snapshot};
use rlhf_reward::Rule;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Settings whose files were located, in the form that is recorded and in the form that is used.
#[derive(Debug, Clone)]
pub struct Located {
    /// Repositories are named with their commits, and paths are absolute.
    pub recorded: Config,
    /// Everything is a path on this machine.
    pub local: Config,
    /// The entries of `run.json` about repositories.
    pub repositories: Vec<Value>,
}

impl Located {
    /// Applies `change` to both forms of the settings.
    pub fn try_map(self, change: impl Fn(Config) -> Result<Config>) -> Result<Self> {
        Ok(Self {
            recorded: change(self.recorded)?,
            local: change(self.local)?,
            repositories: self.repositories,
        })
    }
}

/// What to do with a name that is neither an existing path nor the name of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Fail.
    Refuse,
    /// Keep it as a path: it may be created later, or not be used.
    Leave,
}

/// A repository and its local snapshot.
struct Fetched {
    repository: Repository,
    snapshot: Snapshot,
}

/// What a setting names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Model,
    Data,
    /// A lexicon of a reward rule, which is never a repository.
    Lexicon,
}

enum Found {
    Path(PathBuf),
    Fetched(Fetched),
}

/// Locates models and data: an existing path, or else a repository of the hub.
#[derive(Clone, Copy)]
pub struct Locator {
    variables: fn(&str) -> Option<String>,
}

impl Locator {
    /// `variables` looks up an environment variable, such as `HF_HOME` and `HF_ENDPOINT` of the hub.
    #[must_use]
    pub fn new(variables: fn(&str) -> Option<String>) -> Self {
        Self { variables }
    }

    /// Locates every file that the settings name.
    ///
    /// # Errors
    /// If one is neither an existing path nor on the hub.
    pub fn locate(&self, config: Config, missing: Missing) -> Result<Located> {
        let (mut recorded, mut local) = (config.clone(), config);
        let mut fetched: Vec<Fetched> = Vec::new();
        let lexicons: Vec<PathBuf> = local.reward.iter().flat_map(lexicons).collect();
        for ((key, mut stored), (_, mut used)) in recorded.paths().into_iter().zip(local.paths()) {
            let name = stored.get();
            let target = match key.as_str() {
                _ if lexicons.contains(&name) => Target::Lexicon,
                key if key.starts_with("data.") || key.ends_with(".data") => Target::Data,
                _ => Target::Model,
            };
            let wanted = repository(target, &name).filter(|_| !name.exists());
            let known =
                wanted.and_then(|wanted| fetched.iter().find(|one| one.repository == wanted));
            let (to_record, to_use) = match known {
                Some(one) => (one.recorded(), one.local()),
                None => match self.find(target, &name, missing)? {
                    Found::Path(path) => (path.clone(), path),
                    Found::Fetched(one) => {
                        let both = (one.recorded(), one.local());
                        fetched.push(one);
                        both
                    }
                },
            };
            stored.set(to_record);
            used.set(to_use);
        }
        let repositories = fetched.iter().map(Fetched::record).collect();
        Ok(Located {
            recorded,
            local,
            repositories,
        })
    }

    /// The folder of a checkpoint.
    ///
    /// # Errors
    /// If it is neither an existing path nor on the hub.
    pub fn model(&self, name: &Path) -> Result<PathBuf> {
        self.path(Target::Model, name)
    }

    /// A file or folder of rows.
    ///
    /// # Errors
    /// If it is neither an existing path nor on the hub.
    pub fn data(&self, name: &Path) -> Result<PathBuf> {
        self.path(Target::Data, name)
    }

    /// The folder and commit of a model repository, downloaded if necessary.
    ///
    /// # Errors
    /// If `text` is not the name of a repository, or it cannot be downloaded.
    pub fn fetch(&self, text: &str) -> Result<Snapshot> {
        let invalid =
            || anyhow!("{text} is not the name of a repository: expected owner/name[@revision]");
        let repository = Repository::parse(Kind::Model, text).ok_or_else(|| Usage(invalid()))?;
        Ok(self.snapshot(&repository)?)
    }

    fn path(&self, target: Target, name: &Path) -> Result<PathBuf> {
        Ok(match self.find(target, name, Missing::Refuse)? {
            Found::Path(path) => path,
            Found::Fetched(one) => one.local(),
        })
    }

    /// An existing path takes precedence over a repository of the same name.
    fn find(&self, target: Target, name: &Path, missing: Missing) -> Result<Found> {
        let path = || Ok(Found::Path(std::path::absolute(name)?));
        if name.exists() || target == Target::Lexicon {
            return path();
        }
        let shown = name.display();
        match repository(target, name) {
            Some(repository) => {
                let snapshot = self.snapshot(&repository).map_err(|error| {
                    anyhow!("{shown}: no such file or folder, and as a hub repository: {error}")
                })?;
                note(format_args!(
                    "{repository} is commit {}, in {}",
                    snapshot.commit,
                    snapshot.folder.display()
                ));
                Ok(Found::Fetched(Fetched {
                    repository,
                    snapshot,
                }))
            }
            None if missing == Missing::Leave => path(),
            None if target == Target::Model => bail!(
                "{shown}: no such folder: give a folder with config.json and model.safetensors, or the \
                 name of a hub repository, owner/name[@revision]"
            ),
            None => bail!(
                "{shown}: no such file or folder: give a path, or the name of a hub repository, \
                 owner/name[@revision]"
            ),
        }
    }

    fn snapshot(&self, repository: &Repository) -> rlhf_hub::Result<Snapshot> {
        let settings = Settings::from_variables(self.variables)?;
        rlhf_hub::open(settings).resolve(repository, &mut Download::new(repository))
    }
}

/// Parses a `--reward` argument: a registered kind, a rule, the folder of a reward model, or the name of a
/// repository.
///
/// # Errors
/// If it is none of them.
pub fn reward(rewards: &Rewards, text: &str) -> Result<Rule> {
    if let Some(rule) = rewards.named(text) {
        return Ok(rule?);
    }
    match (text.parse(), Repository::parse(Kind::Model, text)) {
        (Ok(rule), _) => Ok(rule),
        (Err(_), Some(_)) => Ok(Rule::Model {
            folder: text.into(),
        }),
        (Err(error), None) => Err(error.into()),
    }
}

fn repository(target: Target, name: &Path) -> Option<Repository> {
    let kind = match target {
        Target::Model => Kind::Model,
        Target::Data => Kind::Dataset,
        Target::Lexicon => return None,
    };
    Repository::parse(kind, name.to_str()?)
}

/// The lexicon files of a reward rule.
fn lexicons(rule: &Rule) -> Vec<PathBuf> {
    let file = |leaf: &Rule| match leaf {
        Rule::Lexicon { file, .. } => file.clone(),
        _ => None,
    };
    rule.leaves().into_iter().filter_map(file).collect()
}

impl Fetched {
    fn local(&self) -> PathBuf {
        self.snapshot.folder.clone()
    }

    fn recorded(&self) -> PathBuf {
        self.repository.at(&self.snapshot.commit).to_string().into()
    }

    fn record(&self) -> Value {
        let kind = match self.repository.kind() {
            Kind::Model => "model",
            Kind::Dataset => "dataset",
        };
        json!({
            "kind": kind,
            "repository": self.repository.name(),
            "revision": self.repository.revision(),
            "commit": self.snapshot.commit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_take_precedence_over_repositories() {
        let rewards = Rewards::default();
        let text = |text: &str| reward(&rewards, text).unwrap();
        let model = |folder: &str| Rule::Model {
            folder: folder.into(),
        };
        assert_eq!(text("owner/name"), model("owner/name"));
        assert_eq!(text("owner/name@v1"), model("owner/name@v1"));
        assert_ne!(text("contains:owner/name"), model("contains:owner/name"));
        for bad in ["name", "a/b/c", "modle:x"] {
            let error = reward(&rewards, bad).unwrap_err().to_string();
            assert!(error.contains("token-share:TOKEN"), "{error}");
        }
    }
}
