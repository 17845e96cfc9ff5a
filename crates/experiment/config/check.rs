//! What no run can do, or lacks.

use super::{AdaptiveBeta, BackendName, BetaSetting, Config, DtypeName};
use crate::catalog::Catalog;
use crate::method::{Facts, objectives};
use anyhow::{Result, anyhow, bail, ensure};
use rlhf_data::LossOn;
use rlhf_lm::ActivationCheckpointing;
use rlhf_objective::Adaptive;
use rlhf_train::{LearnsFrom, RunShape};

/// More threads than any machine has use for.
const MOST_THREADS: usize = 1024;

impl Config {
    /// Refuses what no run can do.
    ///
    /// # Errors
    /// If a setting makes no sense, or means nothing to the objective; the message names it.
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
            "model.frozen_dtype = \"bf16\": only model.backend = \"engine\" holds weights in it"
        );
        if let Some(adapter) = &self.model.adapter {
            let checked = adapter.spec().check();
            checked.map_err(|message| anyhow!("model.adapter.{message}"))?;
        }
        ensure!(
            self.train.activation_checkpointing == ActivationCheckpointing::None
                || self.model.backend == BackendName::Engine,
            "train.activation_checkpointing = \"blocks\": the plain network keeps everything; remove it, or \
             model.backend = \"plain\""
        );
        self.check_foreign(catalog)?;
        Ok(self.method.configured().check(&self.shape())?)
    }

    /// What the settings of the method must fit.
    fn shape(&self) -> RunShape {
        RunShape {
            responses: self.sampling.rollouts,
            prompts: self.prompts(),
            constant_prior: self.prior.facts().constant,
        }
    }

    /// Refuses a run that lacks what has no default.
    ///
    /// # Errors
    /// If it does; the message says how to give it.
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
            "beta = {beta}: β is the price of a nat of KL, a number from 0"
        );
        ensure!(
            beta > 0.0 || self.method.facts().allows_zero_beta,
            "beta = 0: {} has no optimum without its prior; give a positive β",
            self.objective
        );
        match self.beta {
            BetaSetting::Adaptive(of) => self.check_adaptive(&of),
            BetaSetting::Fixed(_) => Ok(()),
        }
    }

    fn check_adaptive(&self, of: &AdaptiveBeta) -> Result<()> {
        let (key, target) = match (of.target_kl, of.target_entropy) {
            (Some(target), None) => ("beta.target_kl", target),
            (None, Some(target)) => ("beta.target_entropy", target),
            (None, None) => bail!(
                "beta has no target: give target_kl, or target_entropy where the prior is counting, in \
                 nats a sequence"
            ),
            (Some(_), Some(_)) => bail!("beta has two targets: give target_kl or target_entropy"),
        };
        ensure!(
            self.online(),
            "{key} means nothing to {}: only objectives that sample see what there is to hold",
            self.objective
        );
        let Adaptive {
            beta: start,
            horizon,
            lowest,
            greatest,
            ..
        } = of.adaptive();
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
        // The least factor of a step is 1 − 0.2·rollouts/horizon.
        let rollouts = self.sampling.rollouts;
        ensure!(
            0.2 * (rollouts as f64) < horizon,
            "beta.horizon = {horizon}: a step of {rollouts} responses would take more from beta than \
             there is; give at least {rollouts}"
        );
        Ok(())
    }

    /// How many prompts an iteration takes.
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
            "data.min_margin = {margin}: from 0"
        );
        let decay = self.optim.weight_decay;
        ensure!(
            decay.is_finite() && decay >= 0.0,
            "optim.weight_decay = {decay}: from 0"
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
            "train.threads = {threads}: at most {MOST_THREADS}; 0 takes as many as the machine has"
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

    /// A setting of another objective would be ignored: that is worse than an error.
    fn check_foreign(&self, catalog: &Catalog) -> Result<()> {
        let (objective, facts) = (&self.objective, self.method.facts());
        let owners = |means: &dyn Fn(&Facts) -> bool| {
            objectives(catalog.methods.facts().filter(|facts| means(facts)))
        };
        let critic = |facts: &Facts| facts.has_critic();
        let documents = |facts: &Facts| facts.learns_from == LearnsFrom::Demonstrations;
        let data = |facts: &Facts| facts.batch_unit.is_some();
        for (key, given, means) in [
            (
                "model.critic",
                self.model.critic.is_some(),
                &critic as &dyn Fn(&Facts) -> bool,
            ),
            ("train.batch_size", self.train.batch_size.is_some(), &data),
            ("data.loss_on", self.data.loss_on != LossOn::All, &documents),
        ] {
            if given && !means(facts) {
                let owner = owners(means);
                bail!("{key} means nothing to {objective}: it belongs to {owner}; remove it");
            }
        }
        if self.train.iterations.is_some() && !facts.online() {
            bail!(
                "train.iterations means nothing to {objective}: it belongs to objectives that sample; \
                 remove it"
            );
        }
        if self.train.epochs.is_some() && facts.online() {
            bail!(
                "train.epochs means nothing to {objective}: use train.iterations, and method.epochs \
                 for passes over the rollouts where it has them"
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
