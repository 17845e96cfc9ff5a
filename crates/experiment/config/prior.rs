//! The `[prior]` section, and the table of registered kinds of priors.

use crate::method::{SettingsError, key_of};
use rlhf_prior::{Fit, PathTo, PriorContext, PriorKind, PriorKinds, PriorPlan};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::{Table, Value};

/// A registered [`PriorKind`] with its type erased.
trait Entry: Send + Sync {
    fn facts(&self) -> PriorFacts;

    /// The settings with their defaults filled in.
    fn completed(&self, settings: Table) -> Result<Table, SettingsError>;

    fn fit(&self, settings: &Table) -> Option<Fit>;

    fn plan(
        &self,
        settings: &Table,
        context: &dyn PriorContext,
    ) -> rlhf_objective::Result<PriorPlan>;
}

/// The constants of a [`PriorKind`].
#[derive(Debug, Clone, Copy)]
pub struct PriorFacts {
    /// Its name.
    pub name: &'static str,
    /// A one-line description.
    pub about: &'static str,
    /// Whether log p₀ is 0 for every response.
    pub constant: bool,
    paths: &'static [(&'static str, PathTo)],
    parts: &'static [&'static str],
}

struct Listed<K>(PhantomData<fn() -> K>);

impl<K: PriorKind> Listed<K> {
    fn typed(settings: &Table) -> Result<K::Settings, SettingsError> {
        serde_path_to_error::deserialize(Value::Table(settings.clone()))
    }
}

impl<K: PriorKind> Entry for Listed<K> {
    fn facts(&self) -> PriorFacts {
        PriorFacts {
            name: K::NAME,
            about: K::ABOUT,
            constant: K::CONSTANT,
            paths: K::PATHS,
            parts: K::PARTS,
        }
    }

    fn completed(&self, settings: Table) -> Result<Table, SettingsError> {
        let mut typed = Self::typed(&settings)?;
        K::complete(&mut typed);
        // Settings that deserialize also serialize, so the fallback is not reached.
        Ok(Table::try_from(typed).unwrap_or(settings))
    }

    fn fit(&self, settings: &Table) -> Option<Fit> {
        K::fit(&Self::typed(settings).ok()?)
    }

    fn plan(
        &self,
        settings: &Table,
        context: &dyn PriorContext,
    ) -> rlhf_objective::Result<PriorPlan> {
        let typed = Self::typed(settings).map_err(|error| {
            rlhf_objective::Error::Unsupported(format!("[prior]: {}", error.inner().message()))
        })?;
        K::plan(&typed, context)
    }
}

/// All kinds of priors that settings can name.
#[derive(Clone, Default)]
pub struct Priors(Vec<Arc<dyn Entry>>);

impl PriorKinds for Priors {
    fn add<K: PriorKind>(&mut self) {
        self.0.push(Arc::new(Listed::<K>(PhantomData)));
    }
}

/// An error in `[prior]`: the key below it, and what is wrong.
pub(crate) struct PriorError {
    pub(crate) key: String,
    pub(crate) message: String,
}

impl Priors {
    /// The constants of each kind, in the order in which the kinds were added.
    pub fn facts(&self) -> impl Iterator<Item = PriorFacts> {
        self.0.iter().map(|entry| entry.facts())
    }

    /// Parses `[prior]` by its kind.
    pub(crate) fn section(&self, mut settings: Table) -> Result<PriorSection, PriorError> {
        let at = |key: &str, message: String| PriorError {
            key: key.into(),
            message,
        };
        let kind = match settings.remove("kind") {
            None => return Err(at("", "missing field `kind`".into())),
            Some(Value::String(kind)) => kind,
            Some(other) => return Err(at("kind", format!("{other} is not the name of a kind"))),
        };
        let entry = self.0.iter().find(|entry| entry.facts().name == kind);
        let entry = entry.ok_or_else(|| {
            let known: Vec<_> = self
                .facts()
                .map(|facts| format!("`{}`", facts.name))
                .collect();
            let known = known.join(", ");
            at(
                "kind",
                format!("unknown variant `{kind}`, expected one of {known}"),
            )
        })?;
        let mut parts = Vec::new();
        for key in entry.facts().parts {
            let part = match settings.remove(*key) {
                None => continue,
                Some(Value::Table(part)) => self.section(part).map_err(|error| PriorError {
                    key: match error.key.as_str() {
                        "" => (*key).to_string(),
                        inner => format!("{key}.{inner}"),
                    },
                    ..error
                })?,
                Some(other) => return Err(at(key, format!("{other} is not a prior"))),
            };
            parts.push((*key, part));
        }
        let settings = entry.completed(settings).map_err(|error| {
            at(
                &key_of(&error),
                self.explain_unknown(&kind, error.inner().message()),
            )
        })?;
        Ok(PriorSection {
            entry: entry.clone(),
            settings,
            parts,
        })
    }

    /// Rewrites the error about an unknown setting if another kind of prior has that setting.
    fn explain_unknown(&self, kind: &str, message: &str) -> String {
        let key = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once('`'))
            .map(|(key, _)| key);
        let known = |entry: &Arc<dyn Entry>, key: &str| {
            let table = Table::from_iter([(key.to_string(), Value::Boolean(true))]);
            let refused = entry.completed(table).err();
            let unknown = format!("unknown field `{key}`");
            entry.facts().parts.contains(&key)
                || refused.is_none_or(|error| !error.inner().message().starts_with(&unknown))
        };
        match key {
            Some(key) if self.0.iter().any(|entry| known(entry, key)) => format!(
                "prior.{key} is not used by a prior of kind \"{kind}\": remove it, or choose another \
                 kind"
            ),
            _ => message.into(),
        }
    }
}

/// `[prior]`: p₀.
#[derive(Clone)]
pub struct PriorSection {
    entry: Arc<dyn Entry>,
    /// Validated by the kind, with defaults filled in.
    settings: Table,
    parts: Vec<(&'static str, PriorSection)>,
}

impl PriorSection {
    /// The constants of its kind.
    #[must_use]
    pub fn facts(&self) -> PriorFacts {
        self.entry.facts()
    }

    /// The prior, described before its networks are loaded.
    pub(crate) fn plan(&self, context: &dyn PriorContext) -> rlhf_objective::Result<PriorPlan> {
        self.entry.plan(&self.settings, context)
    }

    /// The prior inside this one under `key`, such as a component of a mixture.
    pub(crate) fn part(&self, key: &str) -> Option<&Self> {
        let part = self.parts.iter().find(|(name, _)| *name == key);
        part.map(|(_, part)| part)
    }

    /// All fits that precede the run, this prior's own first. Each has its folder relative to the first's.
    pub(crate) fn fits(&self) -> Vec<(PathBuf, Fit)> {
        let own = self.entry.fit(&self.settings);
        let mut all: Vec<_> = own.map(|fit| (PathBuf::new(), fit)).into_iter().collect();
        for (name, part) in &self.parts {
            let inner = part.fits().into_iter();
            all.extend(inner.map(|(folder, fit)| (Path::new(name).join(folder), fit)));
        }
        all
    }

    /// Every path in the section with its key, which starts with `prefix`.
    pub(super) fn paths(&mut self, prefix: &str) -> Vec<(String, PathSlot<'_>)> {
        let Self {
            entry,
            settings,
            parts,
        } = self;
        let keys = entry.facts().paths;
        let mut all: Vec<_> = settings
            .iter_mut()
            .filter(|(key, _)| keys.iter().any(|(name, _)| name == key))
            .map(|(key, value)| (format!("{prefix}.{key}"), PathSlot::Value(value)))
            .collect();
        // In the order of `PriorKind::PATHS`; the table's order may differ.
        let place = |key: &str| keys.iter().position(|(name, _)| key.ends_with(name));
        all.sort_by_key(|(key, _)| place(key));
        for (name, part) in parts {
            all.extend(part.paths(&format!("{prefix}.{name}")));
        }
        all
    }
}

impl fmt::Debug for PriorSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, settings, parts) = (self.facts().name, &self.settings, &self.parts);
        write!(f, "{name} {settings:?} {parts:?}")
    }
}

impl PartialEq for PriorSection {
    fn eq(&self, other: &Self) -> bool {
        (self.facts().name, &self.settings, &self.parts)
            == (other.facts().name, &other.settings, &other.parts)
    }
}

impl Serialize for PriorSection {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("kind", self.facts().name)?;
        for (key, value) in &self.settings {
            map.serialize_entry(key, value)?;
        }
        for (name, part) in &self.parts {
            map.serialize_entry(name, part)?;
        }
        map.end()
    }
}

/// A mutable reference to a setting that holds a path.
#[derive(Debug)]
pub enum PathSlot<'a> {
    /// A typed setting.
    Path(&'a mut PathBuf),
    /// A setting of a prior, kept as TOML.
    Value(&'a mut Value),
}

impl PathSlot<'_> {
    /// The path.
    #[must_use]
    pub fn get(&self) -> PathBuf {
        match self {
            Self::Path(path) => (*path).clone(),
            Self::Value(value) => value.as_str().unwrap_or_default().into(),
        }
    }

    /// Replaces the path.
    pub fn set(&mut self, path: PathBuf) {
        match self {
            Self::Path(slot) => **slot = path,
            Self::Value(slot) => **slot = path.to_string_lossy().into_owned().into(),
        }
    }
}
