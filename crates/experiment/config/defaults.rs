//! The one place of default values.

use super::{
    BackendName, BetaSetting, Config, Critic, DataSection, DtypeName, EvalSection, ModelSection,
    NoPrior, OptimSection, PriorSection, Priors, SamplingSection, TrainSection,
};
use crate::method::Objective;
use anyhow::{Result, anyhow};
use rlhf_data::{Annotators, Documents, LabelFormat, LossOn, OnBadRow, PairsOf};
use rlhf_lm::ActivationCheckpointing;
use rlhf_objective::BatchSize;
use rlhf_train::LrSchedule;

impl Config {
    /// The defaults of an objective. What has none (the model, the data, the reward) is absent.
    ///
    /// # Errors
    /// If there is no such kind of prior.
    pub fn defaults(objective: &Objective, priors: &Priors) -> Result<Self> {
        let method = objective.method();
        let facts = method.facts();
        let (own, online) = (facts.defaults, facts.online());
        Ok(Self {
            objective: objective.preset.name.into(),
            beta: BetaSetting::Fixed(own.beta),
            model: ModelSection {
                path: None,
                critic: (facts.has_critic()).then_some(Critic::Head),
                backend: BackendName::Engine,
                dtype: DtypeName::F32,
                frozen_dtype: DtypeName::F32,
                adapter: None,
            },
            prior: of_kind(priors, objective.preset.prior)?,
            reward: None,
            data: DataSection {
                train: None,
                held_out: None,
                held_out_fraction: 0.1,
                held_out_at_least: rlhf_eval::LEAST_PROMPTS,
                split: None,
                held_out_split: None,
                format: None,
                columns: Vec::new(),
                documents: Documents::Paragraphs,
                on_bad_row: OnBadRow::Error,
                chat_template: None,
                pairs: PairsOf::BestWorst,
                min_margin: 0.0,
                label: LabelFormat::default(),
                annotators: Annotators::Mean,
                loss_on: LossOn::All,
                max_prompt_tokens: None,
                max_completion_tokens: None,
                fields: rlhf_data::Fields::default(),
            },
            sampling: SamplingSection {
                temperature: 1.0,
                tokens: None,
                max_new_tokens: None,
                rollouts: 64,
                samples_per_prompt: own.samples_per_prompt,
                rows: 64,
            },
            optim: OptimSection {
                learning_rate: own.learning_rate,
                schedule: LrSchedule::Linear,
                warmup: own.warmup,
                clip: 1.0,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.0,
            },
            train: TrainSection {
                seed: 1,
                iterations: online.then_some(100),
                epochs: (!online).then_some(own.epochs),
                batch_size: (!online).then(BatchSize::default),
                micro_batch_tokens: 4096,
                activation_checkpointing: ActivationCheckpointing::None,
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
            method,
            prior_fits: None,
        })
    }
}

/// A prior of a kind, and nothing else said.
fn of_kind(priors: &Priors, kind: &str) -> Result<PriorSection> {
    let section = toml::Table::from_iter([("kind".to_string(), kind.into())]);
    priors
        .section(section)
        .map_err(|NoPrior { message, .. }| anyhow!("prior.kind: {message}"))
}

impl BetaSetting {
    /// Says within which bounds it moves.
    pub fn complete(&mut self) {
        if let Self::Adaptive(of) = self {
            let adaptive = of.adaptive();
            of.min = Some(adaptive.lowest);
            of.max = Some(adaptive.greatest);
        }
    }
}
