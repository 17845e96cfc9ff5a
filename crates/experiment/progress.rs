//! How far work is: spans of `tracing`, for whoever draws them, and the steps of a run.
//!
//! | span | fields | meaning |
//! |---|---|---|
//! | `busy` | `work` | work of unknown length, until the span closes |
//! | `phase` | `name`, `unit`, `total`, `done` | counted work; `done` is recorded as it grows |
//! | `download` | `repository`, `file`, `total`, `done` | a file of the hub, in bytes; `total` is 0 where it is not known |

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
    /// Of `total` things called `unit`, `done` of which are done.
    pub(crate) fn new(name: &str, unit: &str, total: u64, done: u64) -> Self {
        Self {
            span: info_span!("phase", name, unit, total, done),
            done,
        }
    }

    /// So many more are done.
    pub(crate) fn advance(&mut self, count: u64) {
        self.done += count;
        self.span.record("done", self.done);
    }
}

/// A file that is fetched from the hub.
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

/// Who is shown the steps of runs.
pub trait Display {
    /// Called when the steps of a run begin: `steps` of them, `done` of which an earlier process made.
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
