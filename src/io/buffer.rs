//! The buffers of one thread: made once, used over and over, the last one returned first since it is still in the
//! processor's cache. Their number is a semaphore, and so bounds the bytes in flight.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::io::file::Family;
use crate::io::metrics::{self, Gauge};

/// Bytes of a buffer for small files: one read holds the whole file.
pub(crate) const SMALL: usize = 64 << 10;
/// Bytes of a buffer for larger files, and for a piece of a segment: it stays in the processor's cache on its way from the
/// read to the write. 1 MiB from a disk took 1.07 of the time, and 1.28 of the processor's (docs/performance.md).
pub(crate) const LARGE: usize = 256 << 10;
/// Bytes of a piece of a large file, at most: one segment. Two pieces are in flight.
const MOST_PIECE: usize = 4 << 20;
/// Bytes of a piece that a program in user space has to give: the most that FUSE asks its server for at once
/// (linux/fuse_i.h, 256 pages). A read takes as long there whatever its length.
const FUSE_PIECE: usize = 1 << 20;
/// Bytes in flight a thread.
const IN_FLIGHT: usize = 12 << 20;

/// A thread's buffers.
pub(crate) struct Pool {
    budget: Arc<Semaphore>,
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
    /// Of other sizes, which pieces of large files have.
    pieces: RefCell<Vec<Box<[u8]>>>,
    /// Bytes of a piece, where these are fixed.
    piece: Option<usize>,
    gauge: Option<Rc<Gauge>>,
    /// Tasks that wait for a buffer.
    waiting: Cell<usize>,
}

impl Pool {
    /// An empty pool: buffers are made when they are first wanted.
    pub(crate) fn new() -> Rc<Self> {
        Pool::of(None, None)
    }

    /// The same, with pieces of `piece` bytes, if they are fixed, and with figures taken.
    pub(crate) fn of(piece: Option<usize>, gauge: Option<Rc<Gauge>>) -> Rc<Self> {
        let budget = Arc::new(Semaphore::new(IN_FLIGHT / SMALL));
        let (small, large, pieces) = (RefCell::default(), RefCell::default(), RefCell::default());
        let piece = piece.map(|bytes| whole_units(bytes).clamp(SMALL, MOST_PIECE));
        Rc::new(Pool { budget, small, large, pieces, piece, gauge, waiting: Cell::new(0) })
    }

    /// A buffer that holds at least `wanted` bytes, or a large one; waits while too many bytes are in flight.
    pub(crate) async fn take(self: &Rc<Self>, wanted: u64) -> Buffer {
        self.take_sized(size_for(wanted), 1).await.remove(0)
    }

    /// Two buffers at once, each of which holds at least `wanted` bytes, or large ones: a task that waits for a second
    /// one while it holds the first could wait for ever.
    pub(crate) async fn take_pair_of(self: &Rc<Self>, wanted: u64) -> [Buffer; 2] {
        self.take_two_sized(size_for(wanted)).await
    }

    /// A buffer for a piece of a large file on a file system of this family.
    pub(crate) async fn take_piece(self: &Rc<Self>, family: Family) -> Buffer {
        self.take_sized(self.piece_for(family), 1).await.remove(0)
    }

    /// Two such at once.
    pub(crate) async fn take_pieces(self: &Rc<Self>, family: Family) -> [Buffer; 2] {
        self.take_two_sized(self.piece_for(family)).await
    }

    fn piece_for(&self, family: Family) -> usize {
        self.piece.unwrap_or(if family == Family::Fuse { FUSE_PIECE } else { LARGE })
    }

    async fn take_two_sized(self: &Rc<Self>, size: usize) -> [Buffer; 2] {
        let mut two = self.take_sized(size, 2).await;
        let second = two.remove(1);
        [two.remove(0), second]
    }

    async fn take_sized(self: &Rc<Self>, size: usize, count: usize) -> Vec<Buffer> {
        let units = (size / SMALL) as u32;
        // The semaphore is never closed; without a permit the buffer would only not be counted.
        let mut permits = self.permits(units * count as u32).await.ok();
        if let Some(gauge) = &self.gauge {
            gauge.lend((size * count) as u64);
        }
        (0..count)
            .map(|_| {
                let permit = permits.as_mut().and_then(|all| all.split(units as usize));
                let bytes = self.shelf(size).borrow_mut().pop().filter(|bytes| bytes.len() == size);
                let bytes = bytes.unwrap_or_else(|| vec![0; size].into_boxed_slice());
                Buffer { bytes, size: size as u64, home: self.clone(), _permit: permit }
            })
            .collect()
    }

    async fn permits(&self, units: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        // Waiting, even for what is there, ends a task's turn once in a while, with a directory half done. Once a task
        // waits, all that come later wait too.
        if self.waiting.get() == 0
            && let Ok(permits) = self.budget.clone().try_acquire_many_owned(units)
        {
            return Ok(permits);
        }
        let start = self.gauge.as_ref().map(|gauge| (gauge, metrics::now()));
        self.waiting.set(self.waiting.get() + 1);
        let permits = self.budget.clone().acquire_many_owned(units).await;
        self.waiting.set(self.waiting.get() - 1);
        if let Some((gauge, start)) = start {
            gauge.count_buffer_wait(start);
        }
        permits
    }

    fn shelf(&self, size: usize) -> &RefCell<Vec<Box<[u8]>>> {
        match size {
            SMALL => &self.small,
            LARGE => &self.large,
            _ => &self.pieces,
        }
    }

    /// Takes back what was lent.
    fn put_back(&self, bytes: Box<[u8]>) {
        self.shelf(bytes.len()).borrow_mut().push(bytes);
    }
}

/// Bytes, rounded down to a whole number of the budget's units.
fn whole_units(bytes: usize) -> usize {
    bytes / SMALL * SMALL
}

fn size_for(wanted: u64) -> usize {
    if wanted <= SMALL as u64 { SMALL } else { LARGE }
}

/// A buffer on loan. Dropping it gives it back.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    /// Bytes that it holds when it has them.
    size: u64,
    home: Rc<Pool>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Lends its bytes to another thread; until they are put back it holds none.
    pub(super) fn take(&mut self) -> Box<[u8]> {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn put_back(&mut self, bytes: Box<[u8]>) {
        self.bytes = bytes;
    }

    /// Bytes it holds.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if let Some(gauge) = &self.home.gauge {
            gauge.give_back(self.size);
        }
        // What another thread still has goes when that is done with it.
        if !bytes.is_empty() {
            self.home.put_back(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Takes a large buffer, which must be there.
    fn take(pool: &Rc<Pool>) -> Buffer {
        match pin!(pool.take(u64::MAX)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(buffer) => buffer,
            Poll::Pending => panic!("there is none"),
        }
    }

    #[test]
    fn who_waits_for_a_buffer_is_counted() {
        let gauge = Rc::new(Gauge::new(0, metrics::now(), false, || true));
        let pool = Pool::of(None, Some(gauge.clone()));
        let mut lent: Vec<Buffer> = (0..IN_FLIGHT / LARGE).map(|_| take(&pool)).collect();
        {
            let mut waiting = pin!(pool.take(1));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            lent.pop();
            assert!(waiting.as_mut().poll(&mut context).is_ready());
        }
        drop(lent);
        drop(take(&pool));
        let ring = gauge.ring();
        assert_eq!((ring.buffer_waits, ring.most_bytes), (1, IN_FLIGHT as u64));
        assert!(!ring.buffer_wait.is_zero());
    }

    #[test]
    fn pieces_are_longer_where_a_program_gives_them() {
        let length = |pool: &Rc<Pool>, family| match pin!(pool.take_piece(family))
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(buffer) => buffer.len(),
            Poll::Pending => panic!("there is none"),
        };
        let pool = Pool::new();
        for family in [Family::Kernel, Family::Memory, Family::Overlay, Family::Fuse, Family::Kernel] {
            let expected = if family == Family::Fuse { 4 * LARGE } else { LARGE };
            assert_eq!(length(&pool, family), expected, "{family:?}");
        }
        let fixed = Pool::of(Some(3 * SMALL + 1), None);
        assert_eq!(length(&fixed, Family::Fuse), 3 * SMALL, "a flag fixes what it names");
    }
}
