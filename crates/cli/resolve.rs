//! What is named → where it is: the one place where a name may be a path or a repository of the hub.

use crate::config::Config;
use crate::output::{Usage, log};
use crate::progress::Download;
use anyhow::{Result, anyhow, bail};
use rlhf_hub::{Kind, Repository, Settings, Snapshot};
use rlhf_reward::Rule;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Settings as a run keeps them and as it uses them.
pub(crate) struct Settled {
    /// A repository is named with its commit, a path is absolute: reads back anywhere.
    pub(crate) kept: Config,
    /// Everything is a path on this machine.
    pub(crate) local: Config,
    /// What `run.json` says of each repository.
    pub(crate) repositories: Vec<Value>,
}

impl Settled {
    /// The same with both settings changed.
    pub(crate) fn try_map(self, change: impl Fn(Config) -> Result<Config>) -> Result<Self> {
        Ok(Self {
            kept: change(self.kept)?,
            local: change(self.local)?,
            repositories: self.repositories,
        })
    }
}

/// What to do with a name that is neither here nor the name of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
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

/// Finds everything that the settings name.
pub(crate) fn settle(config: Config, missing: Missing) -> Result<Settled> {
    let (mut kept, mut local) = (config.clone(), config);
    let mut fetched: Vec<Fetched> = Vec::new();
    let words: Vec<PathBuf> = local.reward.iter().flat_map(words).collect();
    for ((key, kept), (_, local)) in kept.paths().into_iter().zip(local.paths()) {
        let holds = match key.as_str() {
            _ if words.contains(kept) => Holds::Words,
            key if key.starts_with("data.") || key.ends_with(".data") => Holds::Data,
            _ => Holds::Model,
        };
        let known = repository(holds, kept).filter(|_| !kept.exists());
        let known = known.and_then(|named| fetched.iter().find(|one| one.repository == named));
        let known = known.map(|one| (one.kept(), one.local()));
        (*kept, *local) = match known {
            Some(both) => both,
            None => match find(holds, kept, missing)? {
                Found::Here(path) => (path.clone(), path),
                Found::Fetched(one) => {
                    let both = (one.kept(), one.local());
                    fetched.push(one);
                    both
                }
            },
        };
    }
    let repositories = fetched.iter().map(Fetched::record).collect();
    Ok(Settled {
        kept,
        local,
        repositories,
    })
}

/// The folder of a checkpoint.
pub(crate) fn model(name: &Path) -> Result<PathBuf> {
    path(Holds::Model, name)
}

/// A file or folder of rows.
pub(crate) fn data(name: &Path) -> Result<PathBuf> {
    path(Holds::Data, name)
}

/// A reward as it is typed: a rule, the folder of a reward model, or a repository that is one.
pub(crate) fn reward(text: &str) -> Result<Rule> {
    match (text.parse(), Repository::parse(Kind::Model, text)) {
        (Ok(rule), _) => Ok(rule),
        (Err(_), Some(_)) => Ok(Rule::Model {
            folder: text.into(),
        }),
        (Err(error), None) => Err(error.into()),
    }
}

/// The folder and commit of a model repository, fetched if need be.
pub(crate) fn fetch(text: &str) -> Result<Snapshot> {
    let odd = || anyhow!("{text} is not the name of a repository: expected owner/name[@revision]");
    let named = Repository::parse(Kind::Model, text).ok_or_else(|| Usage(odd()))?;
    Ok(ask(&named)?)
}

fn path(holds: Holds, name: &Path) -> Result<PathBuf> {
    Ok(match find(holds, name, Missing::Refuse)? {
        Found::Here(path) => path,
        Found::Fetched(one) => one.local(),
    })
}

fn repository(holds: Holds, name: &Path) -> Option<Repository> {
    let kind = match holds {
        Holds::Model => Kind::Model,
        Holds::Data => Kind::Dataset,
        Holds::Words => return None,
    };
    Repository::parse(kind, name.to_str()?)
}

/// A path that is here wins over a repository of the same name.
fn find(holds: Holds, name: &Path, missing: Missing) -> Result<Found> {
    let here = || Ok(Found::Here(std::path::absolute(name)?));
    if name.exists() || holds == Holds::Words {
        return here();
    }
    let shown = name.display();
    match repository(holds, name) {
        Some(repository) => {
            let snapshot = ask(&repository).map_err(|error| {
                anyhow!("{shown}: there is no such file or folder, and as a repository: {error}")
            })?;
            log(format_args!(
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

#[expect(clippy::disallowed_methods, reason = "this is the command line")]
fn ask(repository: &Repository) -> rlhf_hub::Result<Snapshot> {
    let settings = Settings::from_variables(|name| std::env::var(name).ok())?;
    rlhf_hub::open(settings).resolve(repository, &mut Download::new(repository))
}

/// The files of rules.
fn words(rule: &Rule) -> Vec<PathBuf> {
    match rule {
        Rule::Lexicon { file, .. } => file.iter().cloned().collect(),
        Rule::Sum { rules } => rules.iter().flat_map(|part| words(&part.rule)).collect(),
        Rule::MissingEos { rule, .. } => words(rule),
        _ => Vec::new(),
    }
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
        let text = |text: &str| reward(text).unwrap();
        let model = |folder: &str| Rule::Model {
            folder: folder.into(),
        };
        assert_eq!(text("owner/name"), model("owner/name"));
        assert_eq!(text("owner/name@v1"), model("owner/name@v1"));
        assert_ne!(text("contains:owner/name"), model("contains:owner/name"));
        for bad in ["name", "a/b/c", "modle:x"] {
            let error = reward(bad).unwrap_err().to_string();
            assert!(error.contains("token-share:TOKEN"), "{error}");
        }
    }
}
