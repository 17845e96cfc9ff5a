//! Detects that the objective of a run has fallen below its value at the start.

use std::collections::{BTreeMap, VecDeque};

/// How many of the first steps give J at the start. The first step alone is compared too: it shows a decline
/// within the first few steps, but only a large one, because it is noisy.
const FIRST_STEPS: usize = 10;
/// How many of the last steps give J now.
const LAST_STEPS: usize = 20;
/// By how many standard errors of the difference J must have fallen. There is a test after every step.
const STANDARD_ERRORS: f64 = 3.0;

/// E\[r\] and KL of a step.
#[derive(Debug, Clone, Copy)]
struct Step {
    score: f64,
    kl: f64,
}

/// J = E\[r\] − β·KL over the first steps and over the last.
#[derive(Debug, Default)]
pub(crate) struct Decline {
    first: Vec<Step>,
    /// The standard errors of the first step.
    errors: Option<Step>,
    last: VecDeque<Step>,
}

/// A mean over steps and its standard error. The error is estimated from the variation between steps, so it
/// is valid even if the responses of a step are not independent.
#[derive(Debug, Clone, Copy)]
struct MeanOfSteps {
    mean: f64,
    error: f64,
}

impl MeanOfSteps {
    /// The mean of J at this β. Both means use the current β, so that they are comparable if β is adaptive.
    fn of<'a>(steps: impl Iterator<Item = &'a Step> + Clone, beta: f64) -> Self {
        let each = steps.map(|step| step.score - beta * step.kl);
        let count = each.clone().count() as f64;
        let mean = each.clone().sum::<f64>() / count;
        let squares: f64 = each.map(|j| (j - mean).powi(2)).sum();
        Self {
            mean,
            error: (squares / (count - 1.0) / count).sqrt(),
        }
    }

    fn is_below(self, other: Self) -> bool {
        other.mean - self.mean > STANDARD_ERRORS * other.error.hypot(self.error)
    }
}

impl Decline {
    /// The warning after the next step, given its metrics, if J has fallen.
    pub(crate) fn check(&mut self, metrics: &BTreeMap<&str, f64>) -> Option<String> {
        let (score, kl) = (
            *metrics.get("objective/scores")?,
            *metrics.get("objective/kl")?,
        );
        let beta = *metrics.get("objective/beta")?;
        let error = |name| metrics.get(name).copied().unwrap_or_default();
        self.errors.get_or_insert(Step {
            score: error("objective/scores_se"),
            kl: error("objective/kl_se"),
        });
        if self.first.len() < FIRST_STEPS {
            self.first.push(Step { score, kl });
            return None;
        }
        if self.last.len() == LAST_STEPS {
            self.last.pop_front();
        }
        self.last.push_back(Step { score, kl });
        if self.last.len() < LAST_STEPS {
            return None;
        }
        let now = MeanOfSteps::of(self.last.iter(), beta);
        let starts = [
            (self.first_step(now, beta), "in the first step".into()),
            (
                MeanOfSteps::of(self.first.iter(), beta),
                format!("over the first {FIRST_STEPS} steps"),
            ),
        ];
        let (before, when) = starts.into_iter().find(|(start, _)| now.is_below(*start))?;
        Some(message((before, &when), now, metrics.get("lr").copied()))
    }

    /// J of the first step. Its standard error is at least that of one of the last steps: if prompts have
    /// several responses, these are not independent, and the step's own standard error is too small.
    fn first_step(&self, now: MeanOfSteps, beta: f64) -> MeanOfSteps {
        let own = self.errors.map_or(0.0, |of| of.score.hypot(beta * of.kl));
        let of_last = now.error * (LAST_STEPS as f64).sqrt();
        MeanOfSteps {
            mean: self.first[0].score - beta * self.first[0].kl,
            error: own.max(of_last),
        }
    }
}

fn message((before, when): (MeanOfSteps, &str), now: MeanOfSteps, rate: Option<f64>) -> String {
    let rate = rate.map_or_else(String::new, |rate| format!(" ({rate:.1e} in this step)"));
    format!(
        "E[r] − β·KL fell below its value at the start of the run: {:.4} ± {:.4} over the last \
        {LAST_STEPS} steps, {:.4} ± {:.4} {when}; lower optim.learning_rate{rate}, or sample more \
        responses per step (sampling.rollouts)",
        now.mean, now.error, before.mean, before.error
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixed pseudo-random numbers in [−1, 1).
    fn noise(step: usize) -> f64 {
        (step * 7919 % 101) as f64 / 50.5 - 1.0
    }

    /// (step, message) of each warning in a run of 100 steps with these scores and KLs.
    fn warnings_of(
        score: impl Fn(usize) -> f64,
        kl: impl Fn(usize) -> f64,
    ) -> Vec<(usize, String)> {
        let mut decline = Decline::default();
        let of = |step| {
            let metrics = [
                ("objective/scores", score(step) + 0.02 * noise(step)),
                ("objective/scores_se", 0.012),
                ("objective/kl_se", 0.01),
                ("objective/kl", kl(step)),
                ("objective/beta", 0.1),
                ("lr", 3e-4),
            ];
            (step, metrics.into())
        };
        let steps = (0..100).map(of);
        steps
            .filter_map(|(step, metrics)| Some((step, decline.check(&metrics)?)))
            .collect()
    }

    #[test]
    fn a_run_that_improves_or_stays_has_no_warning() {
        assert_eq!(warnings_of(|_| 0.5, |_| 0.0), []);
        assert_eq!(warnings_of(|step| 0.5 + 0.01 * step as f64, |_| 0.1), []);
        // The reward rises by more than the KL penalty.
        let kl = |step| 0.02 * step as f64;
        assert_eq!(warnings_of(|step| 0.5 + 0.004 * step as f64, kl), []);
        assert_eq!(Decline::default().check(&[("loss", 0.7)].into()), None);
    }

    #[test]
    fn a_decline_beyond_the_noise_gives_a_warning() {
        // A constant reward, and a KL penalty that grows by 0.1·0.02 a step.
        let warnings = warnings_of(|_| 0.5, |step| 0.02 * step as f64);
        let (step, message) = &warnings[0];
        assert!((29..60).contains(step), "{step}");
        assert!(message.contains("over the last 20 steps, 0.4"), "{message}");
        assert!(message.contains("over the first 10 steps;"), "{message}");
        assert!(
            message.contains("lower optim.learning_rate (3.0e-4 in this step)"),
            "{message}"
        );
        // A decline within the first step.
        let warnings = warnings_of(|_| 0.5, |step| if step == 0 { 0.0 } else { 1.0 });
        let (step, message) = &warnings[0];
        assert!(
            *step == 29 && message.contains(" in the first step;"),
            "{message}"
        );
        // At least one step after the change is needed.
        let last = warnings_of(|_| 0.5, |step| if step < 75 { 0.0 } else { 0.5 });
        assert!(last.iter().all(|(step, _)| *step >= 76), "{last:?}");
    }
}
