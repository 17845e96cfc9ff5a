//! The settings of a run, as they stand in `config.toml`.
//!
//! [`Config::defaults`] is the one place of default values; `layers` lays a file and `--set` over
//! them. Nothing is opened or loaded here: see `wiring`.

use anyhow::{Result, bail, ensure};
use rlhf_data::Documents;
use rlhf_objective::Beta;
use rlhf_reinforce::{MovingConfig, VarGradConfig};
use rlhf_reward::Rule;
use rlhf_train::Decay;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A preset: a method with a prior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ObjectiveName {
    /// PPO, with the KL to a reference model paid in the reward.
    PpoKl,
    /// PPO with the counting prior: maximum entropy.
    Maxent,
    /// PPO with a model of demonstrations as the prior.
    Imitation,
    /// The policy gradient, each response compared with the others to its prompt.
    Rloo,
    /// The policy gradient with a moving baseline.
    Reinforce,
    /// The policy gradient with scores measured in the spread of their group.
    Grpo,
    /// The least variance of reward minus KL among the responses to a prompt.
    Vargrad,
    /// Direct preference optimization.
    Dpo,
    /// Supervised fine-tuning.
    Sft,
    /// A reward model, fitted to preference pairs.
    Reward,
}

/// What moves the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MethodName {
    Ppo,
    Rloo,
    Reinforce,
    Grpo,
    Vargrad,
    Dpo,
    Sft,
    Reward,
}

impl ObjectiveName {
    pub(crate) fn method(self) -> MethodName {
        match self {
            Self::PpoKl | Self::Maxent | Self::Imitation => MethodName::Ppo,
            Self::Rloo => MethodName::Rloo,
            Self::Reinforce => MethodName::Reinforce,
            Self::Grpo => MethodName::Grpo,
            Self::Vargrad => MethodName::Vargrad,
            Self::Dpo => MethodName::Dpo,
            Self::Sft => MethodName::Sft,
            Self::Reward => MethodName::Reward,
        }
    }

    /// The prior of the preset; `[prior]` overrides it.
    fn prior(self) -> PriorKind {
        use PriorKind::{Counting, Demonstrations, Reference};
        match self {
            Self::Maxent => Counting,
            Self::Imitation => Demonstrations,
            _ => Reference,
        }
    }
}

impl MethodName {
    /// Whether it learns from the policy's own samples.
    pub(crate) fn online(self) -> bool {
        !matches!(self, Self::Dpo | Self::Sft | Self::Reward)
    }

    /// Whether it compares several responses to a prompt.
    fn compares(self) -> bool {
        matches!(self, Self::Rloo | Self::Grpo | Self::Vargrad)
    }
}

impl fmt::Display for ObjectiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        f.write_str(
            value
                .as_ref()
                .map_or("", clap::builder::PossibleValue::get_name),
        )
    }
}

/// All settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) objective: ObjectiveName,
    pub(crate) beta: BetaSetting,
    pub(crate) model: ModelSection,
    pub(crate) prior: PriorSection,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reward: Option<Rule>,
    pub(crate) data: DataSection,
    pub(crate) method: toml::Table,
    pub(crate) sampling: SamplingSection,
    pub(crate) optim: OptimSection,
    pub(crate) train: TrainSection,
    pub(crate) eval: EvalSection,
}

/// β: a number, or a start and the KL to hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number, or { start, target_kl, horizon }"
)]
pub(crate) enum BetaSetting {
    Fixed(f64),
    Adaptive {
        start: f64,
        target_kl: f64,
        horizon: f64,
    },
}

impl BetaSetting {
    pub(crate) fn beta(self) -> Beta {
        match self {
            Self::Fixed(beta) => Beta::Fixed(beta),
            Self::Adaptive {
                start,
                target_kl,
                horizon,
            } => Beta::Adaptive {
                beta: start,
                target_kl,
                horizon,
            },
        }
    }
}

/// `[model]`: the policy and its critic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelSection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) critic: Option<Critic>,
    pub(crate) backend: BackendName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) adapter: Option<toml::Value>,
}

/// Where values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Critic {
    /// A linear layer on the policy's hidden states.
    Head,
    /// A network of its own, starting as a copy of the policy.
    Separate,
}

/// Which implementation of the network computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BackendName {
    /// The fast one.
    Engine,
    /// The readable one.
    Plain,
}

/// `[prior]`: p₀.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriorSection {
    pub(crate) kind: PriorKind,
    /// Where its network is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<PathBuf>,
    /// Of a mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mean: Option<MeanName>,
    /// The weight of the second of a mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<Box<PriorSection>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) second: Option<Box<PriorSection>>,
}

impl PriorSection {
    /// Of a kind, and nothing else said.
    pub(crate) fn of(kind: PriorKind) -> Self {
        Self {
            kind,
            model: None,
            mean: None,
            weight: None,
            first: None,
            second: None,
        }
    }

    /// Every path in it.
    fn files(&mut self) -> Vec<&mut PathBuf> {
        let parts = [&mut self.first, &mut self.second];
        let inner = parts.into_iter().flatten().flat_map(|part| part.files());
        inner.chain(&mut self.model).collect()
    }
}

/// The mean of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MeanName {
    /// Of the log-probs of each token, renormalized.
    Geometric,
    /// Of the probabilities of whole responses.
    Arithmetic,
}

/// The kind of prior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PriorKind {
    Counting,
    Uniform,
    Reference,
    Demonstrations,
    Mixture,
}

/// `[data]`: what is learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataSection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held_out: Option<PathBuf>,
    pub(crate) held_out_fraction: f64,
    pub(crate) documents: Documents,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_prompt_tokens: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_completion_tokens: Option<usize>,
    pub(crate) fields: rlhf_data::Fields,
}

/// `[sampling]`: how responses are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamplingSection {
    pub(crate) temperature: f64,
    pub(crate) max_new_tokens: usize,
    pub(crate) rollouts: usize,
    pub(crate) samples_per_prompt: usize,
    pub(crate) rows: usize,
}

/// `[optim]`: AdamW and its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OptimSection {
    pub(crate) learning_rate: f64,
    pub(crate) schedule: Decay,
    pub(crate) warmup: f64,
    pub(crate) clip: f64,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
}

/// `[train]`: the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainSection {
    pub(crate) seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iterations: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epochs: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch_pairs: Option<usize>,
    pub(crate) micro_batch_tokens: usize,
    pub(crate) checkpoints: usize,
    pub(crate) samples: usize,
    pub(crate) threads: usize,
    pub(crate) device: String,
}

/// `[eval]`: how a point on the reward–KL plane is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvalSection {
    pub(crate) prompts: usize,
    pub(crate) samples_per_prompt: usize,
    pub(crate) prior_samples: usize,
    pub(crate) seed: u64,
}

impl Config {
    /// The defaults of an objective. What has none (the model, the data, the reward) is absent.
    pub(crate) fn defaults(objective: ObjectiveName) -> Result<Self> {
        use MethodName::{Dpo, Ppo, Reward, Sft};
        let method = objective.method();
        let pick = |online, dpo, sft, reward| match method {
            Dpo => dpo,
            Sft => sft,
            Reward => reward,
            _ => online,
        };
        Ok(Self {
            objective,
            beta: BetaSetting::Fixed(pick(0.05, 0.1, 0.0, 0.0)),
            model: ModelSection {
                path: None,
                critic: (method == Ppo).then_some(Critic::Head),
                backend: BackendName::Engine,
                adapter: None,
            },
            prior: PriorSection::of(objective.prior()),
            reward: None,
            data: DataSection {
                train: None,
                held_out: None,
                held_out_fraction: 0.1,
                documents: Documents::Paragraphs,
                max_prompt_tokens: None,
                max_completion_tokens: None,
                fields: rlhf_data::Fields::default(),
            },
            method: method_defaults(objective)?,
            sampling: SamplingSection {
                temperature: 1.0,
                max_new_tokens: 64,
                rollouts: 64,
                samples_per_prompt: if method.compares() { 4 } else { 1 },
                rows: 64,
            },
            optim: OptimSection {
                learning_rate: pick(1e-5, 1e-6, 2e-5, 1e-5),
                schedule: Decay::Linear,
                warmup: pick(0.0, 0.1, 0.0, 0.1),
                clip: 1.0,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.0,
            },
            train: TrainSection {
                seed: 1,
                iterations: method.online().then_some(100),
                epochs: match method {
                    Dpo | Reward => Some(1),
                    Sft => Some(3),
                    _ => None,
                },
                batch_pairs: matches!(method, Dpo | Reward).then_some(16),
                micro_batch_tokens: 4096,
                checkpoints: 4,
                samples: 4,
                threads: 0,
                device: "cpu".into(),
            },
            eval: EvalSection {
                prompts: 128,
                samples_per_prompt: 4,
                prior_samples: 0,
                seed: 1,
            },
        })
    }

    /// `[method]` as the settings of its method; `resolve` has seen that they are.
    pub(crate) fn method<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        Ok(T::deserialize(toml::Value::Table(self.method.clone()))?)
    }

    /// Refuses what no run can do.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_beta()?;
        self.check_numbers()?;
        ensure!(
            self.train.device == "cpu",
            "train.device = \"{}\": not built in; the only device is \"cpu\"",
            self.train.device
        );
        ensure!(
            self.model.adapter.is_none(),
            "model.adapter: not built in; remove it"
        );
        self.check_foreign()
    }

    /// Refuses a run that lacks what has no default.
    pub(crate) fn require(&self) -> Result<()> {
        let online = self.objective.method().online();
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

    /// The same with every path absolute, so that a run folder can be read from anywhere.
    pub(crate) fn absolute(mut self) -> Result<Self> {
        let own = [
            &mut self.model.path,
            &mut self.data.train,
            &mut self.data.held_out,
        ];
        let own = own.into_iter().flatten().chain(self.prior.files());
        let files = self.reward.iter_mut().flat_map(Rule::files);
        for path in own.chain(files) {
            *path = std::path::absolute(&path)?;
        }
        Ok(self)
    }

    fn check_beta(&self) -> Result<()> {
        let (beta, method) = (self.beta.beta().value(), self.objective.method());
        ensure!(
            beta.is_finite() && beta >= 0.0,
            "beta = {beta}: β is the price of a nat of KL, a number from 0"
        );
        ensure!(
            beta > 0.0 || !matches!(method, MethodName::Dpo | MethodName::Vargrad),
            "beta = 0: {} has no optimum without its prior; give a positive β",
            self.objective
        );
        if let BetaSetting::Adaptive {
            target_kl, horizon, ..
        } = self.beta
        {
            positive("beta.target_kl", target_kl)?;
            positive("beta.horizon", horizon)?;
        }
        Ok(())
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
        let decay = self.optim.weight_decay;
        ensure!(
            decay.is_finite() && decay >= 0.0,
            "optim.weight_decay = {decay}: from 0"
        );
        for (key, number) in [
            ("sampling.max_new_tokens", self.sampling.max_new_tokens),
            ("sampling.rollouts", self.sampling.rollouts),
            (
                "sampling.samples_per_prompt",
                self.sampling.samples_per_prompt,
            ),
            ("sampling.rows", self.sampling.rows),
            ("train.iterations", self.train.iterations.unwrap_or(1)),
            ("train.epochs", self.train.epochs.unwrap_or(1)),
            ("train.batch_pairs", self.train.batch_pairs.unwrap_or(1)),
            ("train.micro_batch_tokens", self.train.micro_batch_tokens),
            ("train.checkpoints", self.train.checkpoints),
            ("eval.prompts", self.eval.prompts),
            ("eval.samples_per_prompt", self.eval.samples_per_prompt),
        ] {
            ensure!(number > 0, "{key} = 0: must be positive");
        }
        let (rollouts, samples) = (self.sampling.rollouts, self.sampling.samples_per_prompt);
        ensure!(
            rollouts.is_multiple_of(samples),
            "sampling.rollouts = {rollouts} is not a multiple of samples_per_prompt = {samples}"
        );
        ensure!(
            samples > 1 || !self.objective.method().compares(),
            "sampling.samples_per_prompt = 1: {} compares the responses to a prompt; give at least 2",
            self.objective
        );
        Ok(())
    }

    /// A setting of another objective would be ignored: that is worse than an error.
    fn check_foreign(&self) -> Result<()> {
        let objective = self.objective;
        let method = objective.method();
        for (key, given, means, owner) in [
            (
                "model.critic",
                self.model.critic.is_some(),
                method == MethodName::Ppo,
                "ppo-kl, maxent and imitation",
            ),
            (
                "train.iterations",
                self.train.iterations.is_some(),
                method.online(),
                "objectives that sample",
            ),
            (
                "train.batch_pairs",
                self.train.batch_pairs.is_some(),
                matches!(method, MethodName::Dpo | MethodName::Reward),
                "dpo and reward",
            ),
        ] {
            if given && !means {
                bail!("{key} means nothing to {objective}: it belongs to {owner}; remove it");
            }
        }
        if self.train.epochs.is_some() && method.online() {
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

fn method_defaults(objective: ObjectiveName) -> Result<toml::Table> {
    Ok(match objective.method() {
        MethodName::Ppo => toml::Table::try_from(rlhf_ppo::Config::default())?,
        MethodName::Rloo | MethodName::Grpo => toml::Table::new(),
        MethodName::Reinforce => toml::Table::try_from(MovingConfig::default())?,
        MethodName::Vargrad => toml::Table::try_from(VarGradConfig::default())?,
        MethodName::Dpo => toml::Table::try_from(rlhf_dpo::Config::default())?,
        MethodName::Sft => toml::Table::try_from(rlhf_sft::Config::default())?,
        MethodName::Reward => toml::Table::try_from(rlhf_reward::BradleyTerryConfig::default())?,
    })
}
