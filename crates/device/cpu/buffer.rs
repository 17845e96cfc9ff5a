//! A cache-line-aligned vector of floats.

use std::ops::{Deref, DerefMut};

/// Floats in a cache line.
const LINE: usize = 16;

/// Floats that start at a cache line. A buffer grows on request and never shrinks.
#[derive(Debug, Default)]
pub struct Buffer {
    /// One cache line more than is used, for the alignment. A zeroed vector of floats is fresh memory that is
    /// not written to; a vector of aligned lines would be.
    floats: Vec<f32>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// `length` zeros; untouched pages cost no memory.
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        let floats: Vec<f32> = bytemuck::zeroed_vec(length + LINE);
        let start = floats.as_ptr().align_offset(LINE * size_of::<f32>());
        assert!(start < LINE, "floats lie at whole floats");
        large_pages(&floats);
        Self {
            floats,
            start,
            length,
        }
    }

    /// The first `length` floats. A shorter buffer is replaced by one of `length` zeros; a longer one keeps its
    /// contents.
    pub fn at_least(&mut self, length: usize) -> &mut [f32] {
        if self.length < length {
            // The old buffer is freed first, so that both never exist at once.
            *self = Self::default();
            *self = Self::zeroed(length);
        }
        &mut self[..length]
    }

    /// Grows to at least `length` floats, and keeps the contents of the first `kept`.
    ///
    /// # Panics
    /// If there are fewer than `kept` floats.
    pub fn grow(&mut self, kept: usize, length: usize) {
        if self.length < length {
            let mut grown = Self::zeroed(length);
            grown[..kept].copy_from_slice(&self[..kept]);
            *self = grown;
        }
    }
}

/// Asks the system for pages of 2 MiB if the buffer is large enough. Fewer page faults and TLB misses make
/// streaming weights faster.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn large_pages(floats: &[f32]) {
    const PAGE: usize = 2 << 20;
    let bytes = floats.as_ptr_range();
    let start = (bytes.start as usize).next_multiple_of(PAGE);
    let end = bytes.end as usize / PAGE * PAGE;
    if start + PAGE <= end {
        // SAFETY: the range is within a live allocation, and the advice does not change its contents. If the
        // call fails, only time is lost.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn large_pages(_: &[f32]) {}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::zeroed(self.length);
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats[self.start..self.start + self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_and_zero() {
        let buffer = Buffer::zeroed(17);
        assert_eq!(buffer.as_ptr() as usize % 64, 0);
        assert_eq!(&*buffer, [0.0; 17]);
        assert!(Buffer::zeroed(0).is_empty());
        let mut copied = buffer;
        copied[16] = 2.0;
        let copy = copied.clone();
        assert_eq!((copy.as_ptr() as usize % 64, &copy[..]), (0, &copied[..]));
        // Large enough for large pages, and writable as a whole.
        let mut large = Buffer::zeroed((5 << 20) + 3);
        assert!(large.iter().all(|x| *x == 0.0));
        large.fill(1.0);
        assert_eq!(large.iter().sum::<f32>() as usize, (5 << 20) + 3);
    }

    #[test]
    fn grows_and_never_shrinks() {
        let mut buffer = Buffer::default();
        buffer.at_least(3).fill(1.0);
        assert_eq!(buffer.at_least(2), [1.0; 2]);
        assert_eq!(buffer.at_least(40), [0.0; 40]);
        assert_eq!(buffer.len(), 40);
        buffer.fill(3.0);
        buffer.grow(2, 41);
        assert_eq!(
            (&buffer[..2], &buffer[2..]),
            (&[3.0; 2][..], &[0.0; 39][..])
        );
        buffer.grow(0, 5);
        assert_eq!(buffer[..2], [3.0; 2]);
    }
}
