//! Reports the progress of downloads.

/// Called during downloads.
pub trait Progress {
    /// A file starts or restarts with `done` of `size` bytes present.
    fn begin(&mut self, file: &str, done: u64, size: Option<u64>);
    /// `done` bytes of the file are present.
    fn advance(&mut self, done: u64);
    /// The file is complete.
    fn end(&mut self);
    /// A message for the user, one sentence.
    fn note(&mut self, text: &str);
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _: &str, _: u64, _: Option<u64>) {}
    fn advance(&mut self, _: u64) {}
    fn end(&mut self) {}
    fn note(&mut self, _: &str) {}
}
