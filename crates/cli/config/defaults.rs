//! The one place of default values.

use super::{
    BackendName, BetaSetting, Config, Critic, DataSection, DtypeName, EvalSection, FitSection,
    MethodName, ModelSection, ObjectiveName, OptimSection, PriorSection, SamplingSection,
    TrainSection,
};
use anyhow::Result;
use rlhf_data::{Annotators, Documents, LabelValues, LossOn, OnBadRow, PairsOf};
use rlhf_lm::Recompute;
use rlhf_reinforce::{GradientConfig, MovingConfig, VarGradConfig};
use rlhf_train::LrSchedule;

impl Config {
    /// The defaults of an objective. What has none (the model, the data, the reward) is absent.
    pub(crate) fn defaults(objective: ObjectiveName) -> Result<Self> {
        use MethodName::{Dpo, Kto, Ppo, Reward, Sft};
        let method = objective.method();
        let pick = |online, dpo, sft, reward| match method {
            Dpo | Kto => dpo,
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
                dtype: DtypeName::F32,
                frozen_dtype: DtypeName::F32,
                adapter: None,
            },
            prior: PriorSection::of(objective.prior()),
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
            method: method_defaults(objective)?,
            sampling: SamplingSection {
                temperature: 1.0,
                tokens: None,
                max_new_tokens: None,
                rollouts: 64,
                samples_per_prompt: if method.compares() { 4 } else { 1 },
                rows: 64,
            },
            optim: OptimSection {
                learning_rate: pick(1e-5, 1e-6, 2e-5, 1e-5),
                schedule: LrSchedule::Linear,
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
                    Dpo | Kto | Reward => Some(1),
                    Sft => Some(3),
                    _ => None,
                },
                batch_pairs: matches!(method, Dpo | Reward).then_some(16),
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
        })
    }
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
    pub(crate) fn complete(&mut self) {
        if let Self::Adaptive(of) = self {
            let adaptive = of.adaptive();
            of.min = Some(adaptive.lowest);
            of.max = Some(adaptive.greatest);
        }
    }
}

impl PriorSection {
    /// Says what was left to defaults, so that the settings of a run are all written down.
    pub(crate) fn complete(&mut self) {
        for part in [&mut self.first, &mut self.second].into_iter().flatten() {
            part.complete();
        }
        if self.data.is_some() {
            self.fit.get_or_insert_default();
            self.smoothing.get_or_insert(SMOOTHING);
        }
    }
}

fn method_defaults(objective: ObjectiveName) -> Result<toml::Table> {
    Ok(match objective.method() {
        MethodName::Ppo => toml::Table::try_from(rlhf_ppo::Config::default())?,
        MethodName::Rloo | MethodName::Grpo => toml::Table::try_from(GradientConfig::default())?,
        MethodName::Reinforce => toml::Table::try_from(MovingConfig::default())?,
        MethodName::Vargrad => toml::Table::try_from(VarGradConfig::default())?,
        MethodName::Dpo => toml::Table::try_from(rlhf_dpo::Config::default())?,
        MethodName::Kto => toml::Table::try_from(rlhf_dpo::KtoConfig::default())?,
        MethodName::Sft => toml::Table::try_from(rlhf_sft::Config::default())?,
        MethodName::Reward => toml::Table::try_from(rlhf_reward::BradleyTerryConfig::default())?,
    })
}
