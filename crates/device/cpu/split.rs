//! Cutting work into pieces, by size alone and not by the number of threads.

use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Floats below which a pass runs on one thread.
const SMALL: usize = 1 << 13;

/// How many rows of `width` are one piece of work.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (SMALL / width.max(1)).max(1)
}

/// Runs `task(first row, rows)` over pieces of a row-major matrix.
pub(crate) fn over_rows(x: &mut [f32], width: usize, task: impl Fn(usize, &mut [f32]) + Sync) {
    if width == 0 || x.is_empty() {
        return;
    }
    let rows = rows_per_task(width);
    if x.len() <= rows * width {
        return task(0, x);
    }
    let piece = |(index, piece): (usize, &mut [f32])| task(index * rows, piece);
    x.par_chunks_mut(rows * width).enumerate().for_each(piece);
}

/// A slice that several threads write to, each to its own elements.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T = f32> {
    start: *mut T,
    length: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: all access is through `part` and `pointer`, whose callers promise not to overlap.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<'_, T> {}

#[allow(unsafe_code)]
impl<'a, T> Shared<'a, T> {
    /// Takes a slice for as long as it is shared.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            length: slice.len(),
            lifetime: PhantomData,
        }
    }

    /// A part of the slice, to write.
    ///
    /// # Safety
    /// No other part that is alive overlaps it, on any thread.
    ///
    /// # Panics
    /// If it is out of range.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: in bounds, and the caller excludes an overlap.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The address of a strided view that starts at `offset`. The caller checks the extent of the view.
    pub(crate) fn pointer(&self, offset: usize) -> *mut T {
        assert!(offset <= self.length);
        self.start.wrapping_add(offset)
    }
}

/// Runs `work` on a pool of so many threads.
#[cfg(test)]
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool of threads").install(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_once() {
        for (rows, width) in [(0, 3), (1, 5), (5000, 7), (3, 20000)] {
            let mut x = vec![0.0; rows * width];
            over_rows(&mut x, width, |first, part| {
                for (i, row) in part.chunks_mut(width).enumerate() {
                    row.iter_mut().for_each(|x| *x += (first + i) as f32);
                }
            });
            for (i, row) in x.chunks(width).enumerate() {
                assert!(row.iter().all(|x| *x == i as f32));
            }
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn parts_of_a_shared_slice() {
        let mut x = vec![0.0; 100];
        let shared = Shared::new(&mut x);
        (0..10).into_par_iter().for_each(|i| {
            // SAFETY: each task has ten floats of its own.
            unsafe { shared.part(i * 10..i * 10 + 10) }.fill(i as f32);
        });
        assert!(x.iter().enumerate().all(|(i, x)| *x == (i / 10) as f32));
    }
}
