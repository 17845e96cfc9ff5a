//! Rewards of responses sampled from the prior, and points with intervals estimated from them.

use crate::bootstrap::intervals;
use crate::{Bootstrap, DistinctPrompts};
use rlhf_journal::{Estimate, FrontierPoint, Intervals, Point};
use rlhf_objective::Prompt;
use rlhf_oracle::Outcome;
use std::sync::Arc;

/// The number of jackknife blocks of the samples of a single prompt.
const JACKKNIFE_BLOCKS: usize = 32;

/// The rewards of responses sampled from the prior, by question. A question is a prompt with its
/// fields: rows with equal prompts and fields are one question, and their responses are pooled. Rows
/// with equal prompts and different fields, which a reward may use, are different questions.
#[derive(Debug, Clone, PartialEq)]
pub struct PriorRewards {
    /// The rewards of each question, in units of the reward.
    pub rewards: Vec<Vec<f64>>,
    /// The number of rows of each question.
    pub rows: Vec<usize>,
    /// The number of the distinct prompt of each question.
    pub prompts: Vec<usize>,
    /// The number of responses without a score; they are not in `rewards`.
    pub unscored: usize,
}

impl PriorRewards {
    /// Rewards of prompts that are all distinct, each with one row.
    #[must_use]
    pub fn of_prompts(rewards: Vec<Vec<f64>>) -> Self {
        Self {
            rows: vec![1; rewards.len()],
            prompts: (0..rewards.len()).collect(),
            rewards,
            unscored: 0,
        }
    }

    /// Pools `rewards`, given by row, by question. Questions without a scored response are left out.
    #[must_use]
    pub fn of_rows(prompts: &[Arc<Prompt>], rewards: &[Vec<Option<f64>>]) -> Self {
        let distinct = DistinctPrompts::new(prompts);
        let mut questions_of_prompt: Vec<Vec<usize>> = vec![Vec::new(); distinct.count()];
        let mut first_rows: Vec<usize> = Vec::new();
        let mut all = Self::of_prompts(Vec::new());
        for (row, prompt) in prompts.iter().enumerate() {
            let same_prompt = &mut questions_of_prompt[distinct.prompt_of_row()[row]];
            let mut candidates = same_prompt.iter().copied();
            let known =
                candidates.find(|&question| prompts[first_rows[question]].fields == prompt.fields);
            let question = known.unwrap_or_else(|| {
                same_prompt.push(all.rewards.len());
                first_rows.push(row);
                all.rewards.push(Vec::new());
                all.rows.push(0);
                all.prompts.push(distinct.prompt_of_row()[row]);
                all.rewards.len() - 1
            });
            all.rows[question] += 1;
            all.unscored += rewards[row].iter().filter(|score| score.is_none()).count();
            all.rewards[question].extend(rewards[row].iter().flatten());
        }
        all.without_empty()
    }

    fn without_empty(self) -> Self {
        let kept = self.rewards.iter().map(|rewards| !rewards.is_empty());
        let kept: Vec<bool> = kept.collect();
        let select = |values: Vec<usize>| -> Vec<usize> {
            let pairs = values.into_iter().zip(&kept);
            pairs.filter(|(_, kept)| **kept).map(|(x, _)| x).collect()
        };
        // Prompts are renumbered so that their numbers are contiguous.
        let mut kept_prompts: Vec<usize> = Vec::new();
        let prompts = select(self.prompts);
        let renumbered = prompts.iter().map(|prompt| {
            kept_prompts
                .iter()
                .position(|kept| kept == prompt)
                .unwrap_or_else(|| {
                    kept_prompts.push(*prompt);
                    kept_prompts.len() - 1
                })
        });
        Self {
            prompts: renumbered.collect(),
            rows: select(self.rows),
            rewards: self.rewards.into_iter().filter(|r| !r.is_empty()).collect(),
            unscored: self.unscored,
        }
    }

    /// The number of distinct prompts.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.prompts.iter().max().map_or(0, |last| last + 1)
    }

    /// A point from the `outcomes` of the questions. `estimator` computes an outcome from rewards; it is
    /// used for the jackknife where there is a single prompt.
    pub(crate) fn point(
        &self,
        (label, point): (&str, Point),
        outcomes: &[Outcome],
        estimator: &dyn Fn(&[f64]) -> Outcome,
        bootstrap: &Bootstrap,
    ) -> FrontierPoint {
        let estimate = |component: fn(&Outcome) -> f64| {
            let values: Vec<f64> = outcomes.iter().map(component).collect();
            self.estimate(
                &values,
                &|rewards| component(&estimator(rewards)),
                bootstrap,
            )
        };
        FrontierPoint {
            label: label.into(),
            point,
            kl: estimate(|outcome| outcome.kl).not_below_zero(),
            reward: estimate(|outcome| outcome.reward),
            kl_k1: None,
            kl_k1_error: None,
            intervals: intervals(self.distinct()),
            prompts: self.distinct(),
            reward_prompts: None,
            rows: Some(self.rows.iter().sum()),
            samples: self.rewards.iter().map(Vec::len).sum(),
            no_opinion: self.unscored,
        }
    }

    fn estimate(
        &self,
        values: &[f64],
        estimator: &dyn Fn(&[f64]) -> f64,
        bootstrap: &Bootstrap,
    ) -> Estimate {
        let mut rows = vec![0; self.distinct()];
        let mut sums = vec![0.0; self.distinct()];
        for ((value, count), prompt) in values.iter().zip(&self.rows).zip(&self.prompts) {
            rows[*prompt] += count;
            sums[*prompt] += value * *count as f64;
        }
        let means = sums.iter().zip(&rows).map(|(sum, n)| sum / *n as f64);
        let means: Vec<f64> = means.collect();
        let over_prompts = bootstrap.over_prompts(&means, &rows);
        let interval = match (intervals(self.distinct()), &self.rewards[..]) {
            (Intervals::ThisPromptOnly, [rewards]) => {
                bootstrap
                    .over_responses(&pseudo_values(rewards, estimator))
                    .interval
            }
            _ => over_prompts.interval,
        };
        Estimate {
            interval,
            ..over_prompts
        }
    }
}

/// Jackknife pseudo-values of an estimator θ: g·θ − (g − 1)·θ₍₋ᵢ₎ with block i of g left out. Their mean
/// is about θ, and their variance estimates that of θ (Tukey 1958; Efron & Tibshirani 1993, §11.5).
fn pseudo_values(rewards: &[f64], estimator: &dyn Fn(&[f64]) -> f64) -> Vec<f64> {
    let blocks = JACKKNIFE_BLOCKS.min(rewards.len());
    if blocks < 2 {
        return vec![estimator(rewards)];
    }
    let (full, count) = (estimator(rewards), blocks as f64);
    let without = |block: usize| -> Vec<f64> {
        let all = rewards.iter().enumerate();
        all.filter(|(index, _)| index % blocks != block)
            .map(|(_, reward)| *reward)
            .collect()
    };
    (0..blocks)
        .map(|block| count * full - (count - 1.0) * estimator(&without(block)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value};

    fn prompt(id: u32, field: Option<i64>) -> Arc<Prompt> {
        let fields = field.map(|value| ("answer".to_string(), Value::from(value)));
        Arc::new(Prompt {
            fields: Map::from_iter(fields),
            ..Prompt::from_ids(vec![id])
        })
    }

    #[test]
    fn responses_to_the_same_question_are_pooled() {
        let prompts = [
            prompt(1, None),
            prompt(2, Some(7)),
            prompt(1, None),
            prompt(2, Some(8)),
            prompt(3, None),
        ];
        let rewards = [
            vec![Some(1.0), Some(2.0)],
            vec![Some(3.0), None],
            vec![Some(4.0)],
            vec![Some(5.0)],
            vec![None],
        ];
        let pooled = PriorRewards::of_rows(&prompts, &rewards);
        assert_eq!(pooled.rewards, [vec![1.0, 2.0, 4.0], vec![3.0], vec![5.0]]);
        assert_eq!(
            (&pooled.rows[..], &pooled.prompts[..]),
            (&[2, 1, 1][..], &[0, 1, 1][..])
        );
        assert_eq!((pooled.distinct(), pooled.unscored), (2, 2));
        let mean = |rewards: &[f64]| Outcome {
            reward: rewards.iter().sum::<f64>() / rewards.len() as f64,
            kl: 0.0,
        };
        let outcomes: Vec<Outcome> = pooled.rewards.iter().map(|r| mean(r)).collect();
        let bootstrap = Bootstrap {
            resamples: 100,
            seed: 1,
        };
        let kind = ("prior", Point::BestOfN { n: 1 });
        let point = pooled.point(kind, &outcomes, &mean, &bootstrap);
        // The mean over rows: two with 7/3, one with 3, one with 5.
        assert!((point.reward.value - (14.0 / 3.0 + 8.0) / 4.0).abs() < 1e-12);
        assert_eq!((point.prompts, point.rows, point.samples), (2, Some(4), 5));
        assert_eq!(
            (point.reward.interval, point.intervals),
            (None, Intervals::TooFewPrompts)
        );
    }

    #[test]
    fn pseudo_values_of_a_mean_are_the_values() {
        let numbers = [0.5, 2.0, -1.0, 4.0];
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let found = pseudo_values(&numbers, &mean);
        let pairs = found.iter().zip(&numbers);
        assert!(
            pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12),
            "{found:?}"
        );
    }
}
