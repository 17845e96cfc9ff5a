//! What is named → where it is: the one place where a name may be a path or a repository of the hub.

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

/// Settings as a run keeps them and as it uses them.
pub struct Settled {
    /// A repository is named with its commit, a path is absolute: reads back anywhere.
    pub kept: Config,
    /// Everything is a path on this machine.
    pub local: Config,
    /// What `run.json` says of each repository.
    pub repositories: Vec<Value>,
}

impl Settled {
    /// The same with both settings changed.
    pub fn try_map(self, change: impl Fn(Config) -> Result<Config>) -> Result<Self> {
        Ok(Self {
            kept: change(self.kept)?,
            local: change(self.local)?,
            repositories: self.repositories,
        })
    }
}

/// What to do with a name that is neither here nor the name of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Say so now.
    Refuse,
    /// Leave it: it is going to be made, or nobody is going to ask for it.
    Leave,
}

/// A repository that was asked for.
struct Fetched {
    repository: Repository,
    snapshot: Snapshot,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Model,
    Data,
    /// What a rule reads: never a repository.
    Words,
}

enum Found {
    Here(PathBuf),
    Fetched(Fetched),
}

/// Finds what is named: a path that is here, or else a repository of the hub.
#[derive(Clone, Copy)]
pub struct Locator {
    variables: fn(&str) -> Option<String>,
}

impl Locator {
    /// `variables` looks up an environment variable: those of the hub say where its cache is and whom to
    /// ask.
    #[must_use]
    pub fn new(variables: fn(&str) -> Option<String>) -> Self {
        Self { variables }
    }

    /// Finds everything that the settings name.
    ///
    /// # Errors
    /// If something is not here, nor on the hub.
    pub fn settle(&self, config: Config, missing: Missing) -> Result<Settled> {
        let (mut kept, mut local) = (config.clone(), config);
        let mut fetched: Vec<Fetched> = Vec::new();
        let words: Vec<PathBuf> = local.reward.iter().flat_map(words).collect();
        for ((key, mut stored), (_, mut here)) in kept.paths().into_iter().zip(local.paths()) {
            let named = stored.get();
            let holds = match key.as_str() {
                _ if words.contains(&named) => Holds::Words,
                key if key.starts_with("data.") || key.ends_with(".data") => Holds::Data,
                _ => Holds::Model,
            };
            let known = repository(holds, &named).filter(|_| !named.exists());
            let known = known.and_then(|known| fetched.iter().find(|one| one.repository == known));
            let known = known.map(|one| (one.kept(), one.local()));
            let (to_keep, to_use) = match known {
                Some(both) => both,
                None => match self.find(holds, &named, missing)? {
                    Found::Here(path) => (path.clone(), path),
                    Found::Fetched(one) => {
                        let both = (one.kept(), one.local());
                        fetched.push(one);
                        both
                    }
                },
            };
            stored.set(to_keep);
            here.set(to_use);
        }
        let repositories = fetched.iter().map(Fetched::record).collect();
        Ok(Settled {
            kept,
            local,
            repositories,
        })
    }

    /// The folder of a checkpoint.
    ///
    /// # Errors
    /// If it is not here, nor on the hub.
    pub fn model(&self, name: &Path) -> Result<PathBuf> {
        self.path(Holds::Model, name)
    }

    /// A file or folder of rows.
    ///
    /// # Errors
    /// If it is not here, nor on the hub.
    pub fn data(&self, name: &Path) -> Result<PathBuf> {
        self.path(Holds::Data, name)
    }

    /// The folder and commit of a model repository, fetched if need be.
    ///
    /// # Errors
    /// If it is no name of a repository, or cannot be fetched.
    pub fn fetch(&self, text: &str) -> Result<Snapshot> {
        let odd =
            || anyhow!("{text} is not the name of a repository: expected owner/name[@revision]");
        let named = Repository::parse(Kind::Model, text).ok_or_else(|| Usage(odd()))?;
        Ok(self.ask(&named)?)
    }

    fn path(&self, holds: Holds, name: &Path) -> Result<PathBuf> {
        Ok(match self.find(holds, name, Missing::Refuse)? {
            Found::Here(path) => path,
            Found::Fetched(one) => one.local(),
        })
    }

    /// A path that is here wins over a repository of the same name.
    fn find(&self, holds: Holds, name: &Path, missing: Missing) -> Result<Found> {
        let here = || Ok(Found::Here(std::path::absolute(name)?));
        if name.exists() || holds == Holds::Words {
            return here();
        }
        let shown = name.display();
        match repository(holds, name) {
            Some(repository) => {
                let snapshot = self.ask(&repository).map_err(|error| {
                    anyhow!(
                        "{shown}: there is no such file or folder, and as a repository: {error}"
                    )
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
            None if missing == Missing::Leave => here(),
            None if holds == Holds::Model => bail!(
                "{shown}: no such folder: give one with config.json and model.safetensors, or the name of \
                 a hub repository, owner/name[@revision], which this is not"
            ),
            None => bail!(
                "{shown}: No such file or folder, nor the name of a hub repository, owner/name[@revision]"
            ),
        }
    }

    fn ask(&self, repository: &Repository) -> rlhf_hub::Result<Snapshot> {
        let settings = Settings::from_variables(self.variables)?;
        rlhf_hub::open(settings).resolve(repository, &mut Download::new(repository))
    }
}

/// A reward as it is typed: a registered kind, a rule, the folder of a reward model, or a repository that
/// is one.
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

fn repository(holds: Holds, name: &Path) -> Option<Repository> {
    let kind = match holds {
        Holds::Model => Kind::Model,
        Holds::Data => Kind::Dataset,
        Holds::Words => return None,
    };
    Repository::parse(kind, name.to_str()?)
}

/// The files of rules.
fn words(rule: &Rule) -> Vec<PathBuf> {
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

    fn kept(&self) -> PathBuf {
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
    fn rules_win_over_repositories() {
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
