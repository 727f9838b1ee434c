//! `--bwlimit`: one bucket of tokens for the whole run. A reader takes as many as it will read bytes, and waits until the
//! bucket has had time to fill with them. The clock decides and no timer: one that rings late is made up for by the next
//! wait, so that the rate holds over any longer time.

use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::io::buffer::LARGE;

/// What was not used for this long is lost: a pause is not made up for by a rush.
const CREDIT: Duration = Duration::from_millis(100);

/// How many pieces are read a second, at least.
const PIECES: u64 = 20;

/// The shortest piece: a block.
const SHORTEST: u64 = 4096;

/// A file that is being read has this many bytes a second to itself. More files at once would only be half done for
/// longer.
const SHARE: u64 = 1 << 20;

/// Files that are read at once, at the lowest rate and at the highest.
const FILES: (u64, u64) = (2, 1024);

/// Which bytes may be read when.
pub(crate) struct Rate {
    bucket: Mutex<Bucket>,
    pub(crate) piece: u64,
    pub(crate) files: Semaphore,
}

/// The arithmetic.
pub(crate) struct Bucket {
    /// Bytes a second.
    rate: NonZeroU64,
    /// All that was let through will have been paid for by then.
    paid: Instant,
}

impl Bucket {
    fn new(rate: NonZeroU64, now: Instant) -> Self {
        Bucket { rate, paid: now }
    }

    /// Takes tokens for these bytes, and returns how long to wait before they are there.
    pub(crate) fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        self.paid = self.paid.max(earliest) + self.cost(bytes);
        self.paid.saturating_duration_since(now)
    }

    /// How long it takes the bucket to fill with them.
    fn cost(&self, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

impl Rate {
    pub(crate) fn new(rate: NonZeroU64) -> Self {
        let piece = (rate.get() / PIECES / SHORTEST * SHORTEST).clamp(SHORTEST, LARGE as u64);
        let files = (rate.get() / SHARE).clamp(FILES.0, FILES.1);
        let bucket = Mutex::new(Bucket::new(rate, Instant::now()));
        Rate { bucket, piece, files: Semaphore::new(files as usize) }
    }

    pub(crate) fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bucket(rate: u64) -> (Bucket, Instant) {
        let start = Instant::now() + SECOND; // no credit from before the clock began
        (Bucket::new(NonZeroU64::new(rate).unwrap(), start), start)
    }

    #[test]
    fn bytes_are_waited_for_before_they_are_read() {
        let (mut bucket, start) = bucket(1000);
        assert_eq!(bucket.take(500, start), SECOND / 2);
        assert_eq!(bucket.take(500, start), SECOND, "others wait behind it");
        assert_eq!(bucket.take(1000, start + SECOND), SECOND);
        assert_eq!(bucket.take(0, start + 2 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_late_timer_is_made_up_for_and_a_pause_is_not() {
        let (mut bucket, start) = bucket(1000);
        bucket.take(1000, start);
        let late = start + SECOND + Duration::from_millis(30);
        assert_eq!(bucket.take(1000, late), SECOND - Duration::from_millis(30));
        let paused = start + 60 * SECOND;
        assert_eq!(bucket.take(1000, paused), SECOND - CREDIT);
    }

    #[test]
    fn the_rate_holds_however_late_the_timers_are() {
        for rate in [1, 999, 1 << 20, 10 << 30] {
            let (mut bucket, start) = bucket(rate);
            let (mut now, mut bytes, piece) = (start, 0, 4096);
            for late in (0..2000).map(|turn| Duration::from_micros(turn * 7919 % 5000)) {
                now += bucket.take(piece, now) + late;
                bytes += piece;
            }
            let should = bytes as f64 / rate as f64;
            let took = (now - start).as_secs_f64();
            assert!(took > should * 0.9999 - CREDIT.as_secs_f64(), "{rate}: {took} for {should}");
            // Where a piece takes less time than a timer is late by, the timers decide.
            assert!(rate > 1 << 20 || took < should * 1.001 + 0.01, "{rate}: {took} for {should}");
        }
    }

    #[test]
    fn pieces_are_short_where_the_rate_is_low() {
        for (rate, piece, files) in
            [(1, 4096, 2), (1 << 20, 49_152, 2), (10 << 20, LARGE as u64, 10), (u64::MAX, LARGE as u64, 1024)]
        {
            let rate = Rate::new(NonZeroU64::new(rate).unwrap());
            assert_eq!((rate.piece, rate.files.available_permits() as u64), (piece, files));
        }
    }
}
