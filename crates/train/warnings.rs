//! What a person should look at while a run goes on, in words.
//!
//! A warning is a pure function of the metrics so far: a resumed run says what an uninterrupted one
//! would have said. Each is given once an episode: when its condition has held for some steps in a row,
//! and again only after the condition has been away for [`AWAY`] steps.

use crate::fallen::Fallen;
use std::collections::BTreeMap;

/// KL above what it was at the first step, nats a token: a response is then e times less likely a token
/// under the prior than under the policy. Runs that keep to their prior's language stay far below.
const KL_PER_TOKEN: f64 = 1.0;
/// The share of the first step's entropy a token below which the policy says one thing.
const ENTROPY_LEFT: f64 = 0.1;
/// The share of tokens clipped from which on an update learns from next to none.
const CLIPPED: f64 = 0.9;
/// The share of responses cut off at their greatest length that is too much.
const CUT_OFF: f64 = 0.5;
/// A spread of the scores, as the standard error of their mean in units of its size, that is rounding.
const SAME: f64 = 1e-7;
/// So few responses a step can agree by chance where a reward has few values.
const FEW: f64 = 32.0;
/// A KL that is further below 0, nats a token, than rounding can put it: minus the entropy, of a prior
/// that is no distribution.
const NEGATIVE: f64 = -1e-3;
/// For how many steps in a row a condition must be away before it is told again.
const AWAY: usize = 10;

/// Numbers of a step by their names.
type Metrics<'a> = BTreeMap<&'a str, f64>;

/// What is watched for: when it holds, for how many steps in a row before it is told, and the sentence.
struct Condition {
    holds: fn(first: &Metrics<'_>, now: &Metrics<'_>) -> Option<bool>,
    steps: usize,
    sentence: fn(first: &Metrics<'_>, now: &Metrics<'_>) -> Option<String>,
}

const CONDITIONS: [Condition; 11] = [
    Condition {
        holds: |first, now| {
            let start = kl_per_token(first)?;
            // To the counting prior it is minus the entropy, which has a condition of its own.
            Some(start > NEGATIVE && kl_per_token(now)? - start > KL_PER_TOKEN)
        },
        steps: 1,
        sentence: |_, now| {
            Some(format!(
                "the KL runs away: {:.1} nats a response, {:.2} a token; raise beta, or lower \
                 optim.learning_rate",
                now.get("objective/kl")?,
                kl_per_token(now)?
            ))
        },
    },
    Condition {
        holds: |first, now| {
            Some(entropy_per_token(now)? < ENTROPY_LEFT * entropy_per_token(first)?)
        },
        steps: 1,
        sentence: |first, now| {
            Some(format!(
                "the entropy collapses: {:.3} nats a token, from {:.3}; the policy gives nearly the \
                 same response each time; raise beta, or lower optim.learning_rate",
                entropy_per_token(now)?,
                entropy_per_token(first)?
            ))
        },
    },
    Condition {
        holds: |_, now| {
            // Where an iteration has one update, its ratios are 1 and there is nothing to clip.
            let moved = *now.get("policy/approxkl_avg")? > 0.0;
            Some(moved && *now.get("policy/clipfrac_avg")? == 0.0)
        },
        steps: 20,
        sentence: |_, _| {
            Some(
                "no ratio was clipped for 20 steps: the policy hardly moves; if the reward does not \
                 rise, raise optim.learning_rate"
                    .into(),
            )
        },
    },
    Condition {
        holds: |_, now| Some(*now.get("policy/clipfrac_avg")? > CLIPPED),
        steps: 3,
        sentence: |_, now| {
            Some(format!(
                "{:.0} % of the ratios are clipped: updates are too large to learn from; lower \
                 optim.learning_rate or method.epochs",
                100.0 * now.get("policy/clipfrac_avg")?
            ))
        },
    },
    Condition {
        holds: |first, now| Some(judged(first, now)? >= FEW && same_reward(now)?),
        steps: 1,
        sentence: |first, now| {
            let which = of_which(now);
            Some(format!(
                "all {} responses of this step{which} have the same reward, {}: nothing is learned from \
                 it; look at [reward]",
                judged(first, now)?,
                now.get("objective/scores")?
            ))
        },
    },
    Condition {
        // One response has no other to be like.
        holds: |first, now| {
            let few = (2.0..FEW).contains(&judged(first, now)?);
            Some(few && same_reward(now)?)
        },
        steps: 3,
        sentence: |first, now| {
            let which = of_which(now);
            Some(format!(
                "the {} responses of a step{which} had the same reward three steps in a row, now {}: \
                 nothing is learned from such a step; so few can agree by chance where a reward has few \
                 values: draw more a step (sampling.rollouts), or look at [reward] if more agree too",
                judged(first, now)?,
                now.get("objective/scores")?
            ))
        },
    },
    Condition {
        holds: |_, now| Some(*now.get("objective/beta_bound")? < 0.0),
        steps: 1,
        sentence: |_, now| {
            Some(format!(
                "beta fell to its lower bound: {}; choose a target that is nearer, or \
                 set beta.min lower",
                what_is_held(now)?
            ))
        },
    },
    Condition {
        holds: |_, now| Some(*now.get("objective/beta_bound")? > 0.0),
        steps: 1,
        sentence: |_, now| {
            Some(format!(
                "beta rose to its upper bound: {}; choose a target that is nearer, or \
                 set beta.max higher",
                what_is_held(now)?
            ))
        },
    },
    Condition {
        holds: |_, now| Some(*now.get("completions/clipped_ratio")? > CUT_OFF),
        steps: 3,
        sentence: |_, now| Some(cut_off(100.0 * now.get("completions/clipped_ratio")?, now)),
    },
    Condition {
        holds: |_, now| {
            Some(now.contains_key("objective/no_opinion") && !now.contains_key("objective/scores"))
        },
        steps: 1,
        sentence: |_, now| {
            Some(format!(
                "the reward has no opinion of any response of this step ({} of them), so nothing is \
                 learned from it: look at [reward]",
                now.get("objective/no_opinion")?
            ))
        },
    },
    Condition {
        holds: |first, now| Some(*now.get("objective/uncompared")? >= judged(first, now)?),
        steps: 1,
        sentence: |first, now| {
            Some(format!(
                "the reward has an opinion of {} of the {} responses of this step, but of no two to one \
                 prompt, and this method compares responses to one prompt: nothing is learned from it; \
                 raise sampling.samples_per_prompt, or look at [reward]",
                judged(first, now)?,
                responses(first)?
            ))
        },
    },
];

/// That so many percent of the responses are cut off, and what can be done: more tokens may be asked
/// for only where the context has room for them.
fn cut_off(percent: f64, now: &Metrics<'_>) -> String {
    let full = 100.0 * now.get("completions/context_ratio").unwrap_or(&0.0);
    let penalty = "take a penalty for it into the reward (missing-eos)";
    if full > 0.5 * percent {
        return format!(
            "{percent:.0} % of the responses are cut off, {full:.0} % because they fill the context, where \
             more sampling.max_new_tokens change nothing: shorten the prompts (data.max_prompt_tokens), \
             or {penalty}"
        );
    }
    format!(
        "{percent:.0} % of the responses are cut off at their greatest length: raise \
         sampling.max_new_tokens, or {penalty}"
    )
}

/// How many responses a step has: as many as were drawn by the end of the first.
fn responses(first: &Metrics<'_>) -> Option<f64> {
    first.get("episode").copied()
}

/// How many of them the reward has an opinion of.
fn judged(first: &Metrics<'_>, now: &Metrics<'_>) -> Option<f64> {
    Some(responses(first)? - now.get("objective/no_opinion").unwrap_or(&0.0))
}

/// What the responses that are counted have in common, where it is not all of them.
fn of_which(now: &Metrics<'_>) -> &'static str {
    if now.contains_key("objective/no_opinion") {
        " that the reward has an opinion of"
    } else {
        ""
    }
}

fn same_reward(now: &Metrics<'_>) -> Option<bool> {
    let size = now.get("objective/scores")?.abs().max(1e-3);
    Some(*now.get("objective/scores_se")? <= SAME * size)
}

/// What was to be held, as it is in this step.
fn what_is_held(now: &Metrics<'_>) -> Option<String> {
    Some(format!(
        "the KL is {:.2} and the entropy {:.2} nats a sequence, not yet at the target",
        now.get("objective/kl")?,
        now.get("objective/entropy")?
    ))
}

fn a_token(metrics: &Metrics<'_>, name: &str) -> Option<f64> {
    Some(metrics.get(name)? / metrics.get("completions/mean_length")?)
}

fn kl_per_token(metrics: &Metrics<'_>) -> Option<f64> {
    a_token(metrics, "objective/kl")
}

fn entropy_per_token(metrics: &Metrics<'_>) -> Option<f64> {
    a_token(metrics, "objective/entropy")
}

/// How a condition has been lately.
#[derive(Debug, Clone, Copy, Default)]
struct Episode {
    /// Steps in a row in which it held.
    held: usize,
    /// Steps in a row in which it did not.
    away: usize,
    told: bool,
}

impl Episode {
    /// Whether it is to be told now.
    fn step(&mut self, holds: bool, steps: usize) -> bool {
        if holds {
            (self.held, self.away) = (self.held + 1, 0);
        } else {
            (self.held, self.away) = (0, self.away + 1);
            self.told &= self.away < AWAY;
        }
        let now = self.held >= steps && !self.told;
        self.told |= now;
        now
    }
}

/// Watches the metrics of a run.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    first: Option<BTreeMap<String, f64>>,
    episodes: [Episode; CONDITIONS.len()],
    fallen: Fallen,
    fall: Episode,
}

impl Warnings {
    /// Takes the metrics of the next step and answers what is to be said about it.
    pub(crate) fn see(&mut self, metrics: &Metrics<'_>) -> Vec<String> {
        let owned = |(name, value): (&&str, &f64)| ((*name).to_string(), *value);
        let first = self
            .first
            .get_or_insert_with(|| metrics.iter().map(owned).collect());
        let first: Metrics<'_> = first
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let mut told = Vec::new();
        for (condition, episode) in CONDITIONS.iter().zip(&mut self.episodes) {
            let holds = (condition.holds)(&first, metrics).unwrap_or(false);
            if episode.step(holds, condition.steps) {
                told.extend((condition.sentence)(&first, metrics));
            }
        }
        let fallen = self.fallen.see(metrics);
        if self.fall.step(fallen.is_some(), 1) {
            told.extend(fallen);
        }
        told
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    /// An ordinary step of 20 tokens a response.
    const GOOD: [(&str, f64); 11] = [
        ("episode", 64.0),
        ("objective/beta", 1e-9),
        ("objective/beta_bound", 0.0),
        ("objective/kl", 2.0),
        ("objective/entropy", 40.0),
        ("completions/mean_length", 20.0),
        ("policy/approxkl_avg", 1e-3),
        ("policy/clipfrac_avg", 0.1),
        ("objective/scores", 1.0),
        ("objective/scores_se", 0.1),
        ("completions/clipped_ratio", 0.2),
    ];

    fn with(changes: &[(&'static str, f64)]) -> Metrics<'static> {
        GOOD.into_iter().chain(changes.iter().copied()).collect()
    }

    /// (step, sentence) of a stream in which `changes` hold during `steps` of 60.
    fn told(
        changes: &[(&'static str, f64)],
        steps: &[std::ops::Range<usize>],
    ) -> Vec<(usize, String)> {
        let mut warnings = Warnings::default();
        let mut all = Vec::new();
        for step in 0..60 {
            let odd = steps.iter().any(|range| range.contains(&step));
            let metrics = with(if odd { changes } else { &[] });
            all.extend(warnings.see(&metrics).into_iter().map(|line| (step, line)));
        }
        all
    }

    #[test]
    fn nothing_is_said_of_an_ordinary_run() {
        assert_eq!(told(&[], &[]), []);
        let mut warnings = Warnings::default();
        for loss in [0.7, 0.6] {
            assert!(warnings.see(&[("loss", loss)].into()).is_empty());
        }
    }

    #[test]
    fn each_condition_has_its_sentence() {
        for (changes, first, words) in [
            (
                &[("objective/kl", 23.0)][..],
                5,
                "KL runs away: 23.0 nats a response, 1.15 a token",
            ),
            (
                &[("objective/entropy", 3.0)],
                5,
                "entropy collapses: 0.150 nats a token, from 2.000",
            ),
            (&[("policy/clipfrac_avg", 0.0)], 24, "no ratio was clipped"),
            (
                &[("policy/clipfrac_avg", 0.95)],
                7,
                "95 % of the ratios are clipped",
            ),
            (
                &[("objective/scores_se", 0.0)],
                5,
                "all 64 responses of this step have the same reward, 1: nothing",
            ),
            (
                &[("objective/beta_bound", -1.0)],
                5,
                "beta fell to its lower bound: the KL is 2.00 and the entropy",
            ),
            (
                &[("objective/beta_bound", 1.0)],
                5,
                "beta rose to its upper bound: the KL is 2.00 and the entropy",
            ),
            (
                &[("completions/clipped_ratio", 0.75)],
                7,
                "75 % of the responses are cut off at their greatest length: raise",
            ),
            (
                &[
                    ("completions/clipped_ratio", 0.75),
                    ("completions/context_ratio", 0.7),
                ],
                7,
                "75 % of the responses are cut off, 70 % because they fill the context, where more",
            ),
        ] {
            let said = told(changes, &[5..60]);
            assert_eq!(said.len(), 1, "once: {said:?}");
            assert_eq!(said[0].0, first, "{said:?}");
            assert!(said[0].1.contains(words), "{said:?}");
        }
    }

    #[test]
    fn no_opinion_of_anything_is_told_and_none_of_some_is_not() {
        let seen = |scores: bool| {
            let mut metrics = with(&[("objective/no_opinion", 31.0)]);
            if !scores {
                metrics.remove("objective/scores");
                metrics.remove("objective/scores_se");
            }
            Warnings::default().see(&metrics)
        };
        assert!(seen(true).is_empty());
        assert!(seen(false)[0].contains("no opinion of any response of this step (31 of them)"));
    }

    #[test]
    fn only_responses_with_an_opinion_can_have_the_same_reward() {
        let told = |none: f64| {
            let mut warnings = Warnings::default();
            let now = with(&[("objective/no_opinion", none), ("objective/scores_se", 0.0)]);
            let told = (0..3).flat_map(|_| warnings.see(&now));
            told.collect::<Vec<_>>()
        };
        let said = "all 40 responses of this step that the reward has an opinion of have the same";
        assert!(told(24.0)[0].starts_with(said));
        let said =
            "the 2 responses of a step that the reward has an opinion of had the same reward";
        assert!(told(62.0)[0].starts_with(said));
        // One has no other to be like.
        assert_eq!(told(63.0), Vec::<String>::new());
    }

    #[test]
    fn a_step_without_two_opinions_to_compare_is_told() {
        let told = |uncompared: f64| {
            let metrics = [
                ("objective/no_opinion", 56.0),
                ("objective/uncompared", uncompared),
            ];
            Warnings::default().see(&with(&metrics))
        };
        assert_eq!(told(6.0), Vec::<String>::new());
        let said = told(8.0);
        assert!(
            said[0].starts_with(
                "the reward has an opinion of 8 of the 64 responses of this step, but"
            ) && said[0].contains("nothing is learned from it"),
            "{said:?}"
        );
    }

    #[test]
    fn an_edge_is_not_crossed() {
        for changes in [
            &[("objective/kl", 21.9)][..],
            &[("objective/entropy", 4.0)],
            &[("policy/clipfrac_avg", 0.9)],
            &[("completions/clipped_ratio", 0.5)],
            &[("policy/clipfrac_avg", 0.0), ("policy/approxkl_avg", 0.0)],
        ] {
            assert_eq!(told(changes, &[5..60]), [], "{changes:?}");
        }
        // Two steps are no state.
        assert_eq!(told(&[("policy/clipfrac_avg", 0.95)], &[5..7]), []);
    }

    #[test]
    fn an_episode_is_told_once_and_the_next_again() {
        let constant = [("objective/scores_se", 0.0)];
        let steps = |ranges: &[std::ops::Range<usize>]| -> Vec<usize> {
            told(&constant, ranges)
                .iter()
                .map(|(step, _)| *step)
                .collect()
        };
        assert_eq!(steps(&[3..6, 9..12, 20..22]), [3]);
        assert_eq!(steps(&[3..6, 16..17]), [3, 16]);
    }

    #[test]
    fn few_responses_that_agree_do_not_blame_the_reward() {
        let told = |responses: f64, agree: usize| {
            let mut warnings = Warnings::default();
            let mut all = Vec::new();
            for step in 0..10 {
                let mut metrics = with(&[("episode", responses * f64::from(step + 1))]);
                if (2..2 + agree).contains(&(step as usize)) {
                    metrics.insert("objective/scores_se", 0.0);
                }
                all.extend(warnings.see(&metrics));
            }
            all
        };
        // Eight responses of a binary reward: one step or two may be chance.
        assert_eq!(told(8.0, 2), Vec::<String>::new());
        let said = told(8.0, 3);
        assert!(said[0].starts_with("the 8 responses of a step had the same reward three"));
        assert!(said[0].contains("can agree by chance") && said.len() == 1);
        assert!(told(64.0, 1)[0].contains("look at [reward]"));
        // One has no spread.
        assert_eq!(told(1.0, 8), Vec::<String>::new());
    }

    #[test]
    fn a_kl_that_is_minus_an_entropy_does_not_run_away() {
        let mut warnings = Warnings::default();
        for entropy in [60.0, 30.0, 8.0] {
            let now = with(&[("objective/kl", -entropy), ("objective/entropy", entropy)]);
            assert!(warnings.see(&now).is_empty());
        }
    }

    #[test]
    fn the_prior_of_an_entropy_bonus_is_no_runaway() {
        let mut warnings = Warnings::default();
        // Against the uniform prior the KL is large from the start.
        for kl in [90.0, 95.0, 100.0] {
            assert!(warnings.see(&with(&[("objective/kl", kl)])).is_empty());
        }
    }
}
