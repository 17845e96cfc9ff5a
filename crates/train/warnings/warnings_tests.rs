//! Tests of each condition and of the rule of one warning per episode.

#![allow(clippy::single_range_in_vec_init)]

use super::*;

/// An ordinary step of 20 tokens per response.
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

/// (step, message) of each warning in a run of 60 steps in which `changes` hold during `steps`.
fn warnings_of(
    changes: &[(&'static str, f64)],
    steps: &[std::ops::Range<usize>],
) -> Vec<(usize, String)> {
    let mut warnings = Warnings::default();
    let mut all = Vec::new();
    for step in 0..60 {
        let changed = steps.iter().any(|range| range.contains(&step));
        let metrics = with(if changed { changes } else { &[] });
        all.extend(
            warnings
                .check(&metrics)
                .into_iter()
                .map(|line| (step, line)),
        );
    }
    all
}

#[test]
fn an_ordinary_run_has_no_warnings() {
    assert_eq!(warnings_of(&[], &[]), []);
    let mut warnings = Warnings::default();
    for loss in [0.7, 0.6] {
        assert!(warnings.check(&[("loss", loss)].into()).is_empty());
    }
}

#[test]
fn each_condition_gives_one_warning() {
    for (changes, first, words) in [
        (
            &[("objective/kl", 23.0)][..],
            5,
            "KL is too large: 23.0 nats per response, 1.15 per token",
        ),
        (
            &[("objective/entropy", 3.0)],
            5,
            "entropy has collapsed: 0.150 nats per token, from 2.000",
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
            "all 64 responses of this step have the same reward, 1: the step",
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
            "75 % of the responses are cut off at the maximum length: raise",
        ),
        (
            &[
                ("completions/clipped_ratio", 0.75),
                ("completions/context_ratio", 0.7),
            ],
            7,
            "75 % of the responses are cut off, 70 % because they fill the context, so that",
        ),
    ] {
        let messages = warnings_of(changes, &[5..60]);
        assert_eq!(messages.len(), 1, "once: {messages:?}");
        assert_eq!(messages[0].0, first, "{messages:?}");
        assert!(messages[0].1.contains(words), "{messages:?}");
    }
}

#[test]
fn a_step_without_any_score_gives_a_warning() {
    let check = |scores: bool| {
        let mut metrics = with(&[("objective/no_opinion", 31.0)]);
        if !scores {
            metrics.remove("objective/scores");
            metrics.remove("objective/scores_se");
        }
        Warnings::default().check(&metrics)
    };
    assert!(check(true).is_empty());
    assert!(check(false)[0].contains("no score for any of the 31 responses of this step"));
}

#[test]
fn responses_without_a_score_are_not_compared() {
    let check = |none: f64| {
        let mut warnings = Warnings::default();
        let now = with(&[("objective/no_opinion", none), ("objective/scores_se", 0.0)]);
        let warnings = (0..3).flat_map(|_| warnings.check(&now));
        warnings.collect::<Vec<_>>()
    };
    let start = "all 40 responses of this step that have a score have the same";
    assert!(check(24.0)[0].starts_with(start));
    let start = "the 2 responses of a step that have a score had the same reward";
    assert!(check(62.0)[0].starts_with(start));
    // A single response is not compared.
    assert_eq!(check(63.0), Vec::<String>::new());
}

#[test]
fn a_step_without_two_scores_to_compare_gives_a_warning() {
    let check = |uncompared: f64| {
        let metrics = [
            ("objective/no_opinion", 56.0),
            ("objective/uncompared", uncompared),
        ];
        Warnings::default().check(&with(&metrics))
    };
    assert_eq!(check(6.0), Vec::<String>::new());
    let messages = check(8.0);
    assert!(
        messages[0]
            .starts_with("the reward has a score for 8 of the 64 responses of this step, but")
            && messages[0].contains("the step learns nothing"),
        "{messages:?}"
    );
}

#[test]
fn values_at_the_threshold_give_no_warning() {
    for changes in [
        &[("objective/kl", 21.9)][..],
        &[("objective/entropy", 4.0)],
        &[("policy/clipfrac_avg", 0.9)],
        &[("completions/clipped_ratio", 0.5)],
        &[("policy/clipfrac_avg", 0.0), ("policy/approxkl_avg", 0.0)],
    ] {
        assert_eq!(warnings_of(changes, &[5..60]), [], "{changes:?}");
    }
    // This condition must hold for three steps.
    assert_eq!(warnings_of(&[("policy/clipfrac_avg", 0.95)], &[5..7]), []);
}

#[test]
fn each_episode_gives_one_warning() {
    let constant = [("objective/scores_se", 0.0)];
    let steps = |ranges: &[std::ops::Range<usize>]| -> Vec<usize> {
        warnings_of(&constant, ranges)
            .iter()
            .map(|(step, _)| *step)
            .collect()
    };
    assert_eq!(steps(&[3..6, 9..12, 20..22]), [3]);
    assert_eq!(steps(&[3..6, 16..17]), [3, 16]);
}

#[test]
fn few_equal_scores_give_a_warning_after_three_steps() {
    let check = |responses: f64, agree: usize| {
        let mut warnings = Warnings::default();
        let mut all = Vec::new();
        for step in 0..10 {
            let mut metrics = with(&[("episode", responses * f64::from(step + 1))]);
            if (2..2 + agree).contains(&(step as usize)) {
                metrics.insert("objective/scores_se", 0.0);
            }
            all.extend(warnings.check(&metrics));
        }
        all
    };
    // With eight responses and a binary reward, one or two such steps may be chance.
    assert_eq!(check(8.0, 2), Vec::<String>::new());
    let messages = check(8.0, 3);
    assert!(messages[0].starts_with("the 8 responses of a step had the same reward three"));
    assert!(messages[0].contains("can be equal by chance") && messages.len() == 1);
    assert!(check(64.0, 1)[0].contains("check [reward]"));
    // A single response is not compared.
    assert_eq!(check(1.0, 8), Vec::<String>::new());
}

#[test]
fn a_kl_that_is_minus_the_entropy_gives_no_warning() {
    let mut warnings = Warnings::default();
    for entropy in [60.0, 30.0, 8.0] {
        let now = with(&[("objective/kl", -entropy), ("objective/entropy", entropy)]);
        assert!(warnings.check(&now).is_empty());
    }
}

#[test]
fn a_kl_that_is_large_from_the_start_gives_no_warning() {
    let mut warnings = Warnings::default();
    // Against the uniform prior the KL is large from the start.
    for kl in [90.0, 95.0, 100.0] {
        assert!(warnings.check(&with(&[("objective/kl", kl)])).is_empty());
    }
}
