//! Checking files against a manifest. In the order data flows:
//!
//! 1. **Feed.** A thread parses the manifest and sends chunks of records over a bounded channel (`feed.rs`).
//! 2. **Tasks.** As many threads, and tasks on each, as for a mirror take chunks. Each opens a file, beneath the
//!    directory if one was given, reads and hashes it (`task.rs`). Large files are cut in segments that all threads take
//!    (`large.rs`).
//! 3. **Gathering.** The calling thread counts the news and tells the reporter (`gather.rs`).
//! 4. **Extra files.** If asked for, a thread then lists the directory and names what the manifest lacks (`extra.rs`).
//!
//! A file on no disk may never answer: it is read by a thread that can be left behind (`patience.rs`).
//!
//! Memory is bounded by the channels and buffer pools, except that looking for extra files takes some 20 bytes for
//! each file of the manifest.

pub(crate) mod config;
mod elsewhere;
mod extra;
mod feed;
mod gather;
pub(crate) mod lane;
mod large;
mod patience;
mod report;
mod task;
pub(crate) mod verification;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::thread::JoinHandle;

use async_channel::Sender;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::engine::primitives::channel::Channel;
use crate::engine::refuse::refuse_task;
use crate::engine::run::staffing::THREADS;
use crate::engine::workers::ring_thread::RingThread;
use crate::engine::{Chosen, choose_engine};
use crate::error::{Cause, Context, Error, Operation, Result, panicked};
use crate::event::Kind;
use crate::files::named;
use crate::io::Io;
use crate::io::limits::raise_descriptor_limit;
use crate::io::path::Reach;
use crate::options::Engine;
use crate::stat::stat_open;
use crate::stop::Stop;
use crate::verify::feed::Chunk;
use crate::verify::gather::Gathering;
use crate::verify::patience::Patience;
use crate::verify::report::News;
use crate::verify::verification::{Input, MESSAGES, Verification, guard, spawn};

pub use crate::verify::config::{Manifest, VerifyConfig};
pub use crate::verify::elsewhere::Elsewhere;
pub use crate::verify::report::{Verdict, VerifyReporter, VerifyStart, VerifySummary, VerifyTotals};

/// Parcels the feed may be ahead, a thread.
const CHUNKS_A_THREAD: usize = 8;

/// Checks the files that a manifest names, and tells `reporter` what it finds. The calling thread is blocked until that is
/// done: a task of tokio's calls this in `tokio::task::spawn_blocking`.
///
/// # Errors
/// When nothing could be started: the manifest or the directory can't be used, the engine is not to be had, or the caller
/// is a task of tokio's. What fails later is in the summary.
///
/// The program's exit code is then [`EXIT_UNUSABLE`](crate::EXIT_UNUSABLE), 3, whatever the error's
/// [`outcome`](crate::Error::outcome) is.
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
    let (base, reach) = open_base(config)?;
    let elsewhere = elsewhere::advice(config, &input, (&base, reach), stop);
    let (verification, chunks) = share(config, (base, reach), threads, tasks);
    let notices = notice.into_iter().collect();
    let start = VerifyStart { engine, threads, tasks, notices, elsewhere };
    let mut gathering = Gathering::begin(reporter, stop, &verification, &start)?;

    let (news, events) = async_channel::bounded(MESSAGES);
    let feed = feed::start(&verification, input, chunks, config.strict)?;
    let lanes =
        start_lanes(&verification, &news, rings, start.tasks).inspect_err(|_| verification.abandon())?;
    drop(news);
    gathering.gather(&events);
    if !verification.stop.is_stopped() {
        // It has come to its end, or the tasks had not; stopped, it may wait for input for ever.
        let known = feed.join().map_err(|panic| panicked(panic.as_ref()));
        match known {
            Ok(Some(known)) => match extra::start(&verification, known, manifest, name_of_base(config)) {
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
        Manifest::File(path) => named::open_to_read(path, false).at(Operation::UseManifest, || name)?.into(),
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

fn open_base(config: &VerifyConfig) -> Result<(OwnedFd, Reach)> {
    let path = name_of_base(config);
    let reach = if config.directory.is_some() { Reach::Beneath } else { Reach::Anywhere };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).at(Operation::UseDirectory, || path)?;
    Ok((fd, reach))
}

fn share(
    config: &VerifyConfig,
    (base, reach): (OwnedFd, Reach),
    threads: usize,
    tasks: usize,
) -> (Arc<Verification>, Sender<Chunk>) {
    let (sender, chunks) = async_channel::bounded(threads * CHUNKS_A_THREAD);
    let verification = Verification {
        manifest: config.manifest.name().to_path_buf(),
        base: Arc::new(base),
        reach,
        chunks,
        offers: (0..threads).map(|_| Channel::bounded(tasks)).collect(),
        buffer: config.buffer,
        patience: Patience::new(config.timeout),
        unfinished: AtomicUsize::new(0),
        listed: AtomicU64::new(0),
        complete: AtomicBool::new(false),
        stop: Stop::default(),
    };
    (Arc::new(verification), sender)
}

/// Starts the threads that read and hash, each with a runtime of its own.
fn start_lanes(
    verification: &Arc<Verification>,
    news: &Sender<Vec<News>>,
    rings: Vec<RingThread>,
    tasks: usize,
) -> Result<Vec<JoinHandle<()>>> {
    if rings.is_empty() {
        let plain = |index| {
            spawn("verify", verification, news, move |verification, news| {
                run_plain(verification, news, index, tasks)
            })
        };
        return (0..verification.offers.len()).map(plain).collect();
    }
    let begin = |(index, ring): (usize, RingThread)| {
        let (verification, news) = (verification.clone(), news.clone());
        ring.begin(move |runtime| {
            guard(&verification, &news, |verification, news| match runtime {
                Some(ring) => ring.block_on(task::run_tasks(Io::ring(), verification, news, index, tasks)),
                None => run_plain(verification, news, index, 1),
            });
        })
    };
    Ok(rings.into_iter().enumerate().map(begin).collect())
}

fn run_plain(
    verification: &Arc<Verification>,
    news: &Sender<Vec<News>>,
    index: usize,
    tasks: usize,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .at(Operation::StartEngine, || "")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, task::run_tasks(Io::plain(), verification, news, index, tasks))
}
