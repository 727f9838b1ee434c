//! rsync's `--max-delete`: as many entries are removed, and the others counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many entries may be removed.
pub(super) struct Quota {
    left: AtomicU64,
    /// Those that were more than that.
    skipped: AtomicU64,
}

impl Quota {
    pub(super) fn of(most: u64) -> Self {
        Quota { left: AtomicU64::new(most), skipped: AtomicU64::new(0) }
    }

    /// How many entries were more than that.
    pub(super) fn into_skipped(self) -> u64 {
        self.skipped.into_inner()
    }

    /// Whether one more may be removed.
    pub(super) fn takes(&self) -> bool {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if taken.is_err() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Counts one that can't be removed anyway as too many, if it is.
    pub(super) fn skips(&self) -> bool {
        let is_used = self.left.load(Ordering::Relaxed) == 0;
        self.skipped.fetch_add(u64::from(is_used), Ordering::Relaxed);
        is_used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_taken_and_the_others_counted() {
        let quota = Quota::of(2);
        assert_eq!(
            [quota.takes(), quota.skips(), quota.takes(), quota.takes(), quota.skips()],
            [true, false, true, false, true]
        );
        assert_eq!(quota.into_skipped(), 2);
    }
}
