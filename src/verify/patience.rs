//! Files on no disk: what is in /proc or /sys, or on a file system in user space, may never answer, and a call that the
//! kernel does not answer can't be taken back. So each such file is looked for and read by a thread of its own. One that
//! makes no progress for too long is left behind, and its file has failed.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use blake3::{Hash, Hasher};
use rustix::fs::{Mode, OFlags};

use crate::error::{Cause, Error, Operation, Result};
use crate::io::file::{is_in_user_space, is_on_disk, mounted_as};
use crate::io::read_now;
use crate::stat::{Stat, proc_path};
use crate::verify::lane::VerifyLane;
use crate::verify::report::News;

/// Threads that a run leaves behind, each with its file open, before it is given up.
const MOST_LEFT_BEHIND: usize = 64;
/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// What is known of the devices that files were met on, and what has been left behind.
#[derive(Default)]
pub(crate) struct Patience {
    limit: Duration,
    /// A file system in user space is mounted somewhere: to look for a file may already take for ever.
    pub(super) is_needed: bool,
    on_disk: Mutex<HashMap<u64, bool>>,
    left_behind: AtomicU64,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Patience { limit, is_needed: is_in_user_space(), ..Patience::default() }
    }

    /// Whether a held file lies on a file system that answers in the end.
    pub(super) fn is_on_disk(&self, held: &OwnedFd, stat: &Stat) -> bool {
        let mut known = self.on_disk.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(stat.inode.device).or_insert_with(|| is_on_disk(held, mounted_as(stat.inode)))
    }

    /// Whether any thread may never end.
    pub(super) fn has_left_behind(&self) -> bool {
        self.left_behind.load(Ordering::Acquire) > 0
    }
}

/// A thread's word on how it gets on.
struct Progress {
    begun: Instant,
    /// Milliseconds after `begun` of the last progress.
    since: AtomicU64,
    /// Nobody waits for it any more.
    is_left: AtomicBool,
}

impl Progress {
    fn mark(&self) {
        self.since.store(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn idle(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.since.load(Ordering::Relaxed)))
    }
}

/// Does in a thread of its own what may never come to its end.
pub(super) async fn within_limit<T: Send + 'static>(
    lane: &VerifyLane,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Cause> {
    wait_for(lane, move |_| work()).await
}

/// Hashes a held file, and returns the bytes it had.
pub(super) async fn hash(lane: &VerifyLane, held: OwnedFd, size: u64) -> Result<(Hash, u64), Cause> {
    wait_for(lane, move |progress| read_all(&held, size, progress)).await?
}

async fn wait_for<T: Send + 'static>(
    lane: &VerifyLane,
    work: impl FnOnce(&Progress) -> T + Send + 'static,
) -> Result<T, Cause> {
    let (verification, limit) = (&lane.verification, lane.verification.patience.limit);
    let progress = Progress { begun: Instant::now(), since: 0.into(), is_left: false.into() };
    let progress = Arc::new(progress);
    let (sender, receiver) = async_channel::bounded(1);
    let body = {
        let progress = progress.clone();
        move || drop(sender.try_send(work(&progress)))
    };
    thread::Builder::new().name("patience".into()).spawn(body)?;
    let cause = loop {
        tokio::select! {
            biased;
            result = receiver.recv() => {
                return result.map_err(|_| Cause::Panic("a thread that reads a file panicked".into()));
            }
            () = verification.stop.stopped() => break Cause::Interrupted,
            () = tokio::time::sleep(limit.saturating_sub(progress.idle())) => {}
        }
        if progress.idle() >= limit {
            break Cause::TimedOut(limit);
        }
    };
    progress.is_left.store(true, Ordering::Relaxed);
    if verification.patience.left_behind.fetch_add(1, Ordering::AcqRel) + 1 == MOST_LEFT_BEHIND as u64 {
        let why = format!("given up, since {MOST_LEFT_BEHIND} files have timed out");
        lane.tell(vec![News::Failed(Error::new(
            Operation::Verify,
            &verification.manifest,
            Cause::Refused(why),
        ))])
        .await;
        verification.abandon();
    }
    Err(cause)
}

/// Reads to the end. What comes beyond the size that a file has is no progress: it may go on for ever.
fn read_all(held: &OwnedFd, size: u64, progress: &Progress) -> Result<(Hash, u64), Cause> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(proc_path(held), flags, Mode::empty())?;
    let (mut hasher, mut offset) = (Hasher::new(), 0);
    let mut bytes = vec![0; PIECE];
    while !progress.is_left.load(Ordering::Relaxed) {
        match read_now(&file, &mut bytes, offset)? {
            0 => return Ok((hasher.finalize(), offset)),
            read => {
                hasher.update(&bytes[..read]);
                offset += read as u64;
            }
        }
        if offset <= size {
            progress.mark();
        }
    }
    Err(Cause::Interrupted) // nobody asks any more
}
