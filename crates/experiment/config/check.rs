//! Validates settings before anything is opened.

use super::{AdaptiveBeta, BackendName, BetaSetting, Config, DtypeName};
use crate::catalog::Catalog;
use crate::method::{Facts, objectives};
use anyhow::{Result, anyhow, bail, ensure};
use rlhf_data::LossOn;
use rlhf_lm::ActivationCheckpointing;
use rlhf_objective::Adaptive;
use rlhf_train::{LearnsFrom, RunShape};

/// The most threads that are accepted.
const MOST_THREADS: usize = 1024;

impl Config {
    /// Validates the settings.
    ///
    /// # Errors
    /// If a setting is out of range or is not used by the objective; the message names it.
    pub fn check(&self, catalog: &Catalog) -> Result<()> {
        self.check_beta()?;
        self.check_numbers()?;
        ensure!(
            self.train.device == "cpu",
            "train.device = \"{}\": not built in; the only device is \"cpu\"",
            self.train.device
        );
        ensure!(
            (self.model.backend, self.model.dtype) != (BackendName::Plain, DtypeName::Bf16),
            "model.dtype = \"bf16\": only model.backend = \"engine\" computes in it"
        );
        ensure!(
            (self.model.backend, self.model.frozen_dtype) != (BackendName::Plain, DtypeName::Bf16),
            "model.frozen_dtype = \"bf16\": only model.backend = \"engine\" stores weights in it"
        );
        if let Some(adapter) = &self.model.adapter {
            let checked = adapter.spec().check();
            checked.map_err(|message| anyhow!("model.adapter.{message}"))?;
        }
        ensure!(
            self.train.activation_checkpointing == ActivationCheckpointing::None
                || self.model.backend == BackendName::Engine,
            "train.activation_checkpointing = \"blocks\": the plain network does not support it; remove it, \
             or model.backend = \"plain\""
        );
        self.check_foreign(catalog)?;
        Ok(self.method.configured().check(&self.shape())?)
    }

    /// What the method's settings are checked against.
    fn shape(&self) -> RunShape {
        RunShape {
            responses: self.sampling.rollouts,
            prompts: self.prompts(),
            constant_prior: self.prior.facts().constant,
        }
    }

    /// Checks that the settings without a default are given.
    ///
    /// # Errors
    /// If one is missing; the message says how to give it.
    pub fn require(&self) -> Result<()> {
        let online = self.online();
        for (present, message) in [
            (
                self.model.path.is_some(),
                "no model: give --model FOLDER, or [model] path in a config file",
            ),
            (
                self.data.train.is_some(),
                "no data: give --data FILE, or [data] train in a config file",
            ),
            (
                self.reward.is_some() || !online,
                "no reward: give --reward, as in --reward lexicon:words.txt, or a [reward] section",
            ),
        ] {
            ensure!(present, message);
        }
        Ok(())
    }

    fn check_beta(&self) -> Result<()> {
        let beta = self.beta.beta().value();
        ensure!(
            beta.is_finite() && beta >= 0.0,
            "beta = {beta}: must be a number from 0, the price of a nat of KL"
        );
        ensure!(
            beta > 0.0 || self.method.facts().allows_zero_beta,
            "beta = 0: {} has no optimum without its prior; give a positive β",
            self.objective
        );
        match self.beta {
            BetaSetting::Adaptive(setting) => self.check_adaptive(&setting),
            BetaSetting::Fixed(_) => Ok(()),
        }
    }

    fn check_adaptive(&self, setting: &AdaptiveBeta) -> Result<()> {
        let (key, target) = match (setting.target_kl, setting.target_entropy) {
            (Some(target), None) => ("beta.target_kl", target),
            (None, Some(target)) => ("beta.target_entropy", target),
            (None, None) => bail!(
                "beta has no target: give target_kl, or target_entropy where the prior is counting, in \
                 nats per sequence"
            ),
            (Some(_), Some(_)) => bail!("beta has two targets: give target_kl or target_entropy"),
        };
        ensure!(
            self.online(),
            "{key} is not used by {}: an adaptive beta needs an objective that samples from the policy",
            self.objective
        );
        let Adaptive {
            beta: start,
            horizon,
            lowest,
            greatest,
            ..
        } = setting.adaptive();
        for (key, number) in [
            ("beta.start", start),
            (key, target),
            ("beta.horizon", horizon),
            ("beta.min", lowest),
            ("beta.max", greatest),
        ] {
            positive(key, number)?;
        }
        ensure!(
            lowest <= start,
            "beta.min = {lowest}: beta starts at {start}, below it"
        );
        ensure!(
            start <= greatest,
            "beta.max = {greatest}: beta starts at {start}, above it"
        );
        // The smallest factor of a step, 1 − 0.2·rollouts/horizon, must stay positive.
        let rollouts = self.sampling.rollouts;
        ensure!(
            0.2 * (rollouts as f64) < horizon,
            "beta.horizon = {horizon}: a step of {rollouts} responses could make beta negative; give at \
             least {rollouts}"
        );
        Ok(())
    }

    /// Prompts per iteration.
    pub(crate) fn prompts(&self) -> usize {
        self.sampling.rollouts / self.sampling.samples_per_prompt
    }

    fn check_numbers(&self) -> Result<()> {
        positive("sampling.temperature", self.sampling.temperature)?;
        positive("optim.learning_rate", self.optim.learning_rate)?;
        positive("optim.clip", self.optim.clip)?;
        positive("optim.epsilon", self.optim.epsilon)?;
        for (key, number) in [
            ("optim.warmup", self.optim.warmup),
            ("optim.beta1", self.optim.beta1),
            ("optim.beta2", self.optim.beta2),
            ("data.held_out_fraction", self.data.held_out_fraction),
        ] {
            ensure!(
                (0.0..1.0).contains(&number),
                "{key} = {number}: must be in [0, 1)"
            );
        }
        if let Err(why) = self.data.label.check() {
            bail!("data.label: {why}");
        }
        let margin = self.data.min_margin;
        ensure!(
            margin.is_finite() && margin >= 0.0,
            "data.min_margin = {margin}: must be a number from 0"
        );
        let decay = self.optim.weight_decay;
        ensure!(
            decay.is_finite() && decay >= 0.0,
            "optim.weight_decay = {decay}: must be a number from 0"
        );
        for (key, number) in [
            (
                "sampling.max_new_tokens",
                self.sampling.max_new_tokens.unwrap_or(1),
            ),
            (
                "data.max_prompt_tokens",
                self.data.max_prompt_tokens.unwrap_or(1),
            ),
            (
                "data.max_completion_tokens",
                self.data.max_completion_tokens.unwrap_or(1),
            ),
            ("sampling.rollouts", self.sampling.rollouts),
            (
                "sampling.samples_per_prompt",
                self.sampling.samples_per_prompt,
            ),
            ("sampling.rows", self.sampling.rows),
            ("train.iterations", self.train.iterations.unwrap_or(1)),
            ("train.epochs", self.train.epochs.unwrap_or(1)),
            ("train.micro_batch_tokens", self.train.micro_batch_tokens),
            ("train.checkpoints", self.train.checkpoints),
            ("data.held_out_at_least", self.data.held_out_at_least),
            ("eval.prompts", self.eval.prompts),
            ("eval.samples_per_prompt", self.eval.samples_per_prompt),
        ] {
            ensure!(number > 0, "{key} = 0: must be positive");
        }
        if let (Some(unit), Some(size)) = (self.method.facts().batch_unit, self.train.batch_size) {
            unit.check(size)?;
        }
        let threads = self.train.threads;
        ensure!(
            threads <= MOST_THREADS,
            "train.threads = {threads}: at most {MOST_THREADS}; 0 uses as many as the machine has"
        );
        let (rollouts, samples) = (self.sampling.rollouts, self.sampling.samples_per_prompt);
        ensure!(
            rollouts.is_multiple_of(samples),
            "sampling.rollouts = {rollouts} is not a multiple of samples_per_prompt = {samples}"
        );
        ensure!(
            samples >= self.method.facts().min_responses_per_prompt,
            "sampling.samples_per_prompt = {samples}: {} compares the responses to a prompt; give at least {}",
            self.objective,
            self.method.facts().min_responses_per_prompt
        );
        Ok(())
    }

    /// Refuses settings that only other objectives use. Ignoring them silently would mislead the user.
    fn check_foreign(&self, catalog: &Catalog) -> Result<()> {
        let (objective, facts) = (&self.objective, self.method.facts());
        let owners = |uses: &dyn Fn(&Facts) -> bool| {
            objectives(catalog.methods.facts().filter(|facts| uses(facts)))
        };
        let critic = |facts: &Facts| facts.has_critic();
        let documents = |facts: &Facts| facts.learns_from == LearnsFrom::Demonstrations;
        let data = |facts: &Facts| facts.batch_unit.is_some();
        for (key, given, uses) in [
            (
                "model.critic",
                self.model.critic.is_some(),
                &critic as &dyn Fn(&Facts) -> bool,
            ),
            ("train.batch_size", self.train.batch_size.is_some(), &data),
            ("data.loss_on", self.data.loss_on != LossOn::All, &documents),
        ] {
            if given && !uses(facts) {
                let owners = owners(uses);
                bail!("{key} is not used by {objective}, only by {owners}: remove it");
            }
        }
        if self.train.iterations.is_some() && !facts.online() {
            bail!(
                "train.iterations is not used by {objective}, only by objectives that sample: remove it, \
                 or use train.epochs"
            );
        }
        if self.train.epochs.is_some() && facts.online() {
            bail!(
                "train.epochs is not used by {objective}: use train.iterations, or method.epochs for \
                 passes over the rollouts if the method has it"
            );
        }
        Ok(())
    }
}

fn positive(key: &str, number: f64) -> Result<()> {
    ensure!(
        number.is_finite() && number > 0.0,
        "{key} = {number}: must be a positive number"
    );
    Ok(())
}
