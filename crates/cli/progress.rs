//! Displays progress: a bar on a terminal, plain lines elsewhere.

use crate::output::log;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use rlhf_experiment::Display;
use rlhf_train::{Observer, Progress};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The metrics that are displayed, and their labels.
const METRICS: [(&str, &str); 6] = [
    ("objective/scores", "reward"),
    ("objective/kl", "KL"),
    ("rewards/accuracies", "accuracy"),
    ("rewards/margins", "margin"),
    ("loss/nll", "nll"),
    ("loss/dpo", "loss"),
];
/// The approximate number of plain lines per run.
const LINES: usize = 50;
/// The time between plain lines of a download or another phase.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest time between plain lines of a phase of unknown length.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// Displays the steps of runs on stderr.
pub(crate) struct Bars;

impl Display for Bars {
    fn begin(&self, objective: &str, steps: usize, done: usize) -> Box<dyn Observer> {
        Box::new(Bar::new(objective, steps, done))
    }
}

/// Displays the progress of one run on stderr.
struct Bar {
    name: String,
    bar: Option<ProgressBar>,
    every: usize,
}

impl Bar {
    /// A bar for `steps` steps, of which `done` are done.
    fn new(objective: &str, steps: usize, done: usize) -> Self {
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
}

impl Drop for Bar {
    /// Keeps the last line on the terminal.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

impl Observer for Bar {
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
    let shown = METRICS.iter().filter_map(|(key, name)| {
        let value = metrics.get(key)?;
        Some(format!("{name} {value:.4}"))
    });
    shown.collect::<Vec<_>>().join("  ")
}

/// Displays a phase of known length on stderr: a bar on a terminal, elsewhere a line every [`PAUSE`].
pub(crate) struct Phase {
    name: String,
    unit: String,
    total: u64,
    start: u64,
    done: u64,
    bar: Option<ProgressBar>,
    began: Instant,
    last_line: Instant,
}

impl Phase {
    /// `total` units of work, of which `done` are done.
    pub(crate) fn new(name: &str, unit: &str, total: u64, done: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{prefix} {bar:24} {human_pos}/{human_len} {msg}  {eta} left";
            let style = ProgressStyle::with_template(template);
            let bar = ProgressBar::new(total).with_prefix(name.to_string());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(unit.to_string());
            bar.set_position(done);
            bar.reset_eta();
            bar
        });
        Self {
            name: name.into(),
            unit: unit.into(),
            total,
            start: done,
            done,
            bar,
            began: Instant::now(),
            last_line: Instant::now(),
        }
    }

    /// Sets the number of units that are done.
    pub(crate) fn reach(&mut self, done: u64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if self.last_line.elapsed() > PAUSE {
            self.last_line = Instant::now();
            let (name, unit, done, total) = (&self.name, &self.unit, self.done, self.total);
            log(format_args!(
                "{name}: {done} of {total} {unit}{}",
                self.left()
            ));
        }
    }

    fn left(&self) -> String {
        let (done, left) = (self.done - self.start, self.total.saturating_sub(self.done));
        let seconds_each = self.began.elapsed().as_secs_f64() / done.max(1) as f64;
        let left = Duration::from_secs_f64((seconds_each * left as f64).round());
        format!(", {:#} left", indicatif::HumanDuration(left))
    }
}

impl Drop for Phase {
    /// Removes the bar.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Prints the elapsed time of work of unknown length, from [`PAUSE`] on, until it is dropped.
pub(crate) struct Busy {
    end: Option<Sender<()>>,
    printer: Option<JoinHandle<()>>,
}

impl Busy {
    /// Starts the clock. Lines are `work`, a colon and the time.
    pub(crate) fn new(work: impl Into<String>) -> Self {
        let (end, ended) = std::sync::mpsc::channel();
        let (work, began) = (work.into(), Instant::now());
        let printer = std::thread::spawn(move || {
            let mut pause = PAUSE;
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let seconds = began.elapsed().as_secs();
                log(format_args!("{work}: {seconds} s so far"));
                pause = (pause * 2).min(LONG_PAUSE);
            }
        });
        Self {
            end: Some(end),
            printer: Some(printer),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(printer) = self.printer.take() {
            let _ = printer.join();
        }
    }
}

/// Displays the progress of a download from the hub on stderr.
pub(crate) struct Download {
    repository: String,
    file: String,
    /// In bytes; 0 if unknown.
    size: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Download {
    /// A file of `size` bytes (0 if unknown), of which `done` are already downloaded.
    pub(crate) fn new(repository: &str, file: &str, size: u64, done: u64) -> Self {
        let mut download = Self {
            repository: repository.into(),
            file: file.into(),
            size,
            bar: None,
            last_line: Instant::now(),
        };
        if !std::io::stderr().is_terminal() {
            download.print_line(done);
            return download;
        }
        let template = "{prefix} {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        let style = ProgressStyle::with_template(template);
        let bar = match size {
            0 => ProgressBar::no_length(),
            size => ProgressBar::new(size),
        };
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = bar.with_prefix(format!("{repository}: {file}"));
        bar.set_position(done);
        bar.reset_eta();
        download.bar = Some(bar);
        download
    }

    /// Sets the number of bytes that are downloaded.
    pub(crate) fn reach(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.last_line.elapsed() > PAUSE => self.print_line(done),
            None => {}
        }
    }

    fn print_line(&mut self, done: u64) {
        self.last_line = Instant::now();
        let size = match self.size {
            0 => "?".into(),
            size => HumanBytes(size).to_string(),
        };
        let (repository, file) = (&self.repository, &self.file);
        log(format_args!(
            "{repository}: {file}, {} of {size}",
            HumanBytes(done)
        ));
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}
