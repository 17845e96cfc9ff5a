//! The suite `demo`: PPO-KL and DPO on the small world, compared with the optimal frontier.

use crate::suite::{Outcome, Required, Suite, SuiteContext, Verdict, read_json};
use anyhow::{Context, Result, bail};
use rlhf_demo::gold;
use rlhf_experiment::{Instead, Judge, small_world};
use rlhf_journal::{Estimate, FrontierPoint, Interval};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const SUITE: Suite = Suite {
    name: "demo",
    about: "PPO-KL and DPO on the small world, against the optimal frontier and the gold score",
    run,
};

/// Samples of the prior for each prompt, and the quantile of their gold scores that is taken as the
/// best score.
const SAMPLES: usize = 4096;
const BEST_QUANTILE: f64 = 0.999;

fn run(context: &SuiteContext<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let world = small_world::write(context.scratch)?;
    for seed in 1..=context.seeds {
        ppo(context, &world, seed, &mut outcome)?;
        dpo(context, &world, seed, &mut outcome)?;
    }
    Ok(outcome)
}

/// One run on the small world with its default settings and this seed.
fn fit(context: &SuiteContext<'_>, objective: &str, seed: u32) -> Result<PathBuf> {
    let folder = context.scratch.join(format!("{objective}-{seed}"));
    let catalog = context.session.registry.catalog();
    let objective = catalog
        .methods
        .objective(objective)
        .context("unknown objective")?;
    let mut layers = small_world::layers(catalog, context.scratch, &objective)?;
    layers.set(&format!("train.seed={seed}"))?;
    context.session.fit(&layers.resolve()?, &folder)?;
    Ok(folder)
}

fn ppo(context: &SuiteContext<'_>, world: &Path, seed: u32, outcome: &mut Outcome) -> Result<()> {
    let runs = [fit(context, "ppo-kl", seed)?];
    let [run] = &runs;
    let lexicon = world.join("lexicon.txt");
    let rewards = [None, Some(format!("lexicon:{}", lexicon.display()))];
    let mut verdict = |name: &str, required, reached| {
        let name = format!("ppo-kl, seed {seed}: {name}");
        outcome.verdicts.push(Verdict {
            name,
            required,
            reached,
        });
    };
    for (reward, judged) in rewards.into_iter().zip(["training reward", "gold score"]) {
        let instead = Instead {
            reward,
            ..Instead::default()
        };
        let mut judge = Judge::new(context.session, &runs, &instead)?;
        let config = judge.comparable(run)?;
        let prior_rewards = judge.prior_rewards(SAMPLES)?;
        let rewards = &prior_rewards.rewards;
        let points = judge.of_run(run, &config)?;
        let last = points.last().context("the run has no checkpoint")?;
        let prior = mean(rewards.iter().map(|rewards| mean(rewards.iter().copied())));
        let relative_gain =
            |estimate: Estimate, range: f64| estimate.map(|value| (value - prior) / range);
        let mut row = json!({"seed": seed, "judged by": judged, "prior": prior, "policy": last});
        if judged == "gold score" {
            let best = mean(
                rewards
                    .iter()
                    .map(|rewards| quantile(rewards, BEST_QUANTILE)),
            );
            row["best"] = best.into();
            let share = relative_gain(last.reward, best - prior);
            let name = "gain in gold score, as a share of that of the best score";
            verdict(name, Required::AtLeast(0.6), share);
            verdict("KL, nats", Required::AtLeast(1.0), last.kl);
            verdict("KL, nats", Required::AtMost(6.0), last.kl);
        } else {
            let optimum = interpolate(&judge.optimum(&prior_rewards), last.kl.value)?;
            row["optimum"] = json!(optimum);
            let share = relative_gain(last.reward, optimum.value - prior);
            let name = "gain in training reward, as a share of the optimum at its KL";
            verdict(name, Required::AtLeast(0.75), share);
            let low_end = Estimate {
                value: share.interval.context("the share has no interval")?.low,
                ..share
            };
            let name = "the same, low end of the interval";
            verdict(name, Required::AtMost(1.0), low_end);
        }
        outcome.rows.push(row);
    }
    Ok(())
}

fn dpo(context: &SuiteContext<'_>, world: &Path, seed: u32, outcome: &mut Outcome) -> Result<()> {
    let run = fit(context, "dpo", seed)?;
    let held_out = read_json(&run.join("held_out.json"))?;
    let accuracy: Estimate = serde_json::from_value(held_out["numbers"]["accuracy"].clone())
        .context("held_out.json has no accuracy")?;
    let ceiling = gold_accuracy(&world.join("held_out_pairs.jsonl"))?;
    outcome
        .rows
        .push(json!({"seed": seed, "accuracy": accuracy, "accuracy of the gold score": ceiling}));
    outcome.verdicts.push(Verdict {
        name: format!(
            "dpo, seed {seed}: accuracy on held-out pairs, relative to that of the gold score"
        ),
        required: Required::AtLeast(0.95),
        reached: accuracy.map(|share| share / ceiling),
    });
    Ok(())
}

/// The share of held-out pairs that the gold score ranks as labelled, with ties counted as one half.
fn gold_accuracy(pairs: &Path) -> Result<f64> {
    let text = fs::read_to_string(pairs).with_context(|| pairs.display().to_string())?;
    let correct = |line: &str| -> Result<f64> {
        let row: Value = serde_json::from_str(line)?;
        let score = |key: &str| gold(row[key].as_str().unwrap_or_default());
        let margin = score("chosen") - score("rejected");
        Ok(margin
            .partial_cmp(&0.0)
            .map_or(0.5, |o| 0.5 + 0.5 * f64::from(o as i8)))
    };
    let scores: Vec<f64> = text.lines().map(correct).collect::<Result<_>>()?;
    Ok(mean(scores.into_iter()))
}

/// The reward of the curve at this KL, interpolated linearly between its points.
fn interpolate(curve: &[FrontierPoint], kl: f64) -> Result<Estimate> {
    let after = curve.iter().position(|point| point.kl.value >= kl);
    let Some(after) = after.filter(|&index| index > 0) else {
        bail!("{SAMPLES} samples of the prior are too few to estimate the optimum at {kl:.3} nats");
    };
    let (a, b) = (&curve[after - 1], &curve[after]);
    let share = (kl - a.kl.value) / (b.kl.value - a.kl.value);
    let blend = |a: f64, b: f64| a + share * (b - a);
    let intervals = a.reward.interval.zip(b.reward.interval);
    Ok(Estimate {
        value: blend(a.reward.value, b.reward.value),
        interval: intervals.map(|(a, b)| Interval {
            low: blend(a.low, b.low),
            high: blend(a.high, b.high),
        }),
    })
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len() as f64;
    numbers.sum::<f64>() / count
}

fn quantile(numbers: &[f64], share: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((share * sorted.len() as f64) as usize).min(sorted.len() - 1)]
}
