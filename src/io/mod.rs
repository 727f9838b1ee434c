//! How operations reach the kernel. [`Io`] offers each one once; below it they go through the ring or, where
//! io_uring is forbidden, straight into the kernel from one of many threads.
//!
//! On the ring's side an operation that the cache can answer is done in place: it takes less time than handing it
//! over and coming back (docs/performance.md). Only what would wait for a disk goes through the ring, where many
//! can wait at once.

pub(crate) mod adaptive;
pub(crate) mod buffer;
pub(crate) mod close;
pub(crate) mod file;
pub(crate) mod limits;
pub(crate) mod list;
pub(crate) mod metrics;
pub(crate) mod op;
pub(crate) mod path;
pub(crate) mod rename;
pub(crate) mod ring;
pub(crate) mod spans;
pub(crate) mod submission;
pub(crate) mod subvolume;
pub(crate) mod temporary;

use std::cell::Cell;
use std::ffi::CStr;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::event::metrics::{Call, Means};
use crate::io::adaptive::{Reads, Timed};
use crate::io::buffer::Buffer;
use crate::io::file::{Families, Family, File};
use crate::io::metrics::Gauge;
use crate::io::submission::Sight;
use crate::stat::Stat;

/// How often what the file system refuses for now is tried again; a file in /proc, or one on FUSE, may refuse it for
/// ever.
const REFUSALS: usize = 16;
/// How often in a row a signal may interrupt a system call. What comes more often is no signal: a FUSE file system may
/// answer so for ever.
pub(crate) const INTERRUPTIONS: usize = 256;
/// Writes up to this many bytes are made in place in any case: handing one to a kernel worker takes longer than the copy.
const SHORT_WRITE: usize = 64 << 10;

/// The operations of one thread.
pub(crate) struct Io {
    backend: Backend,
    families: Families,
    /// Operations that were handed over and are not done.
    in_flight: Cell<usize>,
    /// Who takes the figures: `--stats`, `--trace`.
    gauge: Option<Rc<Gauge>>,
}

enum Backend {
    /// A ring, and what is known of how long operations take in place; of reads only where they can't say beforehand
    /// whether they would wait.
    Ring {
        lookups: Timed,
        reads: Reads,
        blind_reads: Timed,
        writes: Timed,
        sight: Sight,
        refuses: Cell<bool>,
    },
    /// Plain system calls, one after the other: the thread waits.
    Plain,
}

impl Io {
    /// Operations for a thread that runs a ring.
    pub(crate) fn ring() -> Self {
        Io::new(Backend::Ring {
            lookups: Timed::lookups(),
            reads: Reads::default(),
            blind_reads: Timed::lookups(),
            writes: Timed::writes(),
            sight: Sight::new(),
            refuses: Cell::new(false),
        })
    }

    /// Operations for a thread that has none.
    pub(crate) fn plain() -> Self {
        Io::new(Backend::Plain)
    }

    fn new(backend: Backend) -> Self {
        Io { backend, families: Families::default(), in_flight: Cell::new(0), gauge: None }
    }

    /// The same, with figures taken.
    pub(crate) fn gauged(self, gauge: Option<Rc<Gauge>>) -> Self {
        Io { gauge, ..self }
    }

    /// A file that was opened, to be read.
    pub(crate) fn file(&self, fd: Arc<OwnedFd>, stat: &Stat) -> File {
        let (family, fine_times) = self.families.of(&fd, stat);
        File { fd, family, fine_times }
    }

    /// Makes a system call in place.
    pub(crate) fn in_place<T>(&self, kind: Call, call: impl FnOnce() -> T) -> T {
        match &self.gauge {
            None => call(),
            Some(gauge) => gauge.in_place(kind, call, |_| 0),
        }
    }

    /// Makes one that reads or writes bytes.
    pub(crate) fn transfer_in_place(
        &self,
        kind: Call,
        call: impl FnOnce() -> rustix::io::Result<usize>,
    ) -> rustix::io::Result<usize> {
        match &self.gauge {
            None => call(),
            Some(gauge) => gauge.in_place(kind, call, transferred),
        }
    }

    /// Waits for an operation that was handed over.
    pub(crate) async fn hand_over<T>(
        &self,
        kind: Call,
        means: Means,
        operation: impl Future<Output = T>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> T {
        let measured = self.gauge.as_ref().map(|gauge| gauge.submit(kind, means));
        self.in_flight.set(self.in_flight.get() + 1);
        let result = operation.await;
        self.in_flight.set(self.in_flight.get() - 1);
        if let (Means::Ring, Backend::Ring { sight, .. }) = (means, &self.backend) {
            sight.mark_seen_to();
        }
        if let Some(measured) = measured {
            measured.done(bytes(&result));
        }
        result
    }

    /// Whether there is a ring that takes what it is given.
    fn has_ring(&self) -> bool {
        matches!(&self.backend, Backend::Ring { refuses, .. } if !refuses.get())
    }

    /// Whether an answer says that the ring did not take an operation, rather than how that went: a plain call does. The
    /// kernel cancels what it can start no worker for, and after that nothing more is given to the ring.
    fn note_refusal<T>(&self, answer: &rustix::io::Result<T>) -> bool {
        if let (Backend::Ring { refuses, .. }, Err(Errno::CANCELED | Errno::NOSYS)) = (&self.backend, answer)
        {
            refuses.set(true);
        }
        matches!(answer, Err(Errno::CANCELED | Errno::NOSYS | Errno::NOMEM | Errno::AGAIN))
    }

    /// Lets the ring have what it was given, and gives those a turn whose operations are done, if there are any and this was
    /// not done a moment ago. A task that does everything in place calls this now and then.
    pub(crate) async fn see_to_ring(&self, now: Instant) {
        if let Backend::Ring { sight, .. } = &self.backend
            && self.in_flight.get() > 0
        {
            sight.see_to(now).await;
        }
    }

    /// How long this thread has waited so far in calls made in place that a ring could have waited for.
    pub(crate) fn waited(&self) -> Duration {
        match &self.backend {
            Backend::Ring { lookups, blind_reads, writes, .. } => {
                lookups.waited() + blind_reads.waited() + writes.waited()
            }
            Backend::Plain => Duration::ZERO,
        }
    }

    /// Opens one name of a held directory, never following a symlink, never waiting for a FIFO's writer.
    pub(crate) async fn open(
        &self,
        directory: &Arc<OwnedFd>,
        name: &CStr,
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let now = || self.in_place(Call::Open, || open_now(directory, name, flags));
        match &self.backend {
            Backend::Ring { lookups, .. } if self.has_ring() && lookups.next_through_ring() => {
                let open = op::open(directory.clone(), name, flags);
                let opened = self.hand_over(Call::Open, Means::Ring, open, |_| 0).await;
                if self.note_refusal(&opened) { now() } else { opened }
            }
            Backend::Ring { lookups, .. } => lookups.in_place(now),
            Backend::Plain => now(),
        }
    }

    /// Stats one name of a held directory, a symlink itself if it is one. `None`: there is no such name.
    pub(crate) async fn stat(
        &self,
        directory: &Arc<OwnedFd>,
        name: &CStr,
    ) -> rustix::io::Result<Option<Stat>> {
        let now = || self.in_place(Call::Stat, || stat_now(directory, name));
        let result = match &self.backend {
            Backend::Ring { lookups, .. } if self.has_ring() && lookups.next_through_ring() => {
                let stat = op::stat(directory.clone(), name);
                let found = self.hand_over(Call::Stat, Means::Ring, stat, |_| 0).await;
                if self.note_refusal(&found) { now() } else { found }
            }
            Backend::Ring { lookups, .. } => lookups.in_place(now),
            Backend::Plain => now(),
        };
        match result {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Reads at most `length` bytes at `offset` into the start of `buffer`. 0 bytes: the end of the file.
    pub(crate) async fn read(
        &self,
        file: &File,
        mut buffer: Buffer,
        length: usize,
        offset: u64,
    ) -> (rustix::io::Result<usize>, Buffer) {
        let result;
        (result, buffer) = self.try_read(file, buffer, length, offset).await;
        match result {
            // Old kernels say so on the ring where a file system can't tell whether a read would wait.
            result if result == Err(Errno::INTR) || self.note_refusal(&result) => {
                let bytes = &mut buffer.bytes_mut()[..length];
                (self.transfer_in_place(Call::Read, || read_now(&file.fd, bytes, offset)), buffer)
            }
            result => (result, buffer),
        }
    }

    async fn try_read(
        &self,
        file: &File,
        mut buffer: Buffer,
        length: usize,
        offset: u64,
    ) -> (rustix::io::Result<usize>, Buffer) {
        let flags = match &self.backend {
            Backend::Plain => ReadWriteFlags::empty(),
            Backend::Ring { .. } if !self.has_ring() => ReadWriteFlags::empty(),
            Backend::Ring { blind_reads, .. }
                if file.family == Family::Overlay && !blind_reads.next_through_ring() =>
            {
                let bytes = &mut buffer.bytes_mut()[..length];
                let read = || self.transfer_in_place(Call::Read, || read_now(&file.fd, bytes, offset));
                return (blind_reads.in_place(read), buffer);
            }
            // Nor can files in memory, which wait for nothing but swap.
            Backend::Ring { .. } if file.family == Family::Memory => ReadWriteFlags::empty(),
            Backend::Ring { .. } if file.family != Family::Kernel => {
                let read = read_in_thread(file.fd.clone(), buffer, length, offset);
                return self.hand_over(Call::Read, Means::Thread, read, |(read, _)| transferred(read)).await;
            }
            Backend::Ring { reads, .. } if reads.next_through_ring() => {
                return self.read_through_ring(file, buffer, length, offset).await;
            }
            Backend::Ring { .. } => ReadWriteFlags::NOWAIT,
        };
        let started = self.gauge.as_ref().map(|gauge| gauge.start_in_place(Call::Read));
        let bytes = &mut buffer.bytes_mut()[..length];
        let result = match flags.is_empty() {
            true => read_now(&file.fd, bytes, offset),
            false => retry(|| rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut *bytes)], offset, flags)),
        };
        if let (Backend::Ring { reads, .. }, Err(errno)) = (&self.backend, result)
            && !flags.is_empty()
            && needs_ring(errno)
        {
            reads.missed();
            return self.read_through_ring(file, buffer, length, offset).await;
        }
        if let (Some(gauge), Some(started)) = (&self.gauge, started) {
            gauge.done_in_place(Call::Read, started, transferred(&result));
        }
        (result, buffer)
    }

    async fn read_through_ring(
        &self,
        file: &File,
        buffer: Buffer,
        length: usize,
        offset: u64,
    ) -> (rustix::io::Result<usize>, Buffer) {
        let read = op::read(file.fd.clone(), buffer, length, offset);
        self.hand_over(Call::Read, Means::Ring, read, |(read, _)| transferred(read)).await
    }

    /// Writes `buffer[part]` at `offset`, all of it.
    pub(crate) async fn write(
        &self,
        file: &Arc<OwnedFd>,
        mut buffer: Buffer,
        part: Range<usize>,
        offset: u64,
    ) -> (rustix::io::Result<()>, Buffer) {
        let mut left = part.clone();
        let mut refusals = 0;
        while !left.is_empty() {
            let at = offset + (left.start - part.start) as u64;
            let now = || {
                self.transfer_in_place(Call::Write, || {
                    retry(|| rustix::io::pwrite(file, &buffer.bytes()[left.clone()], at))
                })
            };
            let result = match &self.backend {
                Backend::Ring { writes, .. }
                    if left.len() > SHORT_WRITE && self.has_ring() && writes.next_through_ring() =>
                {
                    let write = op::write(file.clone(), buffer, left.clone(), at);
                    let written = |(written, _): &(_, Buffer)| transferred(written);
                    let result;
                    (result, buffer) = self.hand_over(Call::Write, Means::Ring, write, written).await;
                    if self.note_refusal(&result) && !self.has_ring() {
                        continue; // the plain call follows
                    }
                    result
                }
                Backend::Ring { writes, .. } if left.len() > SHORT_WRITE => writes.in_place(now),
                // Blocks only where the kernel throttles writers, as it would block any of them.
                _ => now(),
            };
            match result {
                Ok(0) => return (Err(Errno::IO), buffer),
                Ok(n) => (left.start, refusals) = (left.start + n, 0),
                Err(Errno::INTR | Errno::AGAIN) if refusals < REFUSALS => refusals += 1,
                Err(errno) => return (Err(errno), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Waits until a file, or the names in a directory, are on stable storage (fsync(2)).
    pub(crate) async fn flush(&self, file: &Arc<OwnedFd>) -> rustix::io::Result<()> {
        if self.has_ring() {
            let flush = op::flush(file.clone());
            let flushed = self.hand_over(Call::Flush, Means::Ring, flush, |_| 0).await;
            if !self.note_refusal(&flushed) || self.has_ring() {
                return flushed;
            }
        }
        self.in_place(Call::Flush, || retry(|| rustix::fs::fsync(file)))
    }
}

/// Bytes that a read or a write came to.
fn transferred(result: &rustix::io::Result<usize>) -> u64 {
    result.map_or(0, |bytes| bytes as u64)
}

/// pread(2), again if the file system refuses it for now.
pub(crate) fn read_now(file: &OwnedFd, bytes: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut read = || retry(|| rustix::io::pread(file, &mut *bytes, offset));
    let mut result = read();
    for _ in 0..REFUSALS {
        if result == Err(Errno::AGAIN) {
            result = read();
        }
    }
    result
}

/// The same from a thread that may wait.
async fn read_in_thread(
    file: Arc<OwnedFd>,
    mut buffer: Buffer,
    length: usize,
    offset: u64,
) -> (rustix::io::Result<usize>, Buffer) {
    let mut bytes = buffer.take();
    let read = move || (read_now(&file, &mut bytes[..length], offset), bytes);
    match tokio::task::spawn_blocking(read).await {
        Ok((result, bytes)) => {
            buffer.put_back(bytes);
            (result, buffer)
        }
        Err(_) => (Err(Errno::IO), buffer), // it panicked
    }
}

/// openat(2) of one component (the listing sees to that) with `O_NOFOLLOW` stays beneath the directory. openat2(2) with
/// `RESOLVE_BENEATH` promises no more here, and takes a lock that all threads of the machine share.
fn open_now(directory: &OwnedFd, name: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

fn stat_now(directory: &OwnedFd, name: &CStr) -> rustix::io::Result<Stat> {
    rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS).map(|x| Stat::from(&x))
}

/// Whether a read that was not to wait would have to, or can't be asked not to: by the file system, an old kernel or a sandbox.
fn needs_ring(errno: Errno) -> bool {
    matches!(errno, Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::INVAL)
}

/// Repeats a system call that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    for _ in 0..INTERRUPTIONS {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
    call()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    /// Nothing on a ring takes as long.
    const LONGEST: Duration = Duration::from_secs(60);

    /// `None` where io_uring is forbidden.
    fn on_ring<T>(work: impl Future<Output = T>) -> Option<T> {
        ring::runtime().ok().map(|runtime| runtime.block_on(work))
    }

    #[test]
    fn slow_writes_go_through_the_ring_and_where_they_belong() {
        let file = tempfile::tempfile().unwrap();
        let fd = Arc::new(OwnedFd::from(file.try_clone().unwrap()));
        on_ring(async {
            let io = Io::ring();
            let mut buffer = buffer::Pool::new().take(buffer::LARGE as u64).await;
            buffer.bytes_mut().iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251) as u8);
            let Backend::Ring { writes, .. } = &io.backend else { return };
            writes.mark_slow();
            let part = 1000..1000 + 2 * SHORT_WRITE;
            let (result, buffer) = io.write(&fd, buffer, part.clone(), 4321).await;
            result.unwrap();
            let left = (0..100).take_while(|_| writes.next_through_ring()).count();
            assert_eq!(left, 15, "one of 16 was this one");
            let mut have = vec![0; part.len()];
            file.read_exact_at(&mut have, 4321).unwrap();
            assert!(have == buffer.bytes()[part.clone()]);
            assert_eq!(file.metadata().unwrap().len(), 4321 + part.len() as u64);
        });
    }

    /// The runtime alone would submit nothing while a task is ready to go on.
    #[test]
    fn tasks_that_never_wait_see_to_the_ring() {
        let fd = Arc::new(OwnedFd::from(tempfile::tempfile().unwrap()));
        on_ring(async {
            let io = Rc::new(Io::ring());
            let (other, flushed) = (io.clone(), Rc::new(Cell::new(false)));
            let tell = flushed.clone();
            let flush = tokio::task::spawn_local(async move {
                other.flush(&fd).await.unwrap();
                tell.set(true);
            });
            tokio::task::yield_now().await; // it is handed over
            assert_eq!(io.in_flight.get(), 1);
            let (begun, other, stop) = (Instant::now(), io.clone(), flushed.clone());
            // Its turn ends now and then, and yet it is always ready.
            let busy = tokio::task::spawn_local(async move {
                while !stop.get() && begun.elapsed() < LONGEST {
                    other.see_to_ring(Instant::now()).await;
                    tokio::task::yield_now().await;
                }
            });
            while !flushed.get() && begun.elapsed() < LONGEST {
                io.see_to_ring(Instant::now()).await;
                tokio::task::yield_now().await;
            }
            assert!(flushed.get());
            busy.await.unwrap();
            assert_eq!(io.in_flight.get(), 0);
            flush.await.unwrap();
        });
    }
}
