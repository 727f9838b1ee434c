//! How many directories a run holds open: where there are too many, those that nobody works in are closed
//! (engine/directory/evict.rs).

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many directories are open, two descriptors each, and how many may be.
pub(crate) struct OpenDirectories {
    count: AtomicUsize,
    /// Source directories that the walk opened and nobody needed yet.
    lent: AtomicUsize,
    limit: usize,
}

impl OpenDirectories {
    /// For a process that may have this number of `descriptors` open: an eighth of them is for directories.
    pub(crate) fn new(descriptors: usize) -> Self {
        let limit = (descriptors / 16).clamp(1, MOST_OPEN);
        OpenDirectories { count: AtomicUsize::new(0), lent: AtomicUsize::new(0), limit }
    }

    /// Whether the walk may leave one more of its own open. Only the walk asks.
    pub(crate) fn lend(&self) -> bool {
        self.lent.load(Ordering::Relaxed) < self.limit / 4 && {
            self.lent.fetch_add(1, Ordering::Relaxed);
            true
        }
    }

    pub(crate) fn give_back(&self) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one more. Returns whether there are too many.
    pub(crate) fn opened(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) >= self.limit
    }

    /// Whether there are too many.
    pub(crate) fn are_too_many(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.limit
    }

    /// Whether a level stays open, however scarce descriptors are, so that the way down to one of depth `deepest` is short:
    /// near that one in 32, further up fewer.
    pub(crate) fn stays_open(&self, level: usize, deepest: usize) -> bool {
        let near = deepest.saturating_sub(level) <= self.near();
        level.is_multiple_of(if near { SHORTEST_GAP } else { self.longest_gap(deepest) })
    }

    /// Levels above the deepest one that count as near.
    fn near(&self) -> usize {
        SHORTEST_GAP * (self.limit / 4)
    }

    /// Where this many levels in a row stay as they are, those above them do so too.
    pub(crate) fn reach(&self, deepest: usize) -> usize {
        2 * self.longest_gap(deepest).max(self.near())
    }

    /// Levels between two that stay open, at most: a power of two, so that what stays open for a deep one would for those
    /// above it.
    pub(crate) fn longest_gap(&self, deepest: usize) -> usize {
        let most = (self.limit / 2).max(1);
        deepest.div_ceil(most).next_power_of_two().max(SHORTEST_GAP)
    }

    pub(crate) fn closed(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Of the levels of a deep tree, no more than one in this many stays open.
const SHORTEST_GAP: usize = 32;
/// More directories need not be open, whatever the limit on descriptors.
const MOST_OPEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_deep_a_tree_is_few_of_its_levels_stay_open() {
        for descriptors in [64, 256, 1024, 1 << 20] {
            let open = OpenDirectories::new(descriptors);
            for deepest in [1, 31, 32, 1000, 5000, 1_000_000] {
                let landings = (1..=deepest).filter(|&level| open.stays_open(level, deepest)).count();
                assert!(landings <= open.limit, "{descriptors}, {deepest}: {landings}");
                let flight = open.longest_gap(deepest);
                let way_down = (1..=deepest).rev().find(|&level| open.stays_open(level, deepest));
                assert!(deepest - way_down.unwrap_or(0) <= flight, "{descriptors}, {deepest}: {flight}");
            }
        }
    }

    #[test]
    fn on_the_way_down_no_more_stays_open_than_may() {
        for (descriptors, deepest) in [(64, 3000), (256, 6000), (1024, 20_000), (4096, 70_000)] {
            let directories = OpenDirectories::new(descriptors);
            let mut open = std::collections::BTreeSet::new();
            for depth in 1..=deepest {
                open.insert(depth);
                if open.len() <= directories.limit {
                    continue;
                }
                // As evict() does; levels that are closed already are no more than counted here.
                let (mut last, mut close) = (depth, Vec::new());
                for &level in open.iter().rev().skip(1) {
                    if last - level > directories.reach(depth) {
                        break;
                    }
                    if !directories.stays_open(level, depth) {
                        close.push(level);
                        last = level;
                    }
                }
                open.retain(|level| !close.contains(level));
                assert!(open.len() <= directories.limit + 2, "{descriptors}, {depth}: {}", open.len());
            }
        }
    }
}
