//! Rewards of the prior's responses, and what is made of them as a point with its interval.

use crate::bootstrap::intervals;
use crate::{Bootstrap, Distinct};
use rlhf_journal::{Estimate, FrontierPoint, Intervals, Point};
use rlhf_objective::Prompt;
use rlhf_oracle::Outcome;
use std::sync::Arc;

/// Into how many parts the draws of a single prompt are cut to see how much an estimate varies.
const PARTS: usize = 32;

/// The rewards of responses drawn from the prior, question by question. Rows with the same prompt and
/// the same fields ask one question, and their responses are pooled; rows with the same prompt and other
/// fields, which a reward may look at, are questions of their own with that prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Draws {
    /// Of each question, in units of the reward.
    pub rewards: Vec<Vec<f64>>,
    /// How many rows ask each.
    pub rows: Vec<usize>,
    /// Which distinct prompt each has.
    pub prompts: Vec<usize>,
    /// Responses that the reward had no opinion of; they are not among the rewards.
    pub no_opinion: usize,
}

impl Draws {
    /// Of prompts that are all different, each of one row.
    #[must_use]
    pub fn of_prompts(rewards: Vec<Vec<f64>>) -> Self {
        Self {
            rows: vec![1; rewards.len()],
            prompts: (0..rewards.len()).collect(),
            rewards,
            no_opinion: 0,
        }
    }

    /// Of rows with these prompts; `rewards` are row by row. A question of whose responses the reward
    /// had no opinion at all is left out.
    #[must_use]
    pub fn of_rows(prompts: &[Arc<Prompt>], rewards: &[Vec<Option<f64>>]) -> Self {
        let distinct = Distinct::of(prompts);
        let mut questions: Vec<Vec<usize>> = vec![Vec::new(); distinct.count()];
        let mut firsts: Vec<usize> = Vec::new();
        let mut all = Self::of_prompts(Vec::new());
        for (row, prompt) in prompts.iter().enumerate() {
            let of_prompt = &mut questions[distinct.of_row()[row]];
            let mut asked = of_prompt.iter().copied();
            let same = asked.find(|&question| prompts[firsts[question]].fields == prompt.fields);
            let question = same.unwrap_or_else(|| {
                of_prompt.push(all.rewards.len());
                firsts.push(row);
                all.rewards.push(Vec::new());
                all.rows.push(0);
                all.prompts.push(distinct.of_row()[row]);
                all.rewards.len() - 1
            });
            all.rows[question] += 1;
            all.no_opinion += rewards[row].iter().filter(|score| score.is_none()).count();
            all.rewards[question].extend(rewards[row].iter().flatten());
        }
        all.without_empty()
    }

    fn without_empty(self) -> Self {
        let kept = self.rewards.iter().map(|rewards| !rewards.is_empty());
        let kept: Vec<bool> = kept.collect();
        let of = |numbers: Vec<usize>| -> Vec<usize> {
            let both = numbers.into_iter().zip(&kept);
            both.filter(|(_, kept)| **kept).map(|(x, _)| x).collect()
        };
        // Numbers of prompts stay without gaps.
        let mut names: Vec<usize> = Vec::new();
        let prompts = of(self.prompts);
        let renamed = prompts.iter().map(|prompt| {
            names
                .iter()
                .position(|name| name == prompt)
                .unwrap_or_else(|| {
                    names.push(*prompt);
                    names.len() - 1
                })
        });
        Self {
            prompts: renamed.collect(),
            rows: of(self.rows),
            rewards: self.rewards.into_iter().filter(|r| !r.is_empty()).collect(),
            no_opinion: self.no_opinion,
        }
    }

    /// How many distinct prompts there are.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.prompts.iter().max().map_or(0, |last| last + 1)
    }

    /// A point made of what was found on each question: `outcomes`, and `of` for what any rewards give.
    pub(crate) fn point(
        &self,
        (label, point): (&str, Point),
        outcomes: &[Outcome],
        of: &dyn Fn(&[f64]) -> Outcome,
        bootstrap: &Bootstrap,
    ) -> FrontierPoint {
        let estimate = |number: fn(&Outcome) -> f64| {
            let numbers: Vec<f64> = outcomes.iter().map(number).collect();
            self.estimate(&numbers, &|rewards| number(&of(rewards)), bootstrap)
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
            no_opinion: self.no_opinion,
        }
    }

    fn estimate(
        &self,
        numbers: &[f64],
        of: &dyn Fn(&[f64]) -> f64,
        bootstrap: &Bootstrap,
    ) -> Estimate {
        let mut rows = vec![0; self.distinct()];
        let mut sums = vec![0.0; self.distinct()];
        for ((number, count), prompt) in numbers.iter().zip(&self.rows).zip(&self.prompts) {
            rows[*prompt] += count;
            sums[*prompt] += number * *count as f64;
        }
        let means = sums.iter().zip(&rows).map(|(sum, n)| sum / *n as f64);
        let means: Vec<f64> = means.collect();
        let over = bootstrap.over_prompts(&means, &rows);
        let interval = match (intervals(self.distinct()), &self.rewards[..]) {
            (Intervals::ThisPromptOnly, [rewards]) => {
                bootstrap
                    .over_responses(&pseudo_values(rewards, of))
                    .interval
            }
            _ => over.interval,
        };
        Estimate { interval, ..over }
    }
}

/// Numbers whose mean is about `of` of all rewards and whose spread is how much that varies with the
/// draws: g·θ − (g − 1)·θ without one of g parts (Tukey 1958; Efron & Tibshirani 1993, §11.5).
fn pseudo_values(rewards: &[f64], of: &dyn Fn(&[f64]) -> f64) -> Vec<f64> {
    let parts = PARTS.min(rewards.len());
    if parts < 2 {
        return vec![of(rewards)];
    }
    let (whole, count) = (of(rewards), parts as f64);
    let without = |part: usize| -> Vec<f64> {
        let all = rewards.iter().enumerate();
        all.filter(|(index, _)| index % parts != part)
            .map(|(_, reward)| *reward)
            .collect()
    };
    (0..parts)
        .map(|part| count * whole - (count - 1.0) * of(&without(part)))
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
    fn responses_to_one_question_are_pooled() {
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
        let draws = Draws::of_rows(&prompts, &rewards);
        assert_eq!(draws.rewards, [vec![1.0, 2.0, 4.0], vec![3.0], vec![5.0]]);
        assert_eq!(
            (&draws.rows[..], &draws.prompts[..]),
            (&[2, 1, 1][..], &[0, 1, 1][..])
        );
        assert_eq!((draws.distinct(), draws.no_opinion), (2, 2));
        let mean = |rewards: &[f64]| Outcome {
            reward: rewards.iter().sum::<f64>() / rewards.len() as f64,
            kl: 0.0,
        };
        let outcomes: Vec<Outcome> = draws.rewards.iter().map(|r| mean(r)).collect();
        let bootstrap = Bootstrap {
            resamples: 100,
            seed: 1,
        };
        let kind = ("prior", Point::BestOfN { n: 1 });
        let point = draws.point(kind, &outcomes, &mean, &bootstrap);
        // Each row counts once: two of 7/3, and 3 and 5.
        assert!((point.reward.value - (14.0 / 3.0 + 8.0) / 4.0).abs() < 1e-12);
        assert_eq!((point.prompts, point.rows, point.samples), (2, Some(4), 5));
        assert_eq!(
            (point.reward.interval, point.intervals),
            (None, Intervals::TooFewPrompts)
        );
    }

    #[test]
    fn pseudo_values_of_a_mean_are_the_numbers() {
        let numbers = [0.5, 2.0, -1.0, 4.0];
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let found = pseudo_values(&numbers, &mean);
        let pairs = found.iter().zip(&numbers);
        assert!(
            pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12),
            "{found:?}"
        );
    }
}
