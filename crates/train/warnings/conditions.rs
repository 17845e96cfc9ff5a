//! The conditions on metrics of which a run warns, with their messages.

use std::collections::BTreeMap;

/// The KL above that of the first step, nats per token, from which on it is too large: each token is then
/// e times less likely under the prior than under the policy. Healthy runs stay far below.
const MAX_KL_PER_TOKEN: f64 = 1.0;
/// The fraction of the first step's entropy per token below which the entropy has collapsed.
const MIN_ENTROPY_FRACTION: f64 = 0.1;
/// The fraction of clipped tokens above which an update has almost no gradient.
const MAX_CLIPPED: f64 = 0.9;
/// The fraction of responses cut off at the maximum length above which there is a warning.
const MAX_CUT_OFF: f64 = 0.5;
/// Scores are equal if the standard error of their mean, relative to the mean, is at most this rounding.
const SCORE_ROUNDING: f64 = 1e-7;
/// Fewer responses per step than this may have equal scores by chance if a reward has few values.
const FEW_RESPONSES: f64 = 32.0;
/// A KL below this, nats per token, is not a rounding error: the prior is not a distribution, and the KL to
/// it is minus the entropy.
const NEGATIVE_KL: f64 = -1e-3;

/// The metrics of a step by name.
pub(super) type Metrics<'a> = BTreeMap<&'a str, f64>;

/// A condition on the metrics of the first and of the current step. Its functions return `None` if a metric
/// is missing.
pub(super) struct Condition {
    /// Whether it holds in the current step.
    pub(super) holds: fn(first: &Metrics<'_>, now: &Metrics<'_>) -> Option<bool>,
    /// For how many steps in a row it must hold before there is a warning.
    pub(super) steps: usize,
    /// The warning.
    pub(super) message: fn(first: &Metrics<'_>, now: &Metrics<'_>) -> Option<String>,
}

pub(super) const CONDITIONS: [Condition; 11] = [
    KL_TOO_LARGE,
    ENTROPY_COLLAPSED,
    NO_RATIO_CLIPPED,
    MOST_RATIOS_CLIPPED,
    SAME_SCORE,
    SAME_SCORE_OF_FEW,
    BETA_AT_LOWER_BOUND,
    BETA_AT_UPPER_BOUND,
    RESPONSES_CUT_OFF,
    NO_SCORES,
    NO_COMPARISONS,
];

const KL_TOO_LARGE: Condition = Condition {
    holds: |first, now| {
        let start = kl_per_token(first)?;
        // The KL to the counting prior is minus the entropy, which has its own condition.
        Some(start > NEGATIVE_KL && kl_per_token(now)? - start > MAX_KL_PER_TOKEN)
    },
    steps: 1,
    message: |_, now| {
        Some(format!(
            "the KL is too large: {:.1} nats per response, {:.2} per token; raise beta, or lower \
            optim.learning_rate",
            now.get("objective/kl")?,
            kl_per_token(now)?
        ))
    },
};

const ENTROPY_COLLAPSED: Condition = Condition {
    holds: |first, now| {
        Some(entropy_per_token(now)? < MIN_ENTROPY_FRACTION * entropy_per_token(first)?)
    },
    steps: 1,
    message: |first, now| {
        Some(format!(
            "the entropy has collapsed: {:.3} nats per token, from {:.3} in the first step, so the \
            policy samples nearly the same response each time; raise beta, or lower \
            optim.learning_rate",
            entropy_per_token(now)?,
            entropy_per_token(first)?
        ))
    },
};

const NO_RATIO_CLIPPED: Condition = Condition {
    holds: |_, now| {
        // With one update per iteration all ratios are 1, and none can be clipped.
        let changed = *now.get("policy/approxkl_avg")? > 0.0;
        Some(changed && *now.get("policy/clipfrac_avg")? == 0.0)
    },
    steps: 20,
    message: |_, _| {
        Some(
            "no ratio was clipped for 20 steps: the updates are very small; if the reward does not \
            rise, raise optim.learning_rate"
                .into(),
        )
    },
};

const MOST_RATIOS_CLIPPED: Condition = Condition {
    holds: |_, now| Some(*now.get("policy/clipfrac_avg")? > MAX_CLIPPED),
    steps: 3,
    message: |_, now| {
        Some(format!(
            "{:.0} % of the ratios are clipped: the updates are too large; lower \
            optim.learning_rate or method.epochs",
            100.0 * now.get("policy/clipfrac_avg")?
        ))
    },
};

const SAME_SCORE: Condition = Condition {
    holds: |first, now| Some(scored_responses(first, now)? >= FEW_RESPONSES && same_score(now)?),
    steps: 1,
    message: |first, now| {
        let which = with_a_score(now);
        Some(format!(
            "all {} responses of this step{which} have the same reward, {}: the step learns nothing \
            from it; check [reward]",
            scored_responses(first, now)?,
            now.get("objective/scores")?
        ))
    },
};

const SAME_SCORE_OF_FEW: Condition = Condition {
    // A single response is not compared.
    holds: |first, now| {
        let few = (2.0..FEW_RESPONSES).contains(&scored_responses(first, now)?);
        Some(few && same_score(now)?)
    },
    steps: 3,
    message: |first, now| {
        let which = with_a_score(now);
        Some(format!(
            "the {} responses of a step{which} had the same reward three steps in a row, now {}: such \
            steps learn nothing from it; so few responses can be equal by chance if a reward has few \
            values; sample more per step (sampling.rollouts), and check [reward] if those are equal \
            too",
            scored_responses(first, now)?,
            now.get("objective/scores")?
        ))
    },
};

const BETA_AT_LOWER_BOUND: Condition = Condition {
    holds: |_, now| Some(*now.get("objective/beta_bound")? < 0.0),
    steps: 1,
    message: |_, now| {
        Some(format!(
            "beta fell to its lower bound: {}; choose a closer target, or set beta.min lower",
            kl_and_entropy(now)?
        ))
    },
};

const BETA_AT_UPPER_BOUND: Condition = Condition {
    holds: |_, now| Some(*now.get("objective/beta_bound")? > 0.0),
    steps: 1,
    message: |_, now| {
        Some(format!(
            "beta rose to its upper bound: {}; choose a closer target, or set beta.max higher",
            kl_and_entropy(now)?
        ))
    },
};

const RESPONSES_CUT_OFF: Condition = Condition {
    holds: |_, now| Some(*now.get("completions/clipped_ratio")? > MAX_CUT_OFF),
    steps: 3,
    message: |_, now| Some(cut_off(100.0 * now.get("completions/clipped_ratio")?, now)),
};

const NO_SCORES: Condition = Condition {
    holds: |_, now| {
        Some(now.contains_key("objective/no_opinion") && !now.contains_key("objective/scores"))
    },
    steps: 1,
    message: |_, now| {
        Some(format!(
            "the reward has no score for any of the {} responses of this step: the step learns \
            nothing; check [reward]",
            now.get("objective/no_opinion")?
        ))
    },
};

const NO_COMPARISONS: Condition = Condition {
    holds: |first, now| Some(*now.get("objective/uncompared")? >= scored_responses(first, now)?),
    steps: 1,
    message: |first, now| {
        Some(format!(
            "the reward has a score for {} of the {} responses of this step, but for no two to the \
            same prompt, which this method compares: the step learns nothing; raise \
            sampling.samples_per_prompt, or check [reward]",
            scored_responses(first, now)?,
            responses(first)?
        ))
    },
};

/// The message about cut-off responses. It depends on whether the context has room for more tokens.
fn cut_off(percent: f64, now: &Metrics<'_>) -> String {
    let full = 100.0 * now.get("completions/context_ratio").unwrap_or(&0.0);
    let penalty = "add a penalty for them to the reward (missing-eos)";
    if full > 0.5 * percent {
        return format!(
            "{percent:.0} % of the responses are cut off, {full:.0} % because they fill the context, so \
            that raising sampling.max_new_tokens does not help: shorten the prompts \
            (data.max_prompt_tokens), or {penalty}"
        );
    }
    format!(
        "{percent:.0} % of the responses are cut off at the maximum length: raise \
        sampling.max_new_tokens, or {penalty}"
    )
}

/// The number of responses per step: `episode` counts all responses, so after the first step it is that.
fn responses(first: &Metrics<'_>) -> Option<f64> {
    first.get("episode").copied()
}

/// The number of responses of this step that have a score.
fn scored_responses(first: &Metrics<'_>, now: &Metrics<'_>) -> Option<f64> {
    Some(responses(first)? - now.get("objective/no_opinion").unwrap_or(&0.0))
}

/// The qualification of "responses" in a message, if some have no score.
fn with_a_score(now: &Metrics<'_>) -> &'static str {
    if now.contains_key("objective/no_opinion") {
        " that have a score"
    } else {
        ""
    }
}

fn same_score(now: &Metrics<'_>) -> Option<bool> {
    let size = now.get("objective/scores")?.abs().max(1e-3);
    Some(*now.get("objective/scores_se")? <= SCORE_ROUNDING * size)
}

/// The KL and the entropy of this step, one of which has a target.
fn kl_and_entropy(now: &Metrics<'_>) -> Option<String> {
    Some(format!(
        "the KL is {:.2} and the entropy {:.2} nats per sequence, and the target is not reached",
        now.get("objective/kl")?,
        now.get("objective/entropy")?
    ))
}

fn per_token(metrics: &Metrics<'_>, name: &str) -> Option<f64> {
    Some(metrics.get(name)? / metrics.get("completions/mean_length")?)
}

fn kl_per_token(metrics: &Metrics<'_>) -> Option<f64> {
    per_token(metrics, "objective/kl")
}

fn entropy_per_token(metrics: &Metrics<'_>) -> Option<f64> {
    per_token(metrics, "objective/entropy")
}
