//! Large files: cut in parts that tasks of all threads take one after the other. As in a mirror, the task that has
//! the file takes parts too, and an invitation that finds no room on its channel is simply not sent.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use blake3::Hash;
use tokio::sync::Notify;

use super::report::News;
use super::task::{HELPERS, Lane};
use crate::content::hash::{PART, Parts, part_hasher};
use crate::error::{Cause, Result};
use crate::io::buffer::LARGE;
use crate::io::file::File;
use crate::io::stat_open;

/// Beyond this the parts' values alone would take more than 32 MiB. Such sizes are those of sparse files and of /proc.
const LARGEST: u64 = 4 << 40;

/// Whether a file of this size is read by several tasks.
pub(super) fn is_worth_cutting(size: u64) -> bool {
    (2 * PART + 1..=LARGEST).contains(&size)
}

/// A file that several tasks read.
pub(super) struct LargeFile {
    file: File,
    size: u64,
    parts: Parts,
    /// Where the next part to be taken starts.
    next: AtomicU64,
    /// Tasks that have a part, or are about to look for one.
    working: AtomicUsize,
    idle: Notify,
    failed: AtomicBool,
    /// Why it failed; a panic leaves nothing here.
    cause: Mutex<Option<Cause>>,
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
    /// The hash of `file`, which has `size` bytes.
    pub(super) async fn hash(lane: &Lane, file: File, size: u64) -> Result<Hash, Cause> {
        let file = Arc::new(LargeFile {
            file,
            size,
            parts: Parts::new(size),
            next: AtomicU64::new(0),
            working: AtomicUsize::new(0),
            idle: Notify::new(),
            failed: AtomicBool::new(false),
            cause: Mutex::new(None),
        });
        for channel in &lane.check.offers {
            for _ in 0..HELPERS {
                channel.sender.try_send(file.clone()).ok();
            }
        }
        file.help(lane).await;
        while file.working.load(Ordering::Acquire) > 0 {
            file.idle.notified().await;
        }
        file.result()
    }

    fn result(&self) -> Result<Hash, Cause> {
        if let Some(cause) = self.cause.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(cause);
        }
        // What was appended meanwhile belongs to the file as well.
        if stat_open(&self.file)?.size != self.size {
            return Err(Cause::Changed);
        }
        // Without a value for each part a helper panicked, and its thread reports that.
        self.parts.finish().ok_or(Cause::Interrupted)
    }

    /// Reads parts until there are none left.
    pub(super) async fn help(&self, lane: &Lane) {
        let _working = Working::on(self);
        while let Some(part) = self.next_part() {
            if let Err(cause) = self.hash_part(lane, part).await {
                self.failed.store(true, Ordering::Relaxed);
                self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
            }
        }
    }

    fn next_part(&self) -> Option<Range<u64>> {
        let start = self.next.fetch_add(PART, Ordering::AcqRel);
        let wanted = start < self.size && !self.failed.load(Ordering::Relaxed);
        wanted.then(|| start..(start + PART).min(self.size))
    }

    async fn hash_part(&self, lane: &Lane, part: Range<u64>) -> Result<(), Cause> {
        let mut hasher = part_hasher(part.start);
        let mut buffer = lane.buffers.take(LARGE as u64).await;
        let mut at = part.start;
        while at < part.end {
            if lane.check.stop.is_stopped() {
                return Err(Cause::Interrupted);
            }
            let length = buffer.len().min((part.end - at) as usize);
            let read;
            (read, buffer) = lane.io.read(&self.file, buffer, length, at).await;
            let read = read?;
            if read == 0 {
                return Err(Cause::Changed); // it was truncated
            }
            hasher.update(&buffer.bytes()[..read]);
            at += read as u64;
        }
        self.parts.put(part.start, &hasher);
        drop(buffer);
        lane.tell(vec![News::Bytes(part.end - part.start)]).await;
        Ok(())
    }
}
