//! Whether what a run maximizes has fallen below where the run began.

use std::collections::{BTreeMap, VecDeque};

/// Steps that say what J was at the start: the first alone shows a fall that was over within a few, but
/// only a large one, because it is noisy.
const FIRST: usize = 10;
/// Steps that say what it is now.
const LAST: usize = 20;
/// By how many standard errors of the difference it must have fallen: it is looked at after every step.
const ERRORS: f64 = 3.0;

/// E\[r\] and KL of a step.
#[derive(Debug, Clone, Copy)]
struct Step {
    score: f64,
    kl: f64,
}

/// J = E\[r\] − β·KL over the first steps and over the last.
#[derive(Debug, Default)]
pub(crate) struct Fallen {
    first: Vec<Step>,
    /// Standard errors of the very first step.
    errors: Option<Step>,
    last: VecDeque<Step>,
}

/// A mean over steps and its standard error, from how they differ among each other: so it holds whatever
/// the responses of a step have in common.
#[derive(Debug, Clone, Copy)]
struct Level {
    mean: f64,
    error: f64,
}

impl Level {
    /// J at this β, so that both ends of a run in which β moves are asked the same.
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
        other.mean - self.mean > ERRORS * other.error.hypot(self.error)
    }
}

impl Fallen {
    /// Takes the metrics of the next step, and answers what is to be said where J has fallen.
    pub(crate) fn see(&mut self, metrics: &BTreeMap<&str, f64>) -> Option<String> {
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
        if self.first.len() < FIRST {
            self.first.push(Step { score, kl });
            return None;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(Step { score, kl });
        if self.last.len() < LAST {
            return None;
        }
        let now = Level::of(self.last.iter(), beta);
        let starts = [
            (self.very_first(now, beta), "in the first".into()),
            (
                Level::of(self.first.iter(), beta),
                format!("over the first {FIRST}"),
            ),
        ];
        let (before, when) = starts.into_iter().find(|(start, _)| now.is_below(*start))?;
        Some(sentence((before, &when), now, metrics.get("lr").copied()))
    }

    /// The first step, whose noise is no less than that of one of the last ones: where prompts have several
    /// responses each, these are not independent, and its own standard error is too small.
    fn very_first(&self, now: Level, beta: f64) -> Level {
        let own = self.errors.map_or(0.0, |of| of.score.hypot(beta * of.kl));
        let of_last = now.error * (LAST as f64).sqrt();
        Level {
            mean: self.first[0].score - beta * self.first[0].kl,
            error: own.max(of_last),
        }
    }
}

fn sentence((before, when): (Level, &str), now: Level, rate: Option<f64>) -> String {
    let rate = rate.map_or_else(String::new, |rate| format!(" ({rate:.1e} in this step)"));
    format!(
        "E[r] − β·KL fell below what it was at the start of the run: {:.4} ± {:.4} over the last {LAST} \
         steps, {:.4} ± {:.4} {when}; the updates do harm: lower \
         optim.learning_rate{rate}, or draw more responses a step (sampling.rollouts)",
        now.mean, now.error, before.mean, before.error
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without order in [−1, 1), always the same.
    fn noise(step: usize) -> f64 {
        (step * 7919 % 101) as f64 / 50.5 - 1.0
    }

    /// At which steps of 100 something is said, of a run in which the score and the KL are these.
    fn told(score: impl Fn(usize) -> f64, kl: impl Fn(usize) -> f64) -> Vec<(usize, String)> {
        let mut fallen = Fallen::default();
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
            .filter_map(|(step, metrics)| Some((step, fallen.see(&metrics)?)))
            .collect()
    }

    #[test]
    fn a_run_that_gains_or_stays_is_left_alone() {
        assert_eq!(told(|_| 0.5, |_| 0.0), []);
        assert_eq!(told(|step| 0.5 + 0.01 * step as f64, |_| 0.1), []);
        // KL that is paid for.
        let kl = |step| 0.02 * step as f64;
        assert_eq!(told(|step| 0.5 + 0.004 * step as f64, kl), []);
        assert_eq!(Fallen::default().see(&[("loss", 0.7)].into()), None);
    }

    #[test]
    fn a_fall_beyond_the_noise_is_told_with_its_numbers() {
        // A KL that buys nothing: 0.1·0.02 a step.
        let said = told(|_| 0.5, |step| 0.02 * step as f64);
        let (step, words) = &said[0];
        assert!((29..60).contains(step), "{step}");
        assert!(words.contains("over the last 20 steps, 0.4"), "{words}");
        assert!(words.contains("over the first 10;"), "{words}");
        assert!(
            words.contains("lower optim.learning_rate (3.0e-4 in this step)"),
            "{words}"
        );
        // One that was over after a step.
        let said = told(|_| 0.5, |step| if step == 0 { 0.0 } else { 1.0 });
        let (step, words) = &said[0];
        assert!(*step == 29 && words.contains(" in the first;"), "{words}");
        // Too few steps to tell.
        let last = told(|_| 0.5, |step| if step < 75 { 0.0 } else { 0.5 });
        assert!(last.iter().all(|(step, _)| *step >= 76), "{last:?}");
    }
}
