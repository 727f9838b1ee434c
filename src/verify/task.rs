//! The tasks: each takes chunks of lines, and reads and hashes one file after the other.

use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Sender;
use blake3::{Hash, Hasher};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use tokio::task::JoinSet;

use crate::content::manifest::Record;
use crate::error::{Cause, Result, panicked};
use crate::event::Kind;
use crate::io::Io;
use crate::io::buffer::Pool;
use crate::io::file::File;
use crate::io::path::{Reach, hold_cached, hold_now};
use crate::stat::{Stat, proc_path};
use crate::verify::feed::{Chunk, Line};
use crate::verify::lane::{HELPERS, VerifyLane};
use crate::verify::large::{self, HashedFile};
use crate::verify::patience;
use crate::verify::report::{News, Verdict};
use crate::verify::verification::Verification;

/// News waits no longer than this for the end of its chunk, as long as files end at all.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Runs a thread's tasks until the work is done or the run is stopped. A panic of one ends them all.
pub(super) async fn run_tasks(
    io: Io,
    verification: &Arc<Verification>,
    news: &Sender<Vec<News>>,
    index: usize,
    tasks: usize,
) -> Result<()> {
    let (verification, news) = (verification.clone(), news.clone());
    let buffers = Pool::of(verification.buffer, None);
    let lane = Rc::new(VerifyLane { io, buffers, verification, news, index, helping: Cell::new(0) });
    let mut set = JoinSet::new();
    for _ in 0..tasks {
        set.spawn_local(task(lane.clone()));
    }
    let mut result = Ok(());
    while let Some(ended) = set.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            lane.verification.abandon();
            result = Err(panicked(panic.as_ref()));
        }
    }
    result
}

enum Job {
    Chunk(Chunk),
    Large(Arc<HashedFile>),
}

async fn task(lane: Rc<VerifyLane>) {
    while let Some(job) = next_job(&lane).await {
        match job {
            Job::Chunk(chunk) => check_chunk(&lane, chunk).await,
            Job::Large(file) if lane.helping.get() < HELPERS => {
                lane.helping.set(lane.helping.get() + 1);
                file.help(&lane).await;
                lane.helping.set(lane.helping.get() - 1);
            }
            Job::Large(_) => {}
        }
    }
}

/// What to do next; `None` once the work is done or the run stopped. Large files go first: they end last.
async fn next_job(lane: &VerifyLane) -> Option<Job> {
    let verification = &lane.verification;
    if verification.stop.is_stopped() {
        return None;
    }
    let offers = &verification.offers.get(lane.index)?.receiver;
    tokio::select! {
        biased;
        Ok(file) = offers.recv() => Some(Job::Large(file)),
        Ok(chunk) = verification.chunks.recv() => Some(Job::Chunk(chunk)),
        else => None,
    }
}

/// News of one task that the reporter has not been told yet.
struct Pending {
    news: Vec<News>,
    told: Instant,
}

impl Pending {
    async fn tell(&mut self, lane: &VerifyLane) {
        self.told = Instant::now();
        lane.tell(std::mem::take(&mut self.news)).await;
    }
}

async fn check_chunk(lane: &VerifyLane, mut chunk: Chunk) {
    let mut pending = Pending { news: Vec::new(), told: Instant::now() };
    for line in std::mem::take(&mut chunk.lines) {
        if lane.verification.stop.is_stopped() {
            break;
        }
        match line {
            Line::Record(entry) => check_record(lane, entry, &mut pending).await,
            Line::Malformed { number: line, why } => pending.news.push(News::Malformed { line, why }),
            Line::Broken(error) => pending.news.push(News::Failed(error)),
        }
        if pending.told.elapsed() > LONGEST_WAIT {
            pending.tell(lane).await;
        }
    }
    pending.tell(lane).await;
}

/// Checks one file. What a stop broke off is neither right nor wrong.
async fn check_record(lane: &VerifyLane, Record { path, hash }: Record, pending: &mut Pending) {
    let (verdict, bytes) = match hash_file(lane, &path, pending).await {
        Ok((found, bytes)) if found == hash => (Verdict::Right, bytes),
        Ok((found, bytes)) => (Verdict::Wrong(found), bytes),
        Err(Cause::Interrupted) => return,
        Err(cause) => (Verdict::Failed(cause), 0),
    };
    pending.news.push(News::File { path, verdict, bytes });
}

/// The hash of the file that a path leads to, and the bytes read that were not reported yet. Only a regular file is
/// opened.
async fn hash_file(lane: &VerifyLane, path: &Path, pending: &mut Pending) -> Result<(Hash, u64), Cause> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let held = hold(lane, name).await?;
    let stat = stat_held(&held)?;
    match stat.kind {
        Kind::File => {}
        Kind::Directory => return Err(Errno::ISDIR.into()),
        _ => return Err(Cause::Refused("it is not a regular file".into())),
    }
    if !lane.verification.patience.is_on_disk(&held, &stat) {
        pending.tell(lane).await; // this may take a while
        return patience::hash(lane, held, stat.size).await;
    }
    let file = rustix::fs::open(proc_path(&held), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let file = lane.io.file(Arc::new(file), &stat);
    if large::is_worth_cutting(stat.size) {
        pending.tell(lane).await; // this may take a while
        return Ok((HashedFile::hash(lane, file, stat.size).await?, 0));
    }
    hash_in_order(lane, &file, stat.size).await
}

/// Holds what a path leads to. Where that may never be answered, a thread asks that can be left behind.
async fn hold(lane: &VerifyLane, name: CString) -> Result<OwnedFd, Cause> {
    let (base, reach) = (&lane.verification.base, lane.verification.reach);
    let held = if lane.verification.patience.is_needed {
        match hold_cached(base, &name, reach) {
            Err(Errno::AGAIN) => {
                let base = base.clone();
                patience::within_limit(lane, move || hold_now(&base, &name, reach)).await?
            }
            held => held,
        }
    } else {
        lane.io.hold_path(base, &name, reach).await
    };
    held.map_err(|errno| describe(errno, reach))
}

/// What is known of a held file without asking a server.
fn stat_held(held: &OwnedFd) -> rustix::io::Result<Stat> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(held, c"", flags, Stat::FIELDS).map(|stat| Stat::from(&stat))
}

/// Says in the user's words what the kernel's refusals mean.
fn describe(errno: Errno, reach: Reach) -> Cause {
    match (reach, errno) {
        (Reach::Beneath, Errno::XDEV) => Cause::Refused("it leads out of the directory".into()),
        (Reach::Beneath, Errno::LOOP) => Cause::Refused("a symlink is in the way".into()),
        (_, errno) => errno.into(),
    }
}

/// Reads to the end, whatever the size said: files in /proc have none.
async fn hash_in_order(lane: &VerifyLane, file: &File, size: u64) -> Result<(Hash, u64), Cause> {
    let mut hasher = Hasher::new();
    let mut buffer = lane.buffers.take(size).await;
    let mut offset = 0;
    loop {
        if lane.verification.stop.is_stopped() {
            return Err(Cause::Interrupted);
        }
        let (read, length);
        length = buffer.len();
        (read, buffer) = lane.io.read(file, buffer, length, offset).await;
        match read? {
            0 => return Ok((hasher.finalize(), offset)),
            read => {
                hasher.update(&buffer.bytes()[..read]);
                offset += read as u64;
            }
        }
    }
}
