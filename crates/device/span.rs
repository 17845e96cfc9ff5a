//! Where numbers are in a buffer, and what every slice of one can tell of it.

use std::ops::Range;

/// Consecutive numbers of a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    start: usize,
    pub(crate) length: usize,
}

impl Span {
    #[inline]
    pub(crate) fn new(range: &Range<usize>) -> Self {
        Self {
            start: range.start,
            length: range.len(),
        }
    }

    #[inline]
    pub(crate) fn range(self) -> Range<usize> {
        self.start..self.start + self.length
    }

    /// A part, counted from the first of these numbers.
    ///
    /// # Panics
    /// If it ends beyond them.
    #[inline]
    pub(crate) fn part(self, part: &Range<usize>) -> Self {
        assert!(
            part.start <= part.end && part.end <= self.length,
            "{part:?} of {} numbers",
            self.length
        );
        Self {
            start: self.start + part.start,
            length: part.len(),
        }
    }
}

/// The methods that all slices have: of their `span`.
macro_rules! span_methods {
    () => {
        /// How many numbers there are.
        #[inline]
        #[must_use]
        pub fn len(&self) -> usize {
            self.span.length
        }

        /// Whether there are none.
        #[inline]
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.span.length == 0
        }

        /// Their place in the buffer, counted in numbers of their type.
        #[inline]
        #[must_use]
        pub fn range(&self) -> std::ops::Range<usize> {
            self.span.range()
        }

        /// Some of them, counted from the first.
        ///
        /// # Panics
        /// If the range ends beyond them.
        #[inline]
        #[must_use]
        pub fn part(self, range: std::ops::Range<usize>) -> Self {
            let span = self.span.part(&range);
            Self { span, ..self }
        }
    };
}
pub(crate) use span_methods;
