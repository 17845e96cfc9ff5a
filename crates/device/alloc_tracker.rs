//! A tracker of allocations: it records large ones, and the peak of allocated memory. Tests install it to
//! check that a training step allocates nothing large, and that loading a model needs no more memory than the
//! loaded model.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, with tracking. Install it with `#[global_allocator]`.
#[derive(Debug)]
pub struct AllocTracker {
    /// Allocations of more bytes than this are recorded.
    most: AtomicUsize,
    /// The sizes of recorded allocations, each with its stack trace.
    found: Mutex<Vec<(usize, String)>>,
    /// Bytes that are allocated now, and their peak.
    held: AtomicUsize,
    peak: AtomicUsize,
}

thread_local! {
    /// Whether this thread is recording an allocation: recording allocates too.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

impl AllocTracker {
    /// A tracker that records nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            most: AtomicUsize::new(usize::MAX),
            found: Mutex::new(Vec::new()),
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// Runs `work`, and returns the allocations of more than `most` bytes that any thread made in the
    /// meantime: their sizes and stack traces.
    pub fn during(&self, most: usize, work: impl FnOnce()) -> Vec<(usize, String)> {
        self.most.store(most, Ordering::SeqCst);
        work();
        self.most.store(usize::MAX, Ordering::SeqCst);
        match self.found.lock() {
            Ok(mut found) => std::mem::take(&mut *found),
            Err(_) => Vec::new(),
        }
    }

    /// Runs `work`, and returns by how many bytes the allocated memory of all threads grew at its peak.
    pub fn peak(&self, work: impl FnOnce()) -> usize {
        let before = self.held.load(Ordering::SeqCst);
        self.peak.store(before, Ordering::SeqCst);
        work();
        self.peak.load(Ordering::SeqCst).saturating_sub(before)
    }

    fn took(&self, size: usize) {
        let held = self.held.fetch_add(size, Ordering::Relaxed) + size;
        self.peak.fetch_max(held, Ordering::Relaxed);
        self.note(size);
    }

    fn gave(&self, size: usize) {
        self.held.fetch_sub(size, Ordering::Relaxed);
    }

    fn note(&self, size: usize) {
        if size <= self.most.load(Ordering::Relaxed) || WRITING.replace(true) {
            return;
        }
        let stack = Backtrace::force_capture().to_string();
        if let Ok(mut found) = self.found.lock() {
            found.push((size, stack));
        }
        WRITING.set(false);
    }
}

impl Default for AllocTracker {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: every call is passed on to the system's allocator; besides, only sizes are counted.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for AllocTracker {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: the caller promises what the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // If the block moves, both exist for a moment.
        self.took(size);
        self.gave(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.gave(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn remembers_large_allocations_alone() {
        let watch = AllocTracker::new();
        let layout = |size| Layout::from_size_align(size, 64).unwrap();
        let take = |size| {
            // SAFETY: the layout is not empty, and each block is freed with the layout it was allocated with.
            unsafe {
                let pointer = watch.realloc(watch.alloc(layout(8)), layout(8), size);
                assert!(!pointer.is_null());
                watch.dealloc(pointer, layout(size));
                let pointer = watch.alloc_zeroed(layout(size));
                assert_eq!(*pointer.add(size - 1), 0);
                watch.dealloc(pointer, layout(size));
            }
        };
        take(5000);
        let found = watch.during(1000, || {
            take(1000);
            take(1001);
        });
        let sizes: Vec<usize> = found.iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes, [1001, 1001]);
        assert!(watch.during(usize::MAX, || ()).is_empty());
        // One block at a time, except while the first one is reallocated.
        assert_eq!(watch.peak(|| (0..3).for_each(|_| take(3000))), 3008);
        assert_eq!(watch.peak(|| ()), 0);
    }
}
