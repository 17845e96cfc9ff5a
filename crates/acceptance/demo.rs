//! The small world: how far runs get towards the best there is, and how well they tell pairs apart.

use crate::suite::{Outcome, Required, Setting, Suite, Verdict, json};
use anyhow::{Context, Result, bail};
use rlhf_demo::gold;
use rlhf_experiment::{Instead, Judge, small_world};
use rlhf_journal::{Estimate, FrontierPoint, Interval};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const SUITE: Suite = Suite {
    name: "demo",
    about: "PPO-KL and DPO on the small world, against the best there is by the gold score",
    run,
};

/// Responses of the prior to each prompt, and which of their scores counts as the best there is.
const SAMPLES: usize = 4096;
const BEST: f64 = 0.999;

fn run(setting: &Setting<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let world = small_world::write(setting.scratch)?;
    for seed in 1..=setting.seeds {
        ppo(setting, &world, seed, &mut outcome)?;
        dpo(setting, &world, seed, &mut outcome)?;
    }
    Ok(outcome)
}

/// One run on the world as a newcomer makes it, but for the seed.
fn fit(setting: &Setting<'_>, objective: &str, seed: u32) -> Result<PathBuf> {
    let folder = setting.scratch.join(format!("{objective}-{seed}"));
    let catalog = setting.session.registry.catalog();
    let objective = catalog
        .methods
        .objective(objective)
        .context("no such objective")?;
    let mut layers = small_world::layers(catalog, setting.scratch, &objective)?;
    layers.set(&format!("train.seed={seed}"))?;
    setting.session.fit(&layers.resolve()?, &folder)?;
    Ok(folder)
}

fn ppo(setting: &Setting<'_>, world: &Path, seed: u32, outcome: &mut Outcome) -> Result<()> {
    let runs = [fit(setting, "ppo-kl", seed)?];
    let [run] = &runs;
    let lexicon = world.join("lexicon.txt");
    let judges = [None, Some(format!("lexicon:{}", lexicon.display()))];
    let mut verdict = |name: &str, required, reached| {
        let name = format!("ppo-kl, seed {seed}: {name}");
        outcome.verdicts.push(Verdict {
            name,
            required,
            reached,
        });
    };
    for (reward, judged) in judges.into_iter().zip(["training reward", "gold score"]) {
        let instead = Instead {
            reward,
            ..Instead::default()
        };
        let mut judge = Judge::new(setting.session, &runs, &instead)?;
        let config = judge.comparable(run)?;
        let draws = judge.prior_rewards(SAMPLES)?;
        let rewards = &draws.rewards;
        let points = judge.of_run(run, &config)?;
        let last = points.last().context("the run has no checkpoint")?;
        let prior = mean(rewards.iter().map(|rewards| mean(rewards.iter().copied())));
        let base = |estimate: Estimate, whole: f64| estimate.map(|value| (value - prior) / whole);
        let mut row = json!({"seed": seed, "judged by": judged, "prior": prior, "policy": last});
        if judged == "gold score" {
            let best = mean(rewards.iter().map(|rewards| quantile(rewards, BEST)));
            row["best"] = best.into();
            let share = base(last.reward, best - prior);
            let name = "share of the way from the prior to the best gold score";
            verdict(name, Required::AtLeast(0.6), share);
            verdict("KL, nats", Required::AtLeast(1.0), last.kl);
            verdict("KL, nats", Required::AtMost(6.0), last.kl);
        } else {
            let optimum = at(&judge.optimum(&draws), last.kl.value)?;
            row["optimum"] = json!(optimum);
            let share = base(last.reward, optimum.value - prior);
            let name = "gain in training reward, as a share of the best at its KL";
            verdict(name, Required::AtLeast(0.75), share);
            let above = Estimate {
                value: share.interval.context("the interval of a share")?.low,
                ..share
            };
            let name = "the same, the low end of its interval";
            verdict(name, Required::AtMost(1.0), above);
        }
        outcome.rows.push(row);
    }
    Ok(())
}

fn dpo(setting: &Setting<'_>, world: &Path, seed: u32, outcome: &mut Outcome) -> Result<()> {
    let run = fit(setting, "dpo", seed)?;
    let held_out = json(&run.join("held_out.json"))?;
    let accuracy: Estimate = serde_json::from_value(held_out["numbers"]["accuracy"].clone())
        .context("held_out.json has no accuracy")?;
    let ceiling = gold_accuracy(&world.join("held_out_pairs.jsonl"))?;
    outcome
        .rows
        .push(json!({"seed": seed, "accuracy": accuracy, "accuracy of the gold score": ceiling}));
    outcome.verdicts.push(Verdict {
        name: format!(
            "dpo, seed {seed}: accuracy on held-out pairs, as a share of the gold score's own"
        ),
        required: Required::AtLeast(0.95),
        reached: accuracy.map(|share| share / ceiling),
    });
    Ok(())
}

/// The share of the labels that the score behind them agrees with; a tie is a guess.
fn gold_accuracy(pairs: &Path) -> Result<f64> {
    let text = fs::read_to_string(pairs).with_context(|| pairs.display().to_string())?;
    let right = |line: &str| -> Result<f64> {
        let row: Value = serde_json::from_str(line)?;
        let score = |key: &str| gold(row[key].as_str().unwrap_or_default());
        let margin = score("chosen") - score("rejected");
        Ok(margin
            .partial_cmp(&0.0)
            .map_or(0.5, |o| 0.5 + 0.5 * f64::from(o as i8)))
    };
    let rights: Vec<f64> = text.lines().map(right).collect::<Result<_>>()?;
    Ok(mean(rights.into_iter()))
}

/// The curve at this KL, between its points.
fn at(curve: &[FrontierPoint], kl: f64) -> Result<Estimate> {
    let after = curve.iter().position(|point| point.kl.value >= kl);
    let Some(after) = after.filter(|&index| index > 0) else {
        bail!("{SAMPLES} responses of the prior do not show the best at {kl:.3} nats");
    };
    let (a, b) = (&curve[after - 1], &curve[after]);
    let share = (kl - a.kl.value) / (b.kl.value - a.kl.value);
    let between = |a: f64, b: f64| a + share * (b - a);
    let intervals = a.reward.interval.zip(b.reward.interval);
    Ok(Estimate {
        value: between(a.reward.value, b.reward.value),
        interval: intervals.map(|(a, b)| Interval {
            low: between(a.low, b.low),
            high: between(a.high, b.high),
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
