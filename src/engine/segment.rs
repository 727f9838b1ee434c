//! Large files, and files with holes: cut in parts that tasks of all threads take one after the other. The task that
//! has the file takes parts too, so that the copy goes on even if nobody comes to help; an invitation that finds no
//! room on its channel is simply not sent, and nobody waits for anybody to drain one.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use blake3::{Hash, Hasher};
use tokio::sync::Notify;

use rustix::io::Errno;

use super::Run;
use super::job::Offer;
use super::temporary::NewFile;
use super::worker::{Item, Lane};
use crate::content::hash::{PART, Parts, part_hasher};
use crate::content::sparse::{self, Layout};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::buffer::{self, Buffer};
use crate::plan::entry::Stat;
use crate::report::event::Event;

/// Holes of more bytes in all are not hashed: hashing zeroes would take longer than copying the file.
const HASHED_HOLES: u64 = 256 << 20;
/// Invitations a thread: as many tasks as it lets work on large files.
const INVITATIONS: usize = 2;
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// A file that several tasks copy.
pub(crate) struct LargeFile {
    source: Arc<OwnedFd>,
    destination: Arc<OwnedFd>,
    size: u64,
    layout: Layout,
    parts: Option<Parts>,
    /// Where the next part to be taken starts.
    next: AtomicU64,
    /// Tasks that have a part, or are about to look for one.
    working: AtomicUsize,
    idle: Notify,
    failed: AtomicBool,
    /// Bytes, holes not counted.
    copied: AtomicU64,
    error: Mutex<Option<Failure>>,
}

/// Which side failed; the path is put in by the task that has the file.
struct Failure {
    operation: Operation,
    cause: Cause,
}

impl Failure {
    fn of(operation: Operation) -> impl FnOnce(Errno) -> Failure {
        move |errno| Failure { operation, cause: errno.into() }
    }

    /// Of looking for data: `EILSEQ` is sparse.rs's word for a hole that is none.
    fn of_seek(errno: Errno) -> Failure {
        let cause = if errno == Errno::ILSEQ { Cause::FalseHole } else { errno.into() };
        Failure { operation: Operation::ReadSource, cause }
    }
}

/// A task at work on a file. However it ends, by a panic too, the task that has the file hears of it.
struct Working<'a>(&'a LargeFile);

impl<'a> Working<'a> {
    fn on(file: &'a LargeFile) -> Self {
        file.working.fetch_add(1, Ordering::AcqRel);
        Working(file)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
        if self.0.working.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}

impl LargeFile {
    /// Copies the contents of `source` and returns their hash, if hashes are wanted and the holes allow it, and the bytes
    /// copied.
    pub(crate) async fn copy(
        item: &Item<'_>,
        source: &Arc<OwnedFd>,
        new: &NewFile,
        stat: &Stat,
        layout: Layout,
    ) -> Result<(Option<Hash>, u64)> {
        let run = item.run();
        // The size comes first: parts are written in any order, and a hole at the end is never written.
        rustix::fs::ftruncate(&new.fd, stat.size).at(Operation::Write, || item.path())?;
        let holes = if layout == Layout::Sparse { stat.size.saturating_sub(stat.allocated) } else { 0 };
        let file = Arc::new(LargeFile {
            source: source.clone(),
            destination: new.fd.clone(),
            size: stat.size,
            layout,
            parts: (run.config.hash && holes <= HASHED_HOLES).then(|| Parts::new(stat.size)),
            next: AtomicU64::new(0),
            working: AtomicUsize::new(0),
            idle: Notify::new(),
            failed: AtomicBool::new(false),
            copied: AtomicU64::new(0),
            error: Mutex::new(None),
        });
        run.report(Event::Expected(stat.size - holes.min(stat.size))).await;
        if stat.size > 2 * PART {
            file.invite(run);
        }
        file.help(item.lane).await;
        while file.working.load(Ordering::Acquire) > 0 {
            file.idle.notified().await;
        }
        let failure = file.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        if failure.is_none() && file.failed.load(Ordering::Relaxed) {
            // A helper panicked: its thread reports that.
            return Err(Error::new(Operation::Run, item.source_path(), Cause::Interrupted));
        }
        if let Some(Failure { operation, cause }) = failure {
            let path = if operation == Operation::Write { item.path() } else { item.source_path() };
            return Err(Error { operation, path, cause });
        }
        Ok((file.parts.as_ref().and_then(Parts::finish), file.copied.load(Ordering::Relaxed)))
    }

    fn invite(self: &Arc<Self>, run: &Run) {
        for channel in &run.offers {
            for _ in 0..INVITATIONS {
                channel.sender.try_send(Offer::Large(self.clone())).ok();
            }
        }
    }

    /// Copies parts until there are none left.
    pub(crate) async fn help(&self, lane: &Lane) {
        let _working = Working::on(self);
        if let Err(failure) = self.copy_parts(lane).await {
            self.failed.store(true, Ordering::Relaxed);
            self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        }
    }

    async fn copy_parts(&self, lane: &Lane) -> Result<(), Failure> {
        while let Some(part) = self.next_part()? {
            let mut hasher = self.parts.as_ref().map(|_| part_hasher(part.start));
            let copied = self.copy_part(lane, part.clone(), hasher.as_mut()).await?;
            if let (Some(parts), Some(hasher)) = (&self.parts, &hasher) {
                parts.put(part.start, hasher);
            }
            self.copied.fetch_add(copied, Ordering::Relaxed);
            lane.run.report(Event::Bytes(copied)).await;
        }
        Ok(())
    }

    /// Takes the next part. Where holes are not hashed, those that are whole parts are leapt over.
    fn next_part(&self) -> Result<Option<Range<u64>>, Failure> {
        let leaps = self.layout == Layout::Sparse && self.parts.is_none();
        loop {
            let start = self.next.fetch_add(PART, Ordering::AcqRel);
            if start >= self.size || self.failed.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let part = start..(start + PART).min(self.size);
            if !leaps {
                return Ok(Some(part));
            }
            match sparse::next_data(&self.source, start..self.size).map_err(Failure::of_seek)? {
                None => self.next.fetch_max(self.size, Ordering::AcqRel),
                Some(data) if data.start < part.end => return Ok(Some(part)),
                Some(data) => self.next.fetch_max(data.start / PART * PART, Ordering::AcqRel),
            };
        }
    }

    /// Copies one part, reading ahead of the write. Returns the bytes copied, holes not counted.
    async fn copy_part(
        &self,
        lane: &Lane,
        part: Range<u64>,
        mut hasher: Option<&mut Hasher>,
    ) -> Result<u64, Failure> {
        let mut buffers = Vec::from(lane.buffers.take_pair().await);
        let mut read: Option<(Buffer, usize, u64)> = None;
        let (mut at, mut copied) = (part.start, 0);
        loop {
            let next = self.next_data(&mut at, part.end, hasher.as_deref_mut())?;
            let write = async {
                match read.take() {
                    Some((buffer, length, offset)) => {
                        let (result, buffer) = lane.io.write(&self.destination, buffer, length, offset).await;
                        result.map(|()| Some(buffer)).map_err(Failure::of(Operation::Write))
                    }
                    None => Ok(None),
                }
            };
            let ahead = async {
                match (next, buffers.pop()) {
                    (Some(data), Some(buffer)) => Some(self.read(lane, buffer, data).await),
                    _ => None,
                }
            };
            let (written, ahead) = tokio::join!(write, ahead);
            buffers.extend(written?);
            let Some(ahead) = ahead else { return Ok(copied) };
            let (buffer, length) = ahead?;
            if let Some(hasher) = hasher.as_deref_mut() {
                hasher.update(&buffer.bytes()[..length]);
            }
            read = Some((buffer, length, at));
            at += length as u64;
            copied += length as u64;
            if lane.run.stop.is_stopped() {
                return Err(Failure { operation: Operation::Run, cause: Cause::Interrupted });
            }
        }
    }

    async fn read(&self, lane: &Lane, buffer: Buffer, data: Range<u64>) -> Result<(Buffer, usize), Failure> {
        let length = (data.end - data.start) as usize;
        let (result, buffer) = lane.io.read(&self.source, buffer, length, data.start).await;
        match result.map_err(Failure::of(Operation::ReadSource))? {
            0 => Err(Failure { operation: Operation::ReadSource, cause: Cause::Changed }), // it was truncated
            length => Ok((buffer, length)),
        }
    }

    /// Moves `at` past a hole, hashing its zeroes, and returns the data there, a buffer full at most.
    fn next_data(
        &self,
        at: &mut u64,
        end: u64,
        hasher: Option<&mut Hasher>,
    ) -> Result<Option<Range<u64>>, Failure> {
        let data = match self.layout {
            _ if *at >= end => None,
            Layout::Dense => Some(*at..end),
            Layout::Sparse => sparse::next_data(&self.source, *at..end).map_err(Failure::of_seek)?,
        };
        let start = data.as_ref().map_or(end, |data| data.start);
        if let Some(hasher) = hasher {
            hash_zeroes(hasher, start.saturating_sub(*at));
        }
        *at = start.max(*at);
        Ok(data.map(|data| data.start..data.end.min(data.start + buffer::LARGE as u64)))
    }
}

fn hash_zeroes(hasher: &mut Hasher, mut length: u64) {
    while length > 0 {
        let now = length.min(ZEROES.len() as u64);
        hasher.update(&ZEROES[..now as usize]);
        length -= now;
    }
}
