//! Reports progress as `tracing` spans, and the steps of a run to an observer.
//!
//! | span | fields | meaning |
//! |---|---|---|
//! | `busy` | `work` | work of unknown length, until the span closes |
//! | `phase` | `name`, `unit`, `total`, `done` | counted work; `done` is recorded as it grows |
//! | `download` | `repository`, `file`, `total`, `done` | a file from the hub, in bytes; `total` is 0 if unknown |

use rlhf_hub::Repository;
use rlhf_train::{Observer, Progress};
use tracing::span::EnteredSpan;
use tracing::{Span, info_span};

/// Work of unknown length, from now until the value is dropped.
pub(crate) fn busy(work: impl Into<String>) -> EnteredSpan {
    info_span!("busy", work = work.into()).entered()
}

/// Counted work, until the value is dropped.
pub(crate) struct Phase {
    span: Span,
    done: u64,
}

impl Phase {
    /// `total` units of work, of which `done` are done.
    pub(crate) fn new(name: &str, unit: &str, total: u64, done: u64) -> Self {
        Self {
            span: info_span!("phase", name, unit, total, done),
            done,
        }
    }

    /// Adds `count` to the work done.
    pub(crate) fn advance(&mut self, count: u64) {
        self.done += count;
        self.span.record("done", self.done);
    }
}

/// The download of a file from the hub.
pub(crate) struct Download {
    repository: String,
    span: Span,
}

impl Download {
    pub(crate) fn new(repository: &Repository) -> Self {
        Self {
            repository: repository.to_string(),
            span: Span::none(),
        }
    }
}

impl rlhf_hub::Progress for Download {
    fn begin(&mut self, file: &str, done: u64, size: Option<u64>) {
        let (repository, total) = (self.repository.as_str(), size.unwrap_or(0));
        self.span = info_span!("download", repository, file, total, done);
    }

    fn advance(&mut self, done: u64) {
        self.span.record("done", done);
    }

    fn end(&mut self) {
        self.span = Span::none();
    }

    fn note(&mut self, text: &str) {
        self.end();
        crate::notes::note(text);
    }
}

/// Displays the steps of runs.
pub trait Display {
    /// Called when a run of `steps` steps begins; `done` of them were made by an earlier process.
    fn begin(&self, objective: &str, steps: usize, done: usize) -> Box<dyn Observer>;
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Display for Quiet {
    fn begin(&self, _: &str, _: usize, _: usize) -> Box<dyn Observer> {
        Box::new(Self)
    }
}

impl Observer for Quiet {
    fn step(&mut self, _: &Progress<'_>) {}
}
