//! Where operations are made: in place while that is fast, through the ring while the kernel would have a thread wait.
//! This follows what is measured while the program runs, for each thread and each sort of operation.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A look-up slower than this came from a disk.
const SLOW_LOOKUP: Duration = Duration::from_micros(80);
/// A write slower than this was made to wait: by the kernel, which throttles threads that write more than a disk takes,
/// or by a file system that writes through. A buffer full takes a twentieth of it.
const SLOW_WRITE: Duration = Duration::from_millis(2);
/// After slow calls this many go through the ring before the next one is tried in place.
const THROUGH_RING: u32 = 16;
/// A call is also slow when another thread took the processor. Only what is slow more often than one time in this many
/// is taken to wait.
const SLOW_ONE_IN: u32 = 8;
/// Of fast calls one in this many is timed.
const TIMED_ONE_IN: u32 = 4;
/// A linear congruential generator (Knuth, The Art of Computer Programming 2, 3.3.4: Lavaux and Janssens).
const FACTOR: u32 = 1_664_525;
const STEP: u32 = 1_013_904_223;

/// Operations of one sort, that only their time tells whether they wait.
pub(super) struct Timed {
    /// A call that takes longer waits.
    slow: Duration,
    /// How many of the next ones go through the ring.
    through_ring: Cell<u32>,
    /// Goes up with each slow one and down with each fast one.
    suspicion: Cell<u32>,
    /// The clock is read for one in `TIMED_ONE_IN` while there is no suspicion: by chance, for what is slow may come at
    /// regular intervals.
    chance: Cell<u32>,
    /// What slow ones took, of those that were timed.
    waited: Cell<Duration>,
}

impl Timed {
    /// Opens and stats; also reads, where these can't be refused before they wait.
    pub(super) fn lookups() -> Self {
        Timed::slower_than(SLOW_LOOKUP)
    }

    /// Writes of up to a buffer.
    pub(super) fn writes() -> Self {
        Timed::slower_than(SLOW_WRITE)
    }

    fn slower_than(slow: Duration) -> Self {
        Timed {
            slow,
            through_ring: Cell::default(),
            suspicion: Cell::default(),
            chance: Cell::default(),
            waited: Cell::default(),
        }
    }

    /// Whether the next one should go through the ring.
    pub(super) fn next_through_ring(&self) -> bool {
        take_one(&self.through_ring)
    }

    /// Makes one in place.
    pub(super) fn in_place<T>(&self, call: impl FnOnce() -> T) -> T {
        self.chance.set(self.chance.get().wrapping_mul(FACTOR).wrapping_add(STEP));
        if self.suspicion.get() == 0 && self.chance.get() > u32::MAX / TIMED_ONE_IN {
            return call();
        }
        let start = Instant::now();
        let result = call();
        let time = start.elapsed();
        self.took(time);
        if time > self.slow {
            self.waited.set(self.waited.get().saturating_add(time));
        }
        result
    }

    /// How long calls in place have waited so far; less than they did, for not all are timed.
    pub(super) fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// Two were slow.
    #[cfg(test)]
    pub(super) fn mark_slow(&self) {
        (0..2).for_each(|_| self.took(2 * self.slow));
    }

    /// Takes note of one made in place.
    fn took(&self, time: Duration) {
        if time <= self.slow {
            self.suspicion.set(self.suspicion.get().saturating_sub(1));
        } else if self.suspicion.get() < SLOW_ONE_IN {
            self.suspicion.set(self.suspicion.get() + SLOW_ONE_IN);
        } else {
            self.through_ring.set(THROUGH_RING);
        }
    }
}

/// Reads that are refused (`RWF_NOWAIT`) where the page cache can't answer them.
#[derive(Default)]
pub(super) struct Reads {
    through_ring: Cell<u32>,
}

impl Reads {
    /// Whether the next one should go through the ring without being tried in place.
    pub(super) fn next_through_ring(&self) -> bool {
        take_one(&self.through_ring)
    }

    /// One could not be answered in place.
    pub(super) fn missed(&self) {
        self.through_ring.set(THROUGH_RING);
    }
}

/// Takes one of what is left, if anything is.
fn take_one(left: &Cell<u32>) -> bool {
    let had = left.get();
    left.set(had.saturating_sub(1));
    had > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_call_does_not_wait_but_two_in_a_row_do() {
        let (fast, slow) = (Duration::from_micros(2), Duration::from_millis(3));
        for calls in [Timed::lookups(), Timed::writes()] {
            for _ in 0..10 {
                calls.took(slow);
                assert!(!calls.next_through_ring(), "a thread lost the processor once in a while");
                (0..SLOW_ONE_IN).for_each(|_| calls.took(fast));
            }
            calls.took(slow);
            calls.took(slow);
            assert!((0..THROUGH_RING).all(|_| calls.next_through_ring()));
            assert!(!calls.next_through_ring(), "one is tried in place again");
            calls.took(slow);
            assert!(calls.next_through_ring(), "still waiting");
        }
    }

    #[test]
    fn a_read_that_missed_sends_the_next_ones_through_the_ring() {
        let reads = Reads::default();
        assert!(!reads.next_through_ring());
        reads.missed();
        assert!((0..THROUGH_RING).all(|_| reads.next_through_ring()));
        assert!(!reads.next_through_ring(), "one is tried in place again");
    }
}
