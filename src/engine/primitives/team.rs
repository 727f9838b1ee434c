//! Tasks of all threads at work on one file: they take segments of it one after the other. The task that has the file works
//! too, and waits for the others at the end, however these end.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::content::hash::SEGMENT;

/// Who works on a file, and how far they are.
pub(crate) struct Team<E> {
    size: u64,
    /// Where the next segment to be taken starts.
    next: AtomicU64,
    /// Tasks that have a segment, or are about to look for one.
    working: AtomicUsize,
    idle: Notify,
    failed: AtomicBool,
    /// Why it failed; a panic leaves nothing here.
    error: Mutex<Option<E>>,
}

/// How the work on a file failed.
pub(crate) enum Failed<E> {
    /// With this error.
    Error(E),
    /// A task panicked: its thread reports that.
    Panic,
}

/// A task at work. However it ends, by a panic too, the task that has the file hears of it.
struct Working<'a, E>(&'a Team<E>);

impl<E> Drop for Working<'_, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
        if self.0.working.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}

impl<E> Team<E> {
    /// For a file of `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        Team {
            size,
            next: AtomicU64::new(0),
            working: AtomicUsize::new(0),
            idle: Notify::new(),
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
        }
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Has the calling task do its share: `work` takes segments until there are none left. The first error ends the others'.
    pub(crate) async fn help(&self, work: impl Future<Output = Result<(), E>>) {
        self.working.fetch_add(1, Ordering::AcqRel);
        let _working = Working(self);
        if let Err(error) = work.await {
            self.failed.store(true, Ordering::Relaxed);
            self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    /// The next segment.
    pub(crate) fn next_segment(&self) -> Option<Range<u64>> {
        let start = self.next.fetch_add(SEGMENT, Ordering::AcqRel);
        let wanted = start < self.size && !self.failed.load(Ordering::Relaxed);
        wanted.then(|| start..start.saturating_add(SEGMENT).min(self.size))
    }

    /// No segment before `offset`, a multiple of [`SEGMENT`] or the size, is to be taken any more.
    pub(crate) fn leap_to(&self, offset: u64) {
        self.next.fetch_max(offset, Ordering::AcqRel);
    }

    /// Waits until nobody works on the file.
    pub(crate) async fn finish(&self) -> Result<(), Failed<E>> {
        while self.working.load(Ordering::Acquire) > 0 {
            self.idle.notified().await;
        }
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        match error {
            Some(error) => Err(Failed::Error(error)),
            None if self.failed.load(Ordering::Relaxed) => Err(Failed::Panic),
            None => Ok(()),
        }
    }
}
