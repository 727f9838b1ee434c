//! The pipeline's phases: open the roots, start the threads, walk, gather, join.

mod backup;
pub(crate) mod check;
pub(crate) mod contents;
pub(crate) mod copy_file;
pub(crate) mod crew;
mod delete;
pub(crate) mod directory;
pub(crate) mod durable;
mod emptying;
pub(crate) mod extra;
mod finish;
pub(crate) mod item;
pub(crate) mod job;
pub(crate) mod limits;
pub(crate) mod link;
pub(crate) mod open;
pub(crate) mod outbox;
pub(crate) mod pair;
mod park;
pub(crate) mod part;
pub(crate) mod rate;
pub(crate) mod read_back;
mod reference;
mod remove;
pub(crate) mod segment;
mod spare;
pub(crate) mod special;
mod stack;
pub mod stages;
pub(crate) mod stall;
pub(crate) mod stop;
pub(crate) mod temporary;
pub(crate) mod threads;
pub(crate) mod turn;
pub(crate) mod watch;
pub(crate) mod worker;

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use async_channel::{Receiver, Sender};

use crate::config::{Config, Engine};
use crate::error::{Cause, Context, Error, Operation, Outcome, Result};
use crate::io::root::Roots;
use crate::io::{gauge, ring, root, stat_open};
use crate::metadata::xattr::{self, Holder};
use crate::plan::delete::Deletions;
use crate::plan::entry::Stat;
use crate::plan::entry::Time;
use crate::plan::links::Links;
use crate::plan::names::Names;
use crate::plan::rules::Rules;
use crate::report::Reporter;
use crate::report::event::{EntryEvent, Event, Start, Summary};
use crate::report::hashes::Hashes;
use crate::report::progress::Progress;
use crate::report::trace::TraceFile;
use crate::select::Scope;
use backup::Backups;
use directory::Directory;
use durable::FileSystems;
use job::{Offer, Parcel};
use limits::{descriptor_limit, raise_descriptor_limit, umask};
use open::OpenDirectories;
use pair::{Pair, Source};
use rate::Rate;
use reference::References;
use spare::Spares;
use stall::Stalls;
use stop::Stop;
use threads::{Crowd, start_workers};
use turn::Beacon;
use watch::{Watchdog, Watched};

/// Threads of the fallback engine: enough to keep a disk's queue busy with plain system calls.
pub(crate) const THREADS: usize = 16;
/// Descriptors a task may hold: a file on each side, its directory, and directories above it, of which it opens several on the
/// way down a deep tree. With half as many, a chain of 300 directories met the limit of 256 in a third of the runs on a busy
/// machine.
const DESCRIPTORS_A_TASK: usize = 24;
/// Threads that a run may leave behind in the kernel, whatever the limit on descriptors.
const MOST_LEFT_BEHIND: usize = 128;
/// Parcels the walk may be ahead, a thread. Few: what waits longer has left the processor's cache when its turn comes.
const PARCELS_A_THREAD: usize = 8;
/// Messages, of some hundred entries each, that the tasks may be ahead of the reporter.
const EVENTS: usize = 32;

/// Both ends of a channel, held by those who may use either.
pub(crate) struct Channel<T> {
    pub(crate) sender: Sender<T>,
    pub(crate) receiver: Receiver<T>,
}

impl<T> Channel<T> {
    pub(crate) fn bounded(capacity: usize) -> Self {
        let (sender, receiver) = async_channel::bounded(capacity);
        Channel { sender, receiver }
    }
}

/// What all tasks of a run share.
pub(crate) struct Run {
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    pub(crate) roots: Roots,
    pub(crate) links: Links,
    pub(crate) directories: OpenDirectories,
    pub(crate) file_systems: FileSystems,
    /// Hard links that a comparison holds back.
    pub(crate) names: Names,
    /// Where what is replaced goes.
    backups: Option<Backups>,
    /// Trees whose files are linked to.
    references: References,
    /// Paths in the destination that the run itself writes to.
    spared: Vec<PathBuf>,
    /// What is to be deleted in the end.
    pub(crate) deletions: Deletions,
    /// Permission bits that the kernel takes from new files.
    pub(crate) umask: u32,
    pub(crate) parcels: Receiver<Parcel>,
    /// How fast contents are read, if that is limited.
    pub(crate) rate: Option<Rate>,
    /// Rings that join where the others wait.
    spares: Spares,
    /// What tasks offer each other, a channel a thread; those in reserve have none.
    pub(crate) offers: Vec<Channel<Offer>>,
    events: Sender<Event>,
    /// Since when spans are counted, by the gauges' clock.
    pub(crate) begun: u64,
    /// Where each ring says what it does.
    beacons: Vec<Beacon>,
    /// Threads that are stuck in the kernel.
    left_behind: AtomicUsize,
    /// Threads that may still report something.
    reporting: AtomicUsize,
    /// Raised when the run ends early: the caller's flag was raised, or an error broke it off.
    pub(crate) stop: Stop,
}

impl Run {
    /// Where in the source tree `below` lies, as the user would name it.
    pub(crate) fn source_path(&self, below: &Path) -> PathBuf {
        let named = self.roots.several.as_ref().and_then(|several| several.source_path(below));
        named.unwrap_or_else(|| root::join(&self.roots.source.path, below))
    }

    /// Where in the destination tree `below` lies, as the user would name it.
    pub(crate) fn destination_path(&self, below: &Path) -> PathBuf {
        root::join(&self.roots.destination.path, below)
    }

    /// Sends an event; waits while the reporter is behind. After the reporter has gone there is nobody to tell.
    pub(crate) async fn report(&self, event: Event) {
        self.events.send(event).await.ok();
    }

    /// The same from a thread without a runtime.
    pub(crate) fn report_blocking(&self, event: Event) {
        self.events.send_blocking(event).ok();
    }

    /// Stops the run where an entry's error means that no other one can succeed.
    pub(crate) fn heed(&self, event: &EntryEvent) {
        if event.error.as_ref().is_some_and(|error| error.outcome() == Outcome::BrokenOff) {
            self.abandon();
        }
    }

    /// Whether a directory of the destination lies on a file system that is left alone.
    pub(crate) fn is_elsewhere(&self, stat: &Stat) -> bool {
        let root = || self.roots.destination.fd.as_ref().and_then(|fd| stat_open(fd).ok());
        self.config.select.one_file_system
            && root().is_some_and(|root| root.inode.device != stat.inode.device)
    }

    /// Whether something in the destination is not the source's, but the run's own, or on the way to that.
    pub(crate) fn is_spared(&self, below: &Path) -> bool {
        self.spared.iter().any(|spared| spared.starts_with(below))
    }

    /// Whether what only the destination has is looked for.
    pub(crate) fn judges_extras(&self) -> bool {
        self.config.check || self.config.delete.is_some()
    }

    /// Whether the tasks have to wait until their reports are taken.
    pub(crate) fn reporter_is_behind(&self) -> bool {
        self.events.is_full()
    }

    /// A thread is stuck in the kernel, and nobody is to wait for it. It keeps what it has open: a run that loses too many
    /// is given up, before its files fail for want of descriptors.
    pub(crate) fn leave_behind(&self) {
        let most = (descriptor_limit() / 8 / DESCRIPTORS_A_TASK).clamp(1, MOST_LEFT_BEHIND);
        if self.left_behind.fetch_add(1, Ordering::AcqRel) + 1 == most {
            let cause = Cause::Refused(format!("given up, since {most} operations have timed out"));
            let error = Error::new(Operation::Run, &self.config.source, cause);
            // The progress task may be who says this: it must not wait for itself.
            self.events.try_send(Event::Failed(error)).ok();
            self.abandon();
        }
    }

    /// Whether the process has threads that may never end.
    pub(crate) fn has_left_behind(&self) -> bool {
        self.left_behind.load(Ordering::Acquire) > 0
    }

    /// A thread has no more to report. After the last one there are no more events.
    fn thread_ends(&self) {
        if self.reporting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.events.close();
        }
    }

    /// Ends all waiting for work: the last directory is done, or the run was stopped.
    pub(crate) fn close(&self) {
        self.parcels.close();
        self.spares.close();
        for channel in &self.offers {
            channel.receiver.close();
        }
    }

    /// Gives up on all that is not done.
    pub(crate) fn abandon(&self) {
        // In this order: whoever sees the flag knows that no more offers can come.
        self.close();
        self.stop.stop();
    }

    /// Ends the run with an error that is no entry's.
    fn break_off(&self, error: Error) {
        self.abandon();
        self.report_blocking(Event::Failed(error));
    }
}

/// Runs `config` to its end and tells `reporter` what happens.
///
/// # Errors
/// When nothing could be started: SRC or DST can't be used, or the engine is not to be had. What fails later, a
/// file's error among them, is in the summary.
pub fn sync(config: &Config, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Summary> {
    if let Some(why) = config.owner.refusal() {
        return Err(Error::new(Operation::UseDestination, &config.destination, Cause::Refused(why)));
    }
    let (engine, notice) = match config.timeout {
        Some(_) => (require_threads(config)?, None),
        None => choose_engine(config.engine, config.jobs, &config.source)?,
    };
    let descriptors = raise_descriptor_limit();
    // Before anything is written: what can't be used is to be told first.
    let manifest = config.manifest.as_deref().filter(|_| !config.dry_run);
    let (begun, opened) = (manifest.map(Path::to_path_buf), config.clone());
    let mut manifest = within(config, move || begun.as_deref().map(Hashes::create).transpose())?;
    let traced = config.trace.clone();
    let trace = within(config, move || traced.as_deref().map(TraceFile::create).transpose())?;
    let (roots, mut aside) = within(config, move || {
        let roots = root::open(&opened)?;
        let aside = Aside::open(&opened, &roots)?;
        Ok((roots, aside))
    })?;
    let missing = std::mem::take(&mut aside.missing);
    let crowd = Crowd::new(config, engine, descriptors);
    let Crowd { threads, tasks, .. } = crowd;
    let (run, parcel_sender, events) = new_run(config, roots, aside, &crowd);
    let held = run.clone();
    let root = within(config, move || open_root(&held))?;
    let Config { dry_run, check, fsync, .. } = *config;
    let start = Start { engine, threads, tasks, notice, missing, dry_run, check, fsync };
    if let (Some(manifest), Some(single)) = (&mut manifest, &run.roots.single) {
        manifest.is_for(OsStr::from_bytes(single.destination.to_bytes()));
    }
    let progress = Progress::new(reporter, stop, manifest, trace)?;
    let watched: Vec<_> = config.timeout.iter().flat_map(|_| (0..threads).map(|_| Watched::new())).collect();
    let workers = start_workers(&run, engine, tasks, root, parcel_sender, &watched);
    let workers = workers.inspect_err(|_| run.abandon())?;
    let watchdog = config.timeout.map(|limit| Watchdog::new(&run, watched, limit));
    let watch = (watchdog, Stalls::new(&run));
    let summary = progress.gather(&start, events, &run.stop, || run.abandon(), watch);
    if !summary.stuck {
        workers.into_iter().for_each(|worker| drop(worker.join()));
    }
    Ok(summary)
}

/// Does what may wait for the kernel, no longer than `--timeout` allows.
fn within<T: Send + 'static>(
    config: &Config,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let Some(limit) = config.timeout else { return work() };
    let (sender, receiver) = std::sync::mpsc::channel();
    let body = move || drop(sender.send(work()));
    thread::Builder::new().name("open".into()).spawn(body).at(Operation::StartEngine, || "threads")?;
    // Whichever of them hangs, the run is not begun.
    let late = |_| Err(Error::new(Operation::Run, &config.source, Cause::TimedOut(limit)));
    receiver.recv_timeout(limit).unwrap_or_else(late)
}

/// Compares the trees and writes nothing. What differs is reported as a sync would mend it; what only the destination
/// has, as [`Deleted`](crate::report::event::Action::Deleted). The outcome is [`Outcome::Done`] if they are equal.
///
/// # Errors
/// As for [`sync`]; also where the destination does not exist.
pub fn check(config: &Config, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Summary> {
    let destination = &config.destination;
    std::fs::metadata(destination).at(Operation::UseDestination, || destination)?;
    let config = Config { check: true, dry_run: true, make_parents: false, ..config.clone() };
    sync(&config, reporter, stop)
}

/// Trees beside the two roots.
#[derive(Default)]
struct Aside {
    backups: Option<Backups>,
    references: References,
    /// Trees to link to that do not exist.
    missing: Vec<PathBuf>,
    /// Paths in the destination that the run itself writes to.
    spared: Vec<PathBuf>,
}

impl Aside {
    fn open(config: &Config, roots: &Roots) -> Result<Self> {
        let (references, missing) = References::open(config, roots)?;
        let backups = Backups::new(config, roots)?;
        let trees = backups.iter().filter_map(Backups::path);
        let written = config.spare.iter().chain(&config.manifest).map(PathBuf::as_path).chain(trees);
        let spared = written.flat_map(|path| root::below(&roots.destination, path)).collect();
        Ok(Aside { backups, references, missing, spared })
    }
}

/// What the tasks will share, the walk's end of one channel, and the progress task's end of another.
fn new_run(
    config: &Config,
    roots: Roots,
    aside: Aside,
    crowd: &Crowd,
) -> (Arc<Run>, Sender<Parcel>, Receiver<Event>) {
    let Crowd { threads, spares, tasks } = *crowd;
    let (parcel_sender, parcels) = async_channel::bounded(threads * PARCELS_A_THREAD);
    let (events, event_receiver) = async_channel::bounded(EVENTS);
    let umask = umask();
    let run = Run {
        config: config.clone(),
        rules: Rules::new(config, umask),
        roots,
        links: Links::default(),
        directories: OpenDirectories::new(descriptor_limit()),
        file_systems: FileSystems::default(),
        names: Names::default(),
        backups: aside.backups,
        references: aside.references,
        spared: aside.spared,
        deletions: Deletions::default(),
        umask,
        rate: config.bandwidth.map(Rate::new),
        parcels,
        spares: Spares::new(threads, spares),
        offers: (0..threads).map(|_| Channel::bounded(tasks)).collect(),
        events,
        begun: gauge::now(),
        beacons: (0..threads + spares).map(|_| Beacon::default()).collect(),
        left_behind: AtomicUsize::new(0),
        reporting: AtomicUsize::new(threads + spares + 1), // and the walk
        stop: Stop::default(),
    };
    (Arc::new(run), parcel_sender, event_receiver)
}

/// The engine to use, and why it is not the one hoped for. `subject` is what a refusal names.
pub(crate) fn choose_engine(choice: Engine, jobs: usize, subject: &Path) -> Result<(Engine, Option<String>)> {
    match choice {
        Engine::Threads => Ok((Engine::Threads, None)),
        choice => match ring::probe(jobs.max(1)) {
            Ok(()) => Ok((Engine::Uring, None)),
            Err(why) if choice == Engine::Auto => {
                Ok((Engine::Threads, Some(format!("no io_uring, using {THREADS} threads: {why}"))))
            }
            Err(why) => {
                let cause = Cause::Refused(why.to_string());
                Err(Error::new(Operation::StartEngine, subject, cause))
            }
        },
    }
}

/// Only a thread can be left behind in the kernel: what a ring is told to do can't be taken back, and is done in the end.
fn require_threads(config: &Config) -> Result<Engine> {
    if config.engine == Engine::Uring {
        let cause = Cause::Refused("a time-out takes the engine of threads".into());
        return Err(Error::new(Operation::StartEngine, &config.source, cause));
    }
    Ok(Engine::Threads)
}

fn open_root(run: &Arc<Run>) -> Result<Arc<Directory>> {
    let path = || &run.roots.source.path;
    let source =
        run.roots.source.fd.clone().ok_or(rustix::io::Errno::NOENT).at(Operation::UseSource, path)?;
    let mut stat = run.rules.adopt(stat_open(&source).at(Operation::UseSource, path)?);
    if run.roots.several.is_some() {
        stat.modified = Time::NEVER; // nothing is mirrored to DIR itself: what killed runs left in it is looked for
    }
    let destination = run.roots.destination.fd.clone();
    let have = destination.as_ref().map(stat_open).transpose().at(Operation::UseDestination, path)?;
    if let (Some(fd), Some(stat)) = (&destination, &have) {
        run.file_systems.add(fd, stat);
    }
    let existing = have.filter(|_| !run.roots.fresh);
    let implied = run.roots.single.is_some() || run.roots.several.is_some();
    let xattrs = if run.config.keep.xattrs && !implied {
        let holder = Holder::Open(source.as_fd());
        Some(xattr::read_source(&holder, &stat, &run.rules, path)?)
    } else {
        None
    };
    let pair = Pair::of_roots(Source { fd: source, stat, xattrs }, destination, existing);
    pair.remove_litter(run);
    run.directories.opened();
    let root = Directory::root(pair, implied);
    let scope = root_scope(run)?;
    let destination = run.roots.destination.fd.as_ref().filter(|_| run.judges_extras() && !run.roots.fresh);
    if let (Some(scope), Some(destination)) = (&scope, destination)
        && run.config.select.has_files()
    {
        root.set_kept(scope.with_files_of(destination)?);
    }
    root.set_scope(scope);
    Ok(root)
}

/// The rules that hold in the source's root, if there are any. Several sources have none in common.
fn root_scope(run: &Run) -> Result<Option<Arc<Scope>>> {
    let (select, root) = (&run.config.select, &run.roots.source);
    let has_rules = select.has_rules() && run.roots.several.is_none();
    let Some(fd) = root.fd.as_ref().filter(|_| has_rules) else { return Ok(None) };
    let path = root.path.canonicalize().at(Operation::UseSource, || &root.path)?;
    let scope = Scope::of_root(&Arc::new(select.clone()), &path, fd)?;
    // A dry run may have no destination.
    let mirror = run.roots.destination.path.canonicalize().ok();
    Ok(Some(Arc::new(match mirror {
        Some(mirror) => scope.mirrored_to(&mirror),
        None => scope,
    })))
}

#[cfg(test)]
mod tests {
    use super::threads::spawn_thread;
    use super::*;
    use crate::report::Silent;

    #[test]
    fn a_panic_in_a_thread_ends_the_run_with_an_error() {
        let home = tempfile::tempdir().unwrap();
        let source = home.path().join("src");
        std::fs::create_dir(&source).unwrap();
        let config = Config::new(&source, home.path().join("dst"));
        let roots = root::open(&config).unwrap();
        let crowd = Crowd { threads: 1, spares: 0, tasks: 1 };
        let (run, parcels, events) = new_run(&config, roots, Aside::default(), &crowd);
        // The walk waits for room that nobody makes: only the end of the run lets it go.
        let walk = spawn_thread("walk", &run, None, move |_| {
            while parcels.send_blocking(Parcel::new()).is_ok() {}
            Ok(())
        });
        let copy = spawn_thread("copy", &run, None, |_| panic!("on purpose"));
        let stopped = run.stop.clone();
        drop(run);
        let start = Start {
            engine: Engine::Threads,
            threads: 1,
            tasks: 1,
            notice: None,
            missing: Vec::new(),
            dry_run: false,
            fsync: false,
            check: false,
        };
        let (mut silent, stop) = (Silent, Stop::default());
        let progress = Progress::new(&mut silent, &stop, None, None).unwrap();
        let summary = progress.gather(&start, events, &stopped, || (), (None, None));
        assert_eq!((summary.outcome, summary.totals.errors, summary.stuck), (Outcome::BrokenOff, 1, false));
        assert!(!stop.is_stopped(), "the flag is the caller's");
        walk.unwrap().join().unwrap();
        copy.unwrap().join().unwrap();
    }
}
