//! How far a run or a download is: a bar on a terminal, plain lines elsewhere.

use crate::config::ObjectiveName;
use crate::output::log;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use rlhf_hub::Repository;
use rlhf_train::{Progress, Watch};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The metrics that are shown, and what they are called.
const SHOWN: [(&str, &str); 6] = [
    ("objective/scores", "reward"),
    ("objective/kl", "KL"),
    ("rewards/accuracies", "accuracy"),
    ("rewards/margins", "margin"),
    ("loss/nll", "nll"),
    ("loss/dpo", "loss"),
];
/// At most so many plain lines a run, about.
const LINES: usize = 50;
/// A plain line about a download comes so often.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows the progress of a run on stderr.
pub(crate) struct Bar {
    name: String,
    bar: Option<ProgressBar>,
    every: usize,
}

impl Bar {
    /// For a run of `steps` steps of which `done` are done.
    pub(crate) fn new(objective: ObjectiveName, steps: usize, done: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{prefix} {bar:24} {pos}/{len}  {msg}";
            let style = ProgressStyle::with_template(template);
            let bar = ProgressBar::new(steps as u64).with_prefix(objective.to_string());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_position(done as u64);
            bar
        });
        Self {
            name: objective.to_string(),
            bar,
            every: steps.div_ceil(LINES).max(1),
        }
    }

    /// Leaves the last line standing.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

impl Watch for Bar {
    fn step(&mut self, progress: &Progress<'_>) {
        let Progress { step, total, .. } = *progress;
        let left = Duration::from_secs_f64(progress.seconds_left.max(0.0).round());
        let left = indicatif::HumanDuration(left);
        let rate = progress.tokens_per_second;
        let message = format!(
            "{}  {rate:.0} tokens/s  {left:#} left",
            numbers(progress.metrics)
        );
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
            bar.set_message(message);
        } else if step % self.every == 0 || step == total || step == 1 {
            log(format_args!("{} {step}/{total}  {message}", self.name));
        }
        for sentence in progress.warnings {
            let line = format!("warning, step {step}: {sentence}");
            match &self.bar {
                Some(bar) => bar.println(line),
                None => log(line),
            }
        }
    }
}

fn numbers(metrics: &BTreeMap<&'static str, f64>) -> String {
    let shown = SHOWN.iter().filter_map(|(key, name)| {
        let value = metrics.get(key)?;
        Some(format!("{name} {value:.4}"))
    });
    shown.collect::<Vec<_>>().join("  ")
}

/// Shows the progress of what is fetched from the hub on stderr.
pub(crate) struct Download {
    repository: String,
    file: String,
    size: Option<u64>,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Download {
    pub(crate) fn new(repository: &Repository) -> Self {
        Self {
            repository: repository.to_string(),
            file: String::new(),
            size: None,
            bar: None,
            said: Instant::now(),
        }
    }

    fn say(&mut self, done: u64) {
        self.said = Instant::now();
        let size = self
            .size
            .map_or("?".into(), |size| HumanBytes(size).to_string());
        let (repository, file) = (&self.repository, &self.file);
        log(format_args!(
            "{repository}: {file}, {} of {size}",
            HumanBytes(done)
        ));
    }
}

impl rlhf_hub::Watch for Download {
    fn begin(&mut self, file: &str, done: u64, size: Option<u64>) {
        (self.file, self.size) = (file.into(), size);
        self.end();
        if !std::io::stderr().is_terminal() {
            return self.say(done);
        }
        let template = "{prefix} {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        let style = ProgressStyle::with_template(template);
        let bar = size.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = bar.with_prefix(format!("{}: {file}", self.repository));
        bar.set_position(done);
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.said.elapsed() > PAUSE => self.say(done),
            None => {}
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }

    fn note(&mut self, text: &str) {
        self.end();
        log(text);
    }
}
