//! What all tasks of a run share.

pub(crate) mod blocking;
pub(crate) mod flushed;
mod follow;
pub(crate) mod heed;
pub(crate) mod kept_links;
pub(crate) mod lane;
pub(crate) mod offer;
pub(crate) mod outbox;
pub(crate) mod pace;
pub(crate) mod regular;
mod rules;
pub(crate) mod sink;
pub(crate) mod staffing;
pub(crate) mod streamed;

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_channel::{Receiver, Sender};
use rustix::io::Errno;

use crate::config::Config;
use crate::engine::primitives::bandwidth::Rate;
use crate::engine::primitives::channel::Channel;
use crate::engine::primitives::disk::{Disk, Verdict};
use crate::engine::primitives::heartbeat::Heartbeat;
use crate::engine::primitives::onset::Onset;
use crate::engine::primitives::reserve::Reserve;
use crate::engine::run::kept_links::KeptLinks;
use crate::engine::run::offer::Offer;
use crate::engine::run::staffing::{
    DESCRIPTORS_A_TASK, EVENTS, MOST_LEFT_BEHIND, PARCELS_A_THREAD, Staffing,
};
use crate::engine::state::backups::Backups;
use crate::engine::state::batch::Parcel;
use crate::engine::state::budget::OpenDirectories;
use crate::engine::state::deletions::Deletions;
use crate::engine::state::directory::Directory;
use crate::engine::state::file_systems::{FileSystem, FileSystems};
use crate::engine::state::links::Links;
use crate::engine::state::references::References;
use crate::engine::state::room::Room;
use crate::engine::state::twins::Twins;
use crate::error::{Cause, Error, Operation, Outcome, Result};
use crate::event::{EntryEvent, Event, Kind, Missing, Notice};
use crate::io::limits::{descriptor_limit, umask};
use crate::io::metrics;
use crate::io::subvolume::is_in_one_mount;
use crate::io::temporary::TemporaryNames;
use crate::metadata::Applied;
use crate::options::Unread;
use crate::plan::rules::Rules;
use crate::roots::mounted::Mounted;
use crate::roots::{self, Roots};
use crate::stat::{Stat, stat_open};
use crate::stop::Stop;

/// What all tasks of a run share.
pub(crate) struct Run {
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    pub(crate) roots: Roots,
    pub(crate) links: Links,
    /// Symlinks of the destination that stand for directories there.
    pub(crate) kept_links: KeptLinks,
    pub(crate) directories: OpenDirectories,
    pub(crate) file_systems: FileSystems,
    /// What errors say of the destination's disk.
    pub(crate) disk: Disk,
    /// The room that its files take there.
    pub(crate) room: Arc<Room>,
    /// Hard links that a comparison holds back.
    pub(crate) twins: Twins,
    /// Where what is replaced goes.
    pub(crate) backups: Option<Backups>,
    /// Trees whose files are linked to.
    pub(crate) references: References,
    /// Paths in the destination that the run itself writes to.
    own_paths: Vec<PathBuf>,
    /// What is mounted below the source.
    mounted: Mounted,
    /// What is not done has one of these.
    pub(crate) temporary: TemporaryNames,
    /// What is to be deleted in the end.
    pub(crate) deletions: Deletions,
    pub(crate) parcels: Receiver<Parcel>,
    /// How fast contents are read, if that is limited.
    pub(crate) rate: Option<Rate>,
    /// Rings that join where the others wait.
    pub(crate) reserve: Reserve,
    /// What tasks offer each other, a channel a thread; those in reserve have none.
    pub(crate) offers: Vec<Channel<Offer>>,
    events: Sender<Event>,
    /// Since when spans are counted, by the gauges' clock.
    begun: u64,
    /// The same by the clock of file systems.
    pub(crate) onset: Onset,
    /// Where each ring says what it does.
    pub(crate) heartbeats: Vec<Heartbeat>,
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
        self.roots.source_path(below)
    }

    /// Where in the source a directory lies, as the user would name it.
    pub(crate) fn source_path_of(&self, directory: &Directory) -> PathBuf {
        match &directory.around {
            Some(around) => around.path.clone(),
            None => self.source_path(&directory.path()),
        }
    }

    /// Where in the destination tree `below` lies, as the user would name it.
    pub(crate) fn destination_path(&self, below: &Path) -> PathBuf {
        self.roots.destination_path(below)
    }

    /// Sends an event; waits while the reporter is behind. After the reporter has gone there is nobody to tell.
    pub(crate) async fn report(&self, mut event: Event) {
        if self.is_told(&mut event) {
            self.events.send(event).await.ok();
        }
    }

    /// The same from a thread without a runtime.
    pub(crate) fn report_blocking(&self, mut event: Event) {
        if self.is_told(&mut event) {
            self.events.send_blocking(event).ok();
        }
    }

    /// Tells, once for each file system, that it rounds times, and that root is nobody there.
    pub(crate) async fn tell_once(
        &self,
        file_system: &FileSystem,
        applied: &Applied,
        path: impl Fn() -> PathBuf,
    ) {
        if let Some((want, have)) = applied.rounded
            && file_system.tells_rounding()
        {
            let times = (want.to_string(), have.to_string());
            self.report(Event::Notice(Notice::RoundedTimes { path: path(), times })).await;
        }
        if applied.squashed && file_system.tells_squash() {
            self.report(Event::Notice(Notice::SquashedRoot(path()))).await;
        }
    }

    /// Reports what a backup lacks of its original's metadata. That is rare, and waits no longer than the reporter does.
    pub(crate) fn report_lacks(&self, applied: Applied) {
        applied.lacks.into_iter().for_each(|error| self.report_blocking(Event::Failed(error)));
    }

    /// Whether an event is news. An error that is no entry's is heeded.
    fn is_told(&self, event: &mut Event) -> bool {
        let Event::Failed(error) = event else { return true };
        self.judge(error) != Verdict::Echo
    }

    /// Stops the run where an entry's error means that no other one can succeed. When a disk leaves, the files in flight
    /// all fail: the first one tells, and the others count as interrupted.
    pub(crate) fn heed(&self, event: &mut EntryEvent) {
        match &mut event.error {
            Some(error) => drop(self.judge(error)),
            // Directories are made in the kernel's caches, whatever the disk says.
            None if event.action.is_change() && event.kind != Kind::Directory => self.disk.mark_written(),
            None => {}
        }
    }

    fn judge(&self, error: &mut Error) -> Verdict {
        let is_of_source = matches!(error.operation, Operation::UseSource | Operation::ReadRules);
        let reads = error.operation.reads_source() || is_of_source;
        let is_missing = error.operation == Operation::UseSource && error.errno() == Some(Errno::NOENT);
        if reads && !is_missing && error.outcome() != Outcome::Vanished {
            self.deletions.mark_read_failed();
        }
        let verdict = self.disk.judge(error);
        if verdict != Verdict::Bearable {
            self.abandon();
        }
        verdict
    }

    /// Whether a directory of the destination, which is a name in another one or that itself, lies on a file system that is
    /// left alone.
    pub(crate) fn is_elsewhere(&self, (within, name): (&OwnedFd, &CStr), stat: &Stat) -> bool {
        let select = &self.config.select;
        let Some(root) = self.roots.destination.fd.as_ref().filter(|_| select.one_file_system) else {
            return false;
        };
        let is_other = stat_open(root).is_ok_and(|root| root.inode.device != stat.inode.device);
        is_other && !(select.cross_subvolumes && is_in_one_mount(root, (within, name)))
    }

    /// Whether something in the destination is not the source's, but the run's own, or on the way to that.
    pub(crate) fn is_own_path(&self, below: &Path) -> bool {
        self.own_paths.iter().any(|path| path.starts_with(below))
    }

    /// Whether what only the destination has is looked for.
    pub(crate) fn judges_extras(&self) -> bool {
        self.config.checks() || self.config.delete.is_some()
    }

    /// Whether rules that the destination has itself may keep something in it.
    pub(crate) fn heeds_kept_rules(&self) -> bool {
        self.judges_extras() || self.config.force
    }

    /// Whether what failed, or could not be read, protects what lies beneath it, and nothing else.
    pub(crate) fn protects_below(&self) -> bool {
        self.config.delete.is_some_and(|delete| delete.unread == Unread::ProtectsItsOwn)
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
    pub(crate) fn thread_ends(&self) {
        if self.reporting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.events.close();
        }
    }

    /// Ends all waiting for work: the last directory is done, or the run was stopped.
    pub(crate) fn close(&self) {
        self.parcels.close();
        self.reserve.close();
        for channel in &self.offers {
            channel.receiver.close();
        }
    }

    /// Gives up on all that is not done.
    pub(crate) fn abandon(&self) {
        // In this order: a task that sees the flag knows that no more offers can come.
        self.close();
        self.stop.stop();
    }

    /// Where a mount has left that was below the source when the run began, nothing is deleted.
    pub(crate) fn protect_left_mounts(&self) {
        for below in self.mounted.left() {
            self.deletions.protect_vanished(below.to_path_buf());
        }
    }

    /// Where a mount has left that was below the source when the run began, nothing is deleted. That it has left is an error,
    /// unless the run is not to read what is mounted there.
    pub(crate) async fn tell_left_mounts(&self) {
        let is_read = !self.config.select.one_file_system;
        for below in self.mounted.left() {
            self.deletions.protect_vanished(below.to_path_buf());
            if is_read {
                let mut why =
                    "what was mounted there has left during the run: some of it may be missing".to_owned();
                if self.config.delete.is_some() {
                    why += ". Its mirror stays this time, and the next run would delete it: mount it again first";
                }
                let cause = Cause::Refused(why);
                self.report(Event::Failed(Error::new(Operation::ListSource, self.source_path(below), cause)))
                    .await;
            }
        }
    }

    /// Ends the run with an error that is no entry's.
    pub(crate) fn break_off(&self, error: Error) {
        self.abandon();
        self.report_blocking(Event::Failed(error));
    }
}

/// Trees beside the two roots.
#[derive(Default)]
pub(crate) struct Beside {
    backups: Option<Backups>,
    references: References,
    /// Trees to link to that do not exist.
    pub(crate) missing: Vec<Missing>,
    /// Paths in the destination that the run itself writes to.
    own_paths: Vec<PathBuf>,
    /// What is mounted below the source.
    mounted: Mounted,
}

impl Beside {
    pub(crate) fn open(config: &Config, roots: &Roots) -> Result<Self> {
        let (references, missing) = References::open(config, roots)?;
        let backups = Backups::new(config, roots)?;
        let trees = backups.iter().filter_map(Backups::path);
        let written = config.own_files.iter().map(PathBuf::as_path).chain(config.manifest()).chain(trees);
        let own_paths = written.flat_map(|path| roots::below(&roots.destination, path)).collect();
        Ok(Beside { backups, references, missing, own_paths, mounted: Mounted::note(config, roots) })
    }
}

/// What the tasks will share, the walk's end of one channel, and the progress task's end of another.
pub(crate) fn new_run(
    config: &Config,
    roots: Roots,
    beside: Beside,
    temporary: TemporaryNames,
    staffing: &Staffing,
) -> (Arc<Run>, Sender<Parcel>, Receiver<Event>) {
    let Staffing { threads, reserve, tasks } = *staffing;
    let (parcel_sender, parcels) = async_channel::bounded(threads * PARCELS_A_THREAD);
    let (events, event_receiver) = async_channel::bounded(EVENTS);
    let run = Run {
        config: config.clone(),
        rules: config.rules(umask()),
        roots,
        links: Links::default(),
        kept_links: KeptLinks::default(),
        directories: OpenDirectories::new(descriptor_limit()),
        file_systems: FileSystems::default(),
        disk: Disk::default(),
        room: Arc::default(),
        twins: Twins::default(),
        backups: beside.backups,
        references: beside.references,
        own_paths: beside.own_paths,
        mounted: beside.mounted,
        temporary,
        deletions: Deletions::default(),
        rate: config.bandwidth.map(Rate::new),
        parcels,
        reserve: Reserve::new(threads, reserve),
        offers: (0..threads).map(|_| Channel::bounded(tasks)).collect(),
        events,
        begun: metrics::now(),
        onset: Onset::now(),
        heartbeats: (0..threads + reserve).map(|_| Heartbeat::default()).collect(),
        left_behind: AtomicUsize::new(0),
        reporting: AtomicUsize::new(threads + reserve + 1), // and the walk
        stop: Stop::default(),
    };
    (Arc::new(run), parcel_sender, event_receiver)
}
