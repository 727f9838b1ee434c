//! How many directories a run holds open: where there are too many, those that nobody works in are closed (pair.rs).

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many directories are open, two descriptors each, and how many may be.
pub(crate) struct OpenDirectories {
    count: AtomicUsize,
    /// Source directories that the walk opened and nobody needed yet.
    lent: AtomicUsize,
    limit: usize,
}

impl OpenDirectories {
    /// For a process that may have so many `descriptors` open: an eighth of them is for directories.
    pub(crate) fn new(descriptors: usize) -> Self {
        let limit = (descriptors / 16).clamp(1, MOST_OPEN);
        OpenDirectories { count: AtomicUsize::new(0), lent: AtomicUsize::new(0), limit }
    }

    /// Whether the walk may leave one more of its own open. Only the walk asks.
    pub(super) fn lend(&self) -> bool {
        self.lent.load(Ordering::Relaxed) < self.limit / 4 && {
            self.lent.fetch_add(1, Ordering::Relaxed);
            true
        }
    }

    pub(super) fn give_back(&self) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one more. Returns whether there are too many.
    pub(crate) fn opened(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) >= self.limit
    }

    pub(super) fn closed(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// More directories need not be open, whatever the limit on descriptors.
const MOST_OPEN: usize = 4096;
