//! Checking files against a manifest. In the order data flows:
//!
//! 1. **Feed.** A thread parses the manifest and sends parcels of entries over a bounded channel (`feed.rs`).
//! 2. **Tasks.** As many threads, and tasks on each, as for a mirror take parcels. Each opens a file, beneath the
//!    directory if one was given, reads and hashes it (`task.rs`). Large files are cut in parts that all threads take
//!    (`large.rs`).
//! 3. **Gathering.** The calling thread counts the news and tells the reporter (`gather.rs`).
//! 4. **Extra files.** If asked for, a thread then lists the directory and names what the manifest lacks (`extra.rs`).
//!
//! A file on no disk may never answer: it is read by a thread that can be left behind (`patience.rs`).
//!
//! Memory is bounded by the channels and buffer pools, except that looking for extra files takes some 20 bytes for
//! each file of the manifest.

mod elsewhere;
mod extra;
mod feed;
mod gather;
mod large;
mod patience;
mod report;
mod task;

use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::config::{DEFAULT_DEPTH, default_jobs};
use crate::engine::refuse::refuse_task;
use crate::engine::run::crowd::THREADS;
use crate::engine::shared::channel::Channel;
use crate::engine::workers::ring_thread::RingThread;
use crate::engine::{Chosen, choose_engine};
use crate::error::{Cause, Context, Error, Operation, Result, panicked};
use crate::event::Kind;
use crate::files::named;
use crate::io::Io;
use crate::io::file::is_in_user_space;
use crate::io::limits::raise_descriptor_limit;
use crate::io::path::Scope;
use crate::options::{Engine, with};
use crate::stat::{Inode, stat_open};
use crate::stop::Stop;
use crate::verify::feed::Parcel;
use crate::verify::gather::Gathering;
use crate::verify::large::LargeFile;
use crate::verify::patience::Patience;
use crate::verify::report::News;

pub use crate::verify::elsewhere::Elsewhere;
pub use crate::verify::report::{Verdict, VerifyReporter, VerifyStart, VerifySummary, VerifyTotals};

/// Parcels the feed may be ahead, a thread.
const PARCELS_A_THREAD: usize = 8;
/// How long a file on no disk may make no progress, unless another time is given.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that the tasks may be ahead of the reporter.
const MESSAGES: usize = 32;

/// Where a manifest comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manifest {
    /// A file, or what else can be read in order.
    File(PathBuf),
    /// Standard input.
    StandardInput,
}

impl Manifest {
    /// What messages call it.
    pub fn name(&self) -> &Path {
        match self {
            Manifest::File(path) => path,
            Manifest::StandardInput => Path::new("standard input"),
        }
    }
}

/// What to check, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyConfig {
    /// Which files there are and what they hold.
    pub manifest: Manifest,
    /// Where the manifest's paths start. None leads out of it, and no symlink beneath it is followed. Without one
    /// they start at the working directory and lead wherever they lead.
    pub directory: Option<PathBuf>,
    /// Also name the regular files in the directory that the manifest lacks. Needs a directory.
    pub strict: bool,
    /// How system calls reach the kernel.
    pub engine: Engine,
    /// Rings, a thread each.
    pub jobs: usize,
    /// Files a ring has open at a time.
    pub depth: usize,
    /// Bytes of a large file that are read at once, as for [`Config`](crate::Config::buffer).
    pub buffer: Option<usize>,
    /// How long a file on no disk may make no progress (in /proc, say, or on a file system in user space). Then it has
    /// failed, and the thread that reads it is left behind.
    pub timeout: Duration,
}

with!(VerifyConfig);

impl VerifyConfig {
    /// The defaults for checking what `manifest` names.
    pub fn new(manifest: Manifest) -> Self {
        VerifyConfig {
            manifest,
            directory: None,
            strict: false,
            engine: Engine::default(),
            jobs: default_jobs(),
            depth: DEFAULT_DEPTH,
            buffer: None,
            timeout: TIMEOUT,
        }
    }

    /// Whether a file system in user space is mounted, which may keep the whole process in the kernel. A
    /// caller that must end all the same does the work in a child process.
    pub fn may_hang(&self) -> bool {
        is_in_user_space()
    }
}

/// What all threads of a run share. Their news goes over a channel that they hold apart from it.
struct Check {
    /// The manifest, as messages call it.
    manifest: PathBuf,
    /// Where paths start.
    base: Arc<OwnedFd>,
    scope: Scope,
    parcels: Receiver<Parcel>,
    /// Large files that tasks ask others to help with, a channel a thread.
    offers: Vec<Channel<Arc<LargeFile>>>,
    /// Bytes of them that are read at once, if that is fixed.
    buffer: Option<usize>,
    patience: Patience,
    /// Parcels that are not done, and the feed while it runs.
    unfinished: AtomicUsize,
    /// Files read from the manifest, and whether these are all.
    listed: AtomicU64,
    complete: AtomicBool,
    /// Raised when the run ends early.
    stop: Stop,
}

impl Check {
    /// Ends all waiting for work.
    fn close(&self) {
        self.parcels.close();
        for channel in &self.offers {
            channel.receiver.close();
        }
    }

    /// Gives up on all that is not done.
    fn abandon(&self) {
        self.stop.stop();
        self.close();
        while self.parcels.try_recv().is_ok() {}
    }
}

/// A share of the work. When the last one is done, nobody waits for more.
struct Ticket(Arc<Check>);

impl Ticket {
    fn new(check: &Arc<Check>) -> Self {
        check.unfinished.fetch_add(1, Ordering::AcqRel);
        Ticket(check.clone())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.close();
        }
    }
}

/// The manifest, opened.
struct Input {
    name: PathBuf,
    fd: OwnedFd,
    inode: Inode,
}

/// Checks the files that a manifest names, and tells `reporter` what it finds. The calling thread is blocked until that is
/// done: a task of tokio's calls this in `tokio::task::spawn_blocking`.
///
/// # Errors
/// When nothing could be started: the manifest or the directory can't be used, the engine is not to be had, or the caller
/// is a task of tokio's. What fails later is in the summary.
pub fn verify(
    config: &VerifyConfig,
    reporter: &mut dyn VerifyReporter,
    stop: &Stop,
) -> Result<VerifySummary> {
    let name = config.manifest.name();
    refuse_task(name)?;
    if config.strict && config.directory.is_none() {
        let cause = Cause::Refused("extra files can only be found in a directory".into());
        return Err(Error::new(Operation::UseDirectory, "", cause));
    }
    let Chosen { engine, rings, notice } = choose_engine(config.engine, config.jobs, "verify", name)?;
    let (threads, tasks) = size(config, engine);
    let input = open_manifest(&config.manifest)?;
    let manifest = input.inode;
    let (base, scope) = open_base(config)?;
    let elsewhere = elsewhere::advice(config, &input, (&base, scope), stop);
    let (check, parcels) = new_check(config, (base, scope), threads, tasks);
    let notices = notice.into_iter().collect();
    let start = VerifyStart { engine, threads, tasks, notices, elsewhere };
    let mut gathering = Gathering::begin(reporter, stop, &check, &start)?;

    let (news, events) = async_channel::bounded(MESSAGES);
    let feed = feed::start(&check, input, parcels, config.strict)?;
    let lanes = start_lanes(&check, &news, rings, start.tasks).inspect_err(|_| check.abandon())?;
    drop(news);
    gathering.gather(&events);
    if !check.stop.is_stopped() {
        // It has come to its end, or the tasks had not; stopped, it may wait for input for ever.
        let known = feed.join().map_err(|panic| panicked(panic.as_ref()));
        match known {
            Ok(Some(known)) => match extra::start(&check, known, manifest, name_of_base(config)) {
                Ok((walk, events)) => {
                    gathering.gather(&events);
                    gathering.join(vec![walk]);
                }
                Err(error) => gathering.fail(error),
            },
            Ok(None) => {}
            Err(error) => gathering.fail(error),
        }
    }
    gathering.join(lanes);
    Ok(gathering.finish())
}

/// Threads, and tasks a thread: each task holds a file, and meanwhile one directory of the fallback's.
fn size(config: &VerifyConfig, engine: Engine) -> (usize, usize) {
    let files = raise_descriptor_limit() / 2;
    match engine {
        Engine::Threads => (THREADS.min(files).max(1), 1),
        _ => (config.jobs.max(1), config.depth.min(files / config.jobs.max(1)).max(1)),
    }
}

fn open_manifest(manifest: &Manifest) -> Result<Input> {
    let name = manifest.name();
    let fd = match manifest {
        Manifest::File(path) => named::open_to_read(path).at(Operation::UseManifest, || name)?.into(),
        Manifest::StandardInput => {
            std::io::stdin().as_fd().try_clone_to_owned().at(Operation::UseManifest, || name)?
        }
    };
    let stat = stat_open(&fd).at(Operation::UseManifest, || name)?;
    if stat.kind == Kind::Directory {
        return Err(Errno::ISDIR).at(Operation::UseManifest, || name);
    }
    Ok(Input { name: name.to_path_buf(), fd, inode: stat.inode })
}

fn name_of_base(config: &VerifyConfig) -> &Path {
    config.directory.as_deref().unwrap_or(Path::new("."))
}

fn open_base(config: &VerifyConfig) -> Result<(OwnedFd, Scope)> {
    let path = name_of_base(config);
    let scope = if config.directory.is_some() { Scope::Beneath } else { Scope::Anywhere };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).at(Operation::UseDirectory, || path)?;
    Ok((fd, scope))
}

fn new_check(
    config: &VerifyConfig,
    (base, scope): (OwnedFd, Scope),
    threads: usize,
    tasks: usize,
) -> (Arc<Check>, Sender<Parcel>) {
    let (sender, parcels) = async_channel::bounded(threads * PARCELS_A_THREAD);
    let check = Check {
        manifest: config.manifest.name().to_path_buf(),
        base: Arc::new(base),
        scope,
        parcels,
        offers: (0..threads).map(|_| Channel::bounded(tasks)).collect(),
        buffer: config.buffer,
        patience: Patience::new(config.timeout),
        unfinished: AtomicUsize::new(0),
        listed: AtomicU64::new(0),
        complete: AtomicBool::new(false),
        stop: Stop::default(),
    };
    (Arc::new(check), sender)
}

/// Starts the threads that read and hash, each with a runtime of its own.
fn start_lanes(
    check: &Arc<Check>,
    news: &Sender<Vec<News>>,
    rings: Vec<RingThread>,
    tasks: usize,
) -> Result<Vec<JoinHandle<()>>> {
    if rings.is_empty() {
        let plain =
            |index| spawn("verify", check, news, move |check, news| run_plain(check, news, index, tasks));
        return (0..check.offers.len()).map(plain).collect();
    }
    let begin = |(index, ring): (usize, RingThread)| {
        let (check, news) = (check.clone(), news.clone());
        ring.begin(move |runtime| {
            guard(&check, &news, |check, news| match runtime {
                Some(ring) => ring.block_on(task::run_tasks(Io::ring(), check, news, index, tasks)),
                None => run_plain(check, news, index, 1),
            });
        })
    };
    Ok(rings.into_iter().enumerate().map(begin).collect())
}

fn run_plain(check: &Arc<Check>, news: &Sender<Vec<News>>, index: usize, tasks: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .at(Operation::StartEngine, || "")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, task::run_tasks(Io::plain(), check, news, index, tasks))
}

/// Does the work of a thread. Its error, or panic, ends the run.
fn guard(
    check: &Arc<Check>,
    news: &Sender<Vec<News>>,
    work: impl FnOnce(&Arc<Check>, &Sender<Vec<News>>) -> Result<()>,
) {
    let result = catch_unwind(AssertUnwindSafe(|| work(check, news)));
    if let Err(error) = result.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
        check.abandon();
        news.send_blocking(vec![News::Failed(error)]).ok();
    }
}

/// Starts a thread whose error, or panic, ends the run.
fn spawn(
    name: &str,
    check: &Arc<Check>,
    news: &Sender<Vec<News>>,
    work: impl FnOnce(&Arc<Check>, &Sender<Vec<News>>) -> Result<()> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let (check, news) = (check.clone(), news.clone());
    let body = move || guard(&check, &news, work);
    thread::Builder::new().name(name.into()).spawn(body).at(Operation::StartEngine, || "threads")
}
