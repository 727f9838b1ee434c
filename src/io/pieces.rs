//! How much of a large file is read at once: as little as stays in the processor's cache on its way from the read to the
//! write, unless reads take so long, wherever the file lies, that longer ones come to more.

use std::cell::Cell;
use std::time::Duration;

/// Bytes to begin with. On a disk and in memory more takes longer: 1.07 and more of the time (docs/performance.md).
const FIRST: usize = crate::io::buffer::LARGE;
/// Bytes at most, unless they are fixed: what FUSE asks its server for at once, at most (linux/fuse_i.h, 256 pages).
const MOST: usize = 1 << 20;
/// Reads that take longer on average wait for something far away: a disk that seeks gives a piece in half of that.
const SLOW: Duration = Duration::from_millis(4);
/// Reads that a rate is taken from.
const WINDOW: u32 = 8;
/// What longer reads have to bring to be kept: this much more bytes in the same time.
const GAIN: f64 = 1.25;
/// After a trial that came to nothing this many windows pass before the next one.
const REST: u32 = 64;

/// The size of one thread's pieces.
pub(super) struct Pieces {
    /// A flag names it.
    fixed: bool,
    /// Bytes.
    size: Cell<usize>,
    window: Cell<Window>,
    /// Bytes a second before the size was doubled, while it is not known what that brings.
    before: Cell<Option<f64>>,
    rest: Cell<u32>,
}

/// Full pieces that were read, and the time that took.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    reads: u32,
    time: Duration,
}

impl Pieces {
    /// Pieces of a fixed number of bytes, or of as many as turn out best.
    pub(super) fn new(fixed: Option<usize>) -> Self {
        Pieces {
            fixed: fixed.is_some(),
            size: Cell::new(fixed.unwrap_or(FIRST)),
            window: Cell::default(),
            before: Cell::default(),
            rest: Cell::default(),
        }
    }

    /// Bytes of a piece.
    pub(super) fn size(&self) -> usize {
        self.size.get()
    }

    /// Takes note of a read of `bytes` bytes, into a buffer for a piece of `size`.
    pub(super) fn took(&self, size: usize, bytes: usize, time: Duration) {
        // A short read tells nothing of long ones, nor does one for which the size of before was asked.
        if self.fixed || size != self.size.get() || bytes < size {
            return;
        }
        let Window { reads, time: before } = self.window.get();
        let window = Window { reads: reads + 1, time: before + time };
        if window.reads < WINDOW {
            self.window.set(window);
        } else {
            self.window.take();
            self.judge(window);
        }
    }

    fn judge(&self, window: Window) {
        let size = self.size.get();
        let rate = f64::from(window.reads) * size as f64 / window.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let slow = window.time / window.reads > SLOW;
        match self.before.take() {
            Some(before) if rate < before * GAIN => {
                self.size.set(size / 2);
                self.rest.set(REST);
            }
            _ if !slow => self.size.set(FIRST),
            _ if self.rest.get() > 0 => self.rest.set(self.rest.get() - 1),
            _ if size < MOST => {
                self.before.set(Some(rate));
                self.size.set(size * 2);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads pieces of a file whose reads take `fixed`, and `each` for every 256 KiB.
    fn read(pieces: &Pieces, count: u32, fixed: Duration, each: Duration) {
        for _ in 0..count {
            let size = pieces.size();
            pieces.took(size, size, fixed + each * (size / FIRST) as u32);
        }
    }

    #[test]
    fn pieces_grow_where_each_read_takes_long_whatever_its_length() {
        let pieces = Pieces::new(None);
        read(&pieces, 3 * WINDOW, Duration::from_millis(10), Duration::from_millis(1));
        assert_eq!(pieces.size(), MOST);
        read(&pieces, WINDOW, Duration::ZERO, Duration::from_micros(100));
        assert_eq!(pieces.size(), FIRST, "what comes now is fast");
    }

    #[test]
    fn pieces_stay_where_longer_ones_bring_nothing() {
        let pieces = Pieces::new(None);
        read(&pieces, 100 * WINDOW, Duration::ZERO, Duration::from_millis(1));
        assert_eq!(pieces.size(), FIRST, "fast enough");
        let each = Duration::from_millis(10);
        read(&pieces, WINDOW, Duration::ZERO, each);
        assert_eq!(pieces.size(), 2 * FIRST, "a trial");
        read(&pieces, WINDOW, Duration::ZERO, each);
        assert_eq!(pieces.size(), FIRST, "bytes take as long as before");
        read(&pieces, REST * WINDOW, Duration::ZERO, each);
        assert_eq!(pieces.size(), FIRST);
        read(&pieces, WINDOW, Duration::ZERO, each);
        assert_eq!(pieces.size(), 2 * FIRST, "the next trial");
    }

    #[test]
    fn what_is_fixed_stays_and_short_reads_tell_nothing() {
        let pieces = Pieces::new(Some(64 << 10));
        read(&pieces, 10 * WINDOW, Duration::from_secs(1), Duration::ZERO);
        assert_eq!(pieces.size(), 64 << 10);
        let pieces = Pieces::new(None);
        (0..10 * WINDOW).for_each(|_| pieces.took(FIRST, FIRST - 1, Duration::from_secs(1)));
        (0..10 * WINDOW).for_each(|_| pieces.took(2 * FIRST, 2 * FIRST, Duration::from_secs(1)));
        assert_eq!(pieces.size(), FIRST);
    }
}
