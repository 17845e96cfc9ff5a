//! An allocator that remembers large allocations, and how much was held at most. A test that installs
//! it can say of a training step that it made none, and of loading that it takes no more than it keeps.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, watched. Install it with `#[global_allocator]`.
#[derive(Debug)]
pub struct AllocTracker {
    /// Allocations of more bytes than this are remembered.
    most: AtomicUsize,
    /// Their sizes, and from where they were made.
    found: Mutex<Vec<(usize, String)>>,
    /// Bytes that are held, and the most that were.
    held: AtomicUsize,
    peak: AtomicUsize,
}

thread_local! {
    /// Whether this thread is writing down an allocation, which allocates.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

impl AllocTracker {
    /// Watches nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            most: AtomicUsize::new(usize::MAX),
            found: Mutex::new(Vec::new()),
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// The allocations of more than `most` bytes that any thread makes while `work` runs: sizes, and
    /// the stacks they were made from.
    pub fn during(&self, most: usize, work: impl FnOnce()) -> Vec<(usize, String)> {
        self.most.store(most, Ordering::SeqCst);
        work();
        self.most.store(usize::MAX, Ordering::SeqCst);
        match self.found.lock() {
            Ok(mut found) => std::mem::take(&mut *found),
            Err(_) => Vec::new(),
        }
    }

    /// The most bytes that all threads held while `work` ran, above those they held before.
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

// SAFETY: every call is the system allocator's own; nothing is done beside it but counting sizes.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for AllocTracker {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: the caller's promise is what the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Where it moves, both are held for a moment.
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
            // SAFETY: the layout has a size, and what was allocated is given back as it was.
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
        // Never two of them at a time, but for the moment when the first one grows.
        assert_eq!(watch.peak(|| (0..3).for_each(|_| take(3000))), 3008);
        assert_eq!(watch.peak(|| ()), 0);
    }
}
