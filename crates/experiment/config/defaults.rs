//! The one place of default values.

use super::{
    BackendName, BetaSetting, Config, Critic, DataSection, DtypeName, EvalSection, FitSection,
    ModelSection, OptimSection, PriorKind, PriorSection, SamplingSection, TrainSection,
};
use crate::method::Objective;
use anyhow::Result;
use rlhf_data::{Annotators, Documents, LabelValues, LossOn, OnBadRow, PairsOf};
use rlhf_lm::Recompute;
use rlhf_train::{Decay, Trains};
use serde::Deserialize;
use serde::de::IntoDeserializer;

impl Config {
    /// The defaults of an objective. What has none (the model, the data, the reward) is absent.
    ///
    /// # Errors
    /// If there is no such kind of prior.
    pub fn defaults(objective: &Objective) -> Result<Self> {
        let method = objective.method();
        let facts = method.facts();
        let (own, online) = (facts.defaults, facts.online());
        Ok(Self {
            objective: objective.preset.name.into(),
            beta: BetaSetting::Fixed(own.beta),
            model: ModelSection {
                path: None,
                critic: (facts.trains == Trains::PolicyAndCritic).then_some(Critic::Head),
                backend: BackendName::Engine,
                dtype: DtypeName::F32,
                frozen_dtype: DtypeName::F32,
                adapter: None,
            },
            prior: PriorSection::of(kind(objective.preset.prior)?),
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
                label: LabelValues::default(),
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
                schedule: Decay::Linear,
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
                batch_pairs: facts.takes_batch_pairs.then_some(16),
                tokens_per_batch: 4096,
                recompute: Recompute::None,
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
        })
    }
}

/// A kind of prior by its name.
fn kind(name: &str) -> Result<PriorKind> {
    let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        name.into_deserializer();
    Ok(PriorKind::deserialize(name)?)
}

/// The weight of the uniform distribution in a prior that is fitted on the spot.
const SMOOTHING: f64 = 1e-3;

impl Default for FitSection {
    /// The defaults of `sft`.
    fn default() -> Self {
        Self {
            learning_rate: 2e-5,
            epochs: 3,
            per_step: rlhf_sft::Config::default().per_step,
        }
    }
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

impl PriorSection {
    /// Says what was left to defaults, so that the settings of a run are all written down.
    pub fn complete(&mut self) {
        for part in [&mut self.first, &mut self.second].into_iter().flatten() {
            part.complete();
        }
        if self.data.is_some() {
            self.fit.get_or_insert_default();
            self.smoothing.get_or_insert(SMOOTHING);
        }
    }
}
