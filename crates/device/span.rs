//! Ranges of a buffer, and the methods that all slices share.

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

    /// A part of the span, counted from its start.
    ///
    /// # Panics
    /// If the part ends beyond the span.
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

/// The methods that all slices have, from their field `span`.
macro_rules! span_methods {
    () => {
        /// How many numbers there are.
        #[inline]
        #[must_use]
        pub fn len(&self) -> usize {
            self.span.length
        }

        /// Whether the slice is empty.
        #[inline]
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.span.length == 0
        }

        /// The range in the buffer, counted in numbers of the slice's type.
        #[inline]
        #[must_use]
        pub fn range(&self) -> std::ops::Range<usize> {
            self.span.range()
        }

        /// A part of the slice, counted from its start.
        ///
        /// # Panics
        /// If the range ends beyond the slice.
        #[inline]
        #[must_use]
        pub fn part(self, range: std::ops::Range<usize>) -> Self {
            let span = self.span.part(&range);
            Self { span, ..self }
        }
    };
}
pub(crate) use span_methods;
