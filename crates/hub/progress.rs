//! Somebody to tell how far a download is.

/// Hears of downloads.
pub trait Progress {
    /// A file begins, or begins again: `done` bytes of `size` are there.
    fn begin(&mut self, file: &str, done: u64, size: Option<u64>);
    /// So many bytes of it are there now.
    fn advance(&mut self, done: u64);
    /// It is whole.
    fn end(&mut self);
    /// Something a person should know, in a sentence.
    fn note(&mut self, text: &str);
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _: &str, _: u64, _: Option<u64>) {}
    fn advance(&mut self, _: u64) {}
    fn end(&mut self) {}
    fn note(&mut self, _: &str) {}
}
