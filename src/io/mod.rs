//! How operations reach the kernel. [`Io`] offers each one once; below it they go through the ring or, where
//! io_uring is forbidden, straight into the kernel from one of many threads.
//!
//! On the ring's side an operation that the cache can answer is done in place: it takes less time than handing it
//! over and coming back (docs/performance.md). Only what would wait for a disk goes through the ring, where many
//! can wait at once.

pub(crate) mod buffer;
pub(crate) mod file;
pub(crate) mod op;
pub(crate) mod path;
pub(crate) mod place;
pub(crate) mod ring;
pub(crate) mod root;
pub(crate) mod sources;

use std::cell::Cell;
use std::ffi::CStr;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::plan::entry::Stat;
use buffer::Buffer;
use file::{Families, Family, File};

/// A look-up slower than this came from a disk.
const FROM_DISK: Duration = Duration::from_micros(80);
/// After slow look-ups so many go through the ring before the next one is tried in place.
const LOOKUPS_THROUGH_RING: u32 = 16;
/// A look-up is also slow when another thread took the processor. Only what is slow more often than one time in so
/// many is taken for a disk.
const SLOW_ONE_IN: u32 = 8;
/// Of fast look-ups one in so many is timed.
const TIMED_ONE_IN: u32 = 4;
/// After a read that the page cache could not answer so many go through the ring untried.
const READS_THROUGH_RING: u32 = 16;
/// So often what the file system refuses for now is tried again; a file in /proc, or one on FUSE, may refuse it for ever.
const REFUSALS: usize = 16;
/// So often in a row a signal may interrupt a system call. More are none: a FUSE file system may answer so for ever.
const INTERRUPTIONS: usize = 256;
/// Writes up to this many bytes are made in place: handing one to a kernel worker takes longer than the copy.
const SHORT_WRITE: usize = 64 << 10;

/// The operations of one thread.
pub(crate) enum Io {
    /// A ring, and what is known of the look-ups' speed, and of that of reads which can't say whether they would wait.
    Ring { lookups: Lookups, reads: Reads, blind_reads: Lookups, families: Families },
    /// Plain system calls, one after the other: the thread waits.
    Plain { families: Families },
}

/// Where look-ups are made: in place while the cache answers, through the ring, or a thread, while a disk does.
#[derive(Default)]
pub(crate) struct Lookups {
    /// So many of the next ones go through the ring.
    through_ring: Cell<u32>,
    /// Goes up with each slow one and down with each fast one.
    suspicion: Cell<u32>,
    /// Counts them: the clock is read for one in so many while there is no suspicion.
    made: Cell<u32>,
}

impl Lookups {
    /// Whether the next one should go through the ring.
    fn next_through_ring(&self) -> bool {
        let left = self.through_ring.get();
        self.through_ring.set(left.saturating_sub(1));
        left > 0
    }

    /// Makes one in place.
    fn timed<T>(&self, look_up: impl FnOnce() -> T) -> T {
        self.made.set(self.made.get().wrapping_add(1));
        if self.suspicion.get() == 0 && !self.made.get().is_multiple_of(TIMED_ONE_IN) {
            return look_up();
        }
        let start = Instant::now();
        let result = look_up();
        self.took(start.elapsed());
        result
    }

    /// Takes note of one made in place.
    fn took(&self, time: Duration) {
        if time <= FROM_DISK {
            self.suspicion.set(self.suspicion.get().saturating_sub(1));
        } else if self.suspicion.get() < SLOW_ONE_IN {
            self.suspicion.set(self.suspicion.get() + SLOW_ONE_IN);
        } else {
            self.through_ring.set(LOOKUPS_THROUGH_RING);
        }
    }
}

/// Where reads are made: in place while the page cache answers.
#[derive(Default)]
pub(crate) struct Reads {
    through_ring: Cell<u32>,
}

impl Reads {
    /// Whether the next one should go through the ring without being tried in place.
    fn next_through_ring(&self) -> bool {
        let left = self.through_ring.get();
        self.through_ring.set(left.saturating_sub(1));
        left > 0
    }

    /// One could not be answered in place.
    fn missed(&self) {
        self.through_ring.set(READS_THROUGH_RING);
    }
}

impl Io {
    /// Operations for a thread that runs a ring.
    pub(crate) fn ring() -> Self {
        Io::Ring {
            lookups: Lookups::default(),
            reads: Reads::default(),
            blind_reads: Lookups::default(),
            families: Families::default(),
        }
    }

    /// Operations for a thread that has none.
    pub(crate) fn plain() -> Self {
        Io::Plain { families: Families::default() }
    }

    /// A file that was opened, to be read.
    pub(crate) fn file(&self, fd: Arc<OwnedFd>, stat: &Stat) -> File {
        let (Io::Ring { families, .. } | Io::Plain { families }) = self;
        let family = families.of(&fd, stat);
        File { fd, family }
    }

    /// Opens one name of a held directory, never following a symlink, never waiting for a FIFO's writer.
    pub(crate) async fn open(
        &self,
        directory: &Arc<OwnedFd>,
        name: &CStr,
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match self {
            Io::Ring { lookups, .. } if lookups.next_through_ring() => {
                op::open(directory.clone(), name, flags).await
            }
            Io::Ring { lookups, .. } => lookups.timed(|| open_now(directory, name, flags)),
            Io::Plain { .. } => open_now(directory, name, flags),
        }
    }

    /// Stats one name of a held directory, a symlink itself if it is one. `None`: there is no such name.
    pub(crate) async fn stat(
        &self,
        directory: &Arc<OwnedFd>,
        name: &CStr,
    ) -> rustix::io::Result<Option<Stat>> {
        let result = match self {
            Io::Ring { lookups, .. } if lookups.next_through_ring() => {
                op::stat(directory.clone(), name).await
            }
            Io::Ring { lookups, .. } => lookups.timed(|| stat_now(directory, name)),
            Io::Plain { .. } => stat_now(directory, name),
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
            Err(Errno::AGAIN | Errno::INTR) => {
                (read_now(&file.fd, &mut buffer.bytes_mut()[..length], offset), buffer)
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
        let flags = match self {
            Io::Plain { .. } => ReadWriteFlags::empty(),
            Io::Ring { blind_reads, .. }
                if file.family == Family::Overlay && !blind_reads.next_through_ring() =>
            {
                let read = || read_now(&file.fd, &mut buffer.bytes_mut()[..length], offset);
                return (blind_reads.timed(read), buffer);
            }
            Io::Ring { .. } if file.family != Family::Kernel => {
                return read_in_thread(file.fd.clone(), buffer, length, offset).await;
            }
            Io::Ring { reads, .. } if reads.next_through_ring() => {
                return op::read(file.fd.clone(), buffer, length, offset).await;
            }
            Io::Ring { .. } => ReadWriteFlags::NOWAIT,
        };
        let result = retry(|| {
            rustix::io::preadv2(
                file,
                &mut [IoSliceMut::new(&mut buffer.bytes_mut()[..length])],
                offset,
                flags,
            )
        });
        match (self, result) {
            (Io::Ring { reads, .. }, Err(Errno::AGAIN | Errno::OPNOTSUPP)) => {
                reads.missed();
                op::read(file.fd.clone(), buffer, length, offset).await
            }
            (_, result) => (result, buffer),
        }
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
            let result = match self {
                Io::Ring { .. } if part.len() > SHORT_WRITE => {
                    let result;
                    (result, buffer) = op::write(file.clone(), buffer, left.clone(), at).await;
                    result
                }
                // Blocks only where the kernel throttles writers, as it would whoever writes.
                _ => retry(|| rustix::io::pwrite(file, &buffer.bytes()[left.clone()], at)),
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
        match self {
            Io::Ring { .. } => op::flush(file.clone()).await,
            Io::Plain { .. } => retry(|| rustix::fs::fsync(file)),
        }
    }
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

/// Stats an open file. Its inode is in memory, so that this never waits.
pub(crate) fn stat_open(file: impl AsFd) -> rustix::io::Result<Stat> {
    rustix::fs::fstat(file).map(|stat| Stat::from(&stat))
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

    #[test]
    fn one_slow_look_up_is_no_disk_but_two_in_a_row_are() {
        let (fast, slow) = (Duration::from_micros(2), Duration::from_millis(3));
        let lookups = Lookups::default();
        for _ in 0..10 {
            lookups.took(slow);
            assert!(!lookups.next_through_ring(), "a thread lost the processor once in a while");
            (0..SLOW_ONE_IN).for_each(|_| lookups.took(fast));
        }
        lookups.took(slow);
        lookups.took(slow);
        assert!((0..LOOKUPS_THROUGH_RING).all(|_| lookups.next_through_ring()));
        assert!(!lookups.next_through_ring(), "one is tried in place again");
        lookups.took(slow);
        assert!(lookups.next_through_ring(), "still the disk");
    }
}
