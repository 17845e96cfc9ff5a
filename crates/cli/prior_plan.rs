//! What is known of a prior before it is loaded.

use crate::config::{Config, MeanName, PriorSection};
use crate::wiring::{model_path, network, prior_of};
use anyhow::{Context, Result, bail, ensure};
use rlhf_lm::{Heads, inspect};
use rlhf_objective::Prior;
use rlhf_prior::{Counting, Frozen, Mixture, Uniform};
use rlhf_tensor::Storage;
use std::path::PathBuf;

/// p₀, and for each folder it reads the checksums of what is in it.
type Loaded = (Box<dyn Prior>, Vec<Vec<String>>);

/// A prior that has been decided on.
pub(crate) struct PriorPlan {
    /// Its name in formulas; none where it is a constant.
    pub(crate) name: Option<&'static str>,
    /// What it is, for a person.
    pub(crate) words: String,
    /// The checkpoint folders it reads.
    pub(crate) folders: Vec<PathBuf>,
    load: Box<dyn FnOnce() -> Result<Loaded>>,
}

impl PriorPlan {
    pub(crate) fn counting(section: &PriorSection, config: &Config) -> Result<Self> {
        only(section, &[])?;
        let model = model_path(config)?.to_path_buf();
        Ok(Self {
            name: None,
            words: "counting: every response weighs 1, so −KL is the entropy of the policy".into(),
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
            folders: Vec::new(),
            load: Box::new(move || Ok((Box::new(Uniform::new(inspect(&model)?.vocab)), vec![]))),
        })
    }

    pub(crate) fn reference(section: &PriorSection, config: &Config) -> Result<Self> {
        let folder = match &section.model {
            Some(folder) => folder.clone(),
            None => model_path(config)?.into(),
        };
        Self::frozen("reference", folder, section, config)
    }

    pub(crate) fn demonstrations(section: &PriorSection, config: &Config) -> Result<Self> {
        let folder = section.model.clone().context(
            "[prior] kind = \"demonstrations\" has no model: give --prior FOLDER or prior.model, a \
             checkpoint fitted to demonstrations with `rlhf train --objective sft`",
        )?;
        Self::frozen("demonstrations", folder, section, config)
    }

    fn frozen(
        name: &'static str,
        folder: PathBuf,
        section: &PriorSection,
        config: &Config,
    ) -> Result<Self> {
        only(section, &["model"])?;
        let (words, folders) = (
            format!("{name}: {}, frozen", folder.display()),
            vec![folder.clone()],
        );
        let config = config.clone();
        let load = move || -> Result<Loaded> {
            let network = network(&folder, &config, Storage::Frozen, Heads::Language)?;
            let prior = Frozen::new(network)?;
            let checksums = prior.checksums();
            Ok((Box::new(prior), vec![checksums]))
        };
        Ok(Self {
            name: Some(name),
            words,
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

    /// p₀, and for each folder the checksums of what is in it.
    pub(crate) fn load(self) -> Result<Loaded> {
        (self.load)()
    }
}

/// A setting of another kind would be ignored: that is worse than an error.
fn only(section: &PriorSection, keys: &[&str]) -> Result<()> {
    for (key, given) in [
        ("model", section.model.is_some()),
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
