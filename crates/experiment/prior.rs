//! What is known of a prior before it is loaded.

use crate::config::{BetaSetting, Config, MeanName, PriorKind, PriorSection};
use crate::networks::{frozen, model_path, network};
use anyhow::{Context, Result, bail, ensure};
use rlhf_lm::{Heads, inspect};
use rlhf_objective::{Prior, Target};
use rlhf_prior::{Counting, Frozen, Mixture, Smoothed, Uniform};
use rlhf_train::PriorUse;
use std::path::{Path, PathBuf};

/// p₀, and for each folder it reads the checksums of what is in it.
type Loaded = (Box<dyn Prior>, Vec<Vec<String>>);

/// The prior of the settings, not loaded yet.
pub(crate) fn prior(config: &Config) -> Result<PriorPlan> {
    prior_of(&config.prior, config)
}

/// The one place where the kind of prior is matched.
pub(crate) fn prior_of(section: &PriorSection, config: &Config) -> Result<PriorPlan> {
    match section.kind {
        PriorKind::Counting => PriorPlan::counting(section, config),
        PriorKind::Uniform => PriorPlan::uniform(section, config),
        PriorKind::Reference => PriorPlan::reference(section, config),
        PriorKind::Demonstrations => PriorPlan::demonstrations(section, config),
        PriorKind::Mixture => PriorPlan::mixture(section, config),
    }
}

/// Refuses a β that would hold what its prior does not give.
pub fn check_beta(config: &Config) -> Result<()> {
    match config.beta {
        BetaSetting::Fixed(_) => Ok(()),
        BetaSetting::Adaptive(_) => prior(config)?.check_beta(config.beta),
    }
}

/// The folders of all networks that do not move: the prior's, if the objective has one, and the reward's.
pub(crate) fn frozen_folders(config: &Config) -> Result<Vec<PathBuf>> {
    let mut folders = match config.method.facts().prior {
        PriorUse::Nothing => Vec::new(),
        PriorUse::Penalty | PriorUse::Scale => prior(config)?.folders,
    };
    let rewards = config.reward.iter().flat_map(|rule| rule.models());
    folders.extend(rewards.map(Path::to_path_buf));
    Ok(folders)
}

/// A prior that has been decided on.
pub(crate) struct PriorPlan {
    /// Its name in formulas; none where it is a constant.
    pub name: Option<&'static str>,
    /// What it is, for a person.
    pub words: String,
    /// Whether it is a distribution, so that there is a KL to it that β can hold.
    normalized: bool,
    /// The checkpoint folders it reads.
    pub folders: Vec<PathBuf>,
    load: Box<dyn FnOnce() -> Result<Loaded>>,
}

impl PriorPlan {
    pub(crate) fn counting(section: &PriorSection, config: &Config) -> Result<Self> {
        only(section, &[])?;
        let model = model_path(config)?.to_path_buf();
        Ok(Self {
            name: None,
            words: "counting: every response weighs 1, so −KL is the entropy of the policy".into(),
            normalized: false,
            folders: Vec::new(),
            load: Box::new(move || Ok((Box::new(Counting::new(inspect(&model)?.vocab)), vec![]))),
        })
    }

    pub(crate) fn uniform(section: &PriorSection, config: &Config) -> Result<Self> {
        only(section, &[])?;
        let model = model_path(config)?.to_path_buf();
        Ok(Self {
            name: Some("uniform"),
            words: "uniform: every token is as likely as every other".into(),
            normalized: true,
            folders: Vec::new(),
            load: Box::new(move || Ok((Box::new(Uniform::new(inspect(&model)?.vocab)), vec![]))),
        })
    }

    pub(crate) fn reference(section: &PriorSection, config: &Config) -> Result<Self> {
        let folder = match &section.model {
            Some(folder) => folder.clone(),
            None => model_path(config)?.into(),
        };
        only(section, &["model"])?;
        Self::frozen("reference", folder, config)
    }

    pub(crate) fn demonstrations(section: &PriorSection, config: &Config) -> Result<Self> {
        only(section, &["model", "data", "fit", "smoothing"])?;
        match (&section.model, &section.data) {
            (Some(folder), None) => {
                ensure!(
                    section.fit.is_none(),
                    "prior.fit means nothing to a prior that is fitted already: remove it, or give \
                     prior.data in place of prior.model"
                );
                Self::frozen("demonstrations", folder.clone(), config)?.smoothed(section, config)
            }
            (None, Some(data)) => Self::fitted(data, section, config)?.smoothed(section, config),
            (Some(_), Some(_)) => bail!(
                "[prior] has a model and data: give the checkpoint of demonstrations, or the file to \
                 fit one to, not both"
            ),
            (None, None) => bail!(
                "[prior] kind = \"demonstrations\" has no source: give --prior FILE or prior.data, \
                 demonstrations to fit a copy of the model to; or --prior FOLDER or prior.model, a \
                 checkpoint made with `rlhf train --objective sft`"
            ),
        }
    }

    /// A copy of the model, fitted to demonstrations before the run. Until it is, the model stands for
    /// it where headers are read.
    fn fitted(data: &Path, section: &PriorSection, config: &Config) -> Result<Self> {
        let model = model_path(config)?.to_path_buf();
        let (origin, place) = (model.display(), section.fitted.clone());
        let words = format!(
            "demonstrations: a copy of {origin}, fitted to {} before the run, frozen",
            data.display()
        );
        let done = place.clone().filter(|folder| folder.exists());
        let Some(folder) = done else {
            let load = move || match place {
                Some(folder) => bail!("the prior is not fitted: there is no {}", folder.display()),
                None => bail!("the prior is fitted inside a run folder, and there is none"),
            };
            return Ok(Self {
                name: Some("demonstrations"),
                words,
                normalized: true,
                folders: vec![model],
                load: Box::new(load),
            });
        };
        let plan = Self::frozen("demonstrations", folder, config)?;
        Ok(Self { words, ..plan })
    }

    /// The same, able to say every token, where the settings ask for it.
    fn smoothed(self, section: &PriorSection, config: &Config) -> Result<Self> {
        let weight = section.smoothing.unwrap_or(0.0);
        if weight == 0.0 {
            return Ok(self);
        }
        ensure!(
            weight > 0.0 && weight < 1.0,
            "prior.smoothing = {weight}: the weight of the uniform distribution, from 0 and below 1"
        );
        let model = model_path(config)?.to_path_buf();
        let inner = self.load;
        let load = move || -> Result<Loaded> {
            let (prior, checksums) = inner()?;
            let vocab = inspect(&model)?.vocab;
            Ok((Box::new(Smoothed::new(prior, vocab, weight)?), checksums))
        };
        Ok(Self {
            words: format!(
                "{}; each token {} × (this) and {weight} × (uniform), so that none is forbidden",
                self.words,
                1.0 - weight
            ),
            load: Box::new(load),
            ..self
        })
    }

    fn frozen(name: &'static str, folder: PathBuf, config: &Config) -> Result<Self> {
        let (words, folders) = (
            format!("{name}: {}, frozen", folder.display()),
            vec![folder.clone()],
        );
        let config = config.clone();
        let load = move || -> Result<Loaded> {
            let network = network(
                &folder,
                &config,
                frozen(config.model.frozen_dtype),
                Heads::Language,
            )?;
            let prior = Frozen::new(network)?;
            let checksums = prior.checksums();
            Ok((Box::new(prior), vec![checksums]))
        };
        Ok(Self {
            name: Some(name),
            words,
            normalized: true,
            folders,
            load: Box::new(load),
        })
    }

    pub(crate) fn mixture(section: &PriorSection, config: &Config) -> Result<Self> {
        only(section, &["mean", "weight", "first", "second"])?;
        let part = |key: &str, part: &Option<Box<PriorSection>>| -> Result<Self> {
            let section = part.as_deref().with_context(|| {
                format!(
                    "a mixture has no prior.{key}: give one, as in {key} = {{ kind = \"uniform\" }}"
                )
            })?;
            let plan = prior_of(section, config)?;
            ensure!(
                plan.name.is_some(),
                "prior.{key}: the counting prior is not a distribution and cannot be mixed; the \
                 uniform prior can"
            );
            Ok(plan)
        };
        let (first, second) = (
            part("first", &section.first)?,
            part("second", &section.second)?,
        );
        let mean = section
            .mean
            .context("a mixture has no prior.mean: \"geometric\" or \"arithmetic\"")?;
        let weight = section.weight.unwrap_or(0.5);
        ensure!(
            weight > 0.0 && weight < 1.0,
            "prior.weight = {weight}: the weight of the second prior, between 0 and 1"
        );
        let (what, mix): (_, fn(_, _, _) -> _) = match mean {
            MeanName::Geometric => ("geometric per token", Mixture::geometric_per_token),
            MeanName::Arithmetic => (
                "arithmetic over sequences",
                Mixture::arithmetic_over_sequences,
            ),
        };
        let words = format!(
            "mixture, {what}, of {} × ({}) and {weight} × ({})",
            1.0 - weight,
            first.words,
            second.words
        );
        let folders = [first.folders.clone(), second.folders.clone()].concat();
        let load = move || -> Result<Loaded> {
            let ((first, mut checksums), (second, more)) = (first.load()?, second.load()?);
            checksums.extend(more);
            Ok((Box::new(mix(first, second, weight)?), checksums))
        };
        Ok(Self {
            name: Some("mixture"),
            words,
            normalized: true,
            folders,
            load: Box::new(load),
        })
    }

    /// Whether its folders are there and have the model's vocabulary, from their headers.
    pub(crate) fn check(&self, vocab: usize) -> Result<()> {
        for folder in &self.folders {
            let its = inspect(folder)?.vocab;
            ensure!(
                vocab == its,
                "the prior {} has {its} vocabulary entries and the model {vocab}: they must share a \
                 tokenizer",
                folder.display()
            );
        }
        Ok(())
    }

    /// Whether β can hold what the settings say over this prior.
    pub(crate) fn check_beta(&self, beta: BetaSetting) -> Result<()> {
        let BetaSetting::Adaptive(of) = beta else {
            return Ok(());
        };
        match of.target() {
            Target::Kl(target) => ensure!(
                self.normalized,
                "beta.target_kl = {target}: the counting prior is not a distribution, and the KL to it is \
                 minus the entropy of the policy; give beta.target_entropy, the entropy to hold in nats \
                 a sequence, in its place"
            ),
            Target::Entropy(target) => ensure!(
                !self.normalized,
                "beta.target_entropy = {target}: this prior is a distribution, so beta prices the KL to \
                 it; give beta.target_kl, the KL to hold in nats a sequence, in its place"
            ),
        }
        Ok(())
    }

    /// p₀, and for each folder the checksums of what is in it.
    pub(crate) fn load(self) -> Result<Loaded> {
        (self.load)()
    }
}

/// A setting of another kind would be ignored: that is worse than an error.
fn only(section: &PriorSection, keys: &[&str]) -> Result<()> {
    for (key, given) in [
        ("model", section.model.is_some()),
        ("data", section.data.is_some()),
        ("fit", section.fit.is_some()),
        ("smoothing", section.smoothing.is_some()),
        ("mean", section.mean.is_some()),
        ("weight", section.weight.is_some()),
        ("first", section.first.is_some()),
        ("second", section.second.is_some()),
    ] {
        if given && !keys.contains(&key) {
            let kind = toml::Value::try_from(section.kind)?;
            bail!(
                "prior.{key} means nothing to a prior of kind {kind}: remove it, or name another kind"
            );
        }
    }
    Ok(())
}
