//! What all tasks of a run share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_channel::{Receiver, Sender};

use crate::config::Config;
use crate::engine::backup::Backups;
use crate::engine::durable::FileSystems;
use crate::engine::job::{Offer, Parcel};
use crate::engine::open::OpenDirectories;
use crate::engine::rate::Rate;
use crate::engine::reference::References;
use crate::engine::spare::Spares;
use crate::engine::threads::Crowd;
use crate::engine::turn::Beacon;
use crate::engine::{Channel, DESCRIPTORS_A_TASK, EVENTS, MOST_LEFT_BEHIND, PARCELS_A_THREAD};
use crate::error::{Cause, Error, Operation, Outcome, Result};
use crate::event::{EntryEvent, Event, Missing};
use crate::io::limits::{descriptor_limit, umask};
use crate::io::metrics;
use crate::io::temporary::TemporaryNames;
use crate::plan::delete::Deletions;
use crate::plan::links::Links;
use crate::plan::names::Names;
use crate::plan::rules::Rules;
use crate::roots::{self, Roots};
use crate::stat::{Stat, stat_open};
use crate::stop::Stop;

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
    pub(super) backups: Option<Backups>,
    /// Trees whose files are linked to.
    pub(super) references: References,
    /// Paths in the destination that the run itself writes to.
    pub(super) spared: Vec<PathBuf>,
    /// What is not done has one of these.
    pub(crate) temporary: TemporaryNames,
    /// What is to be deleted in the end.
    pub(crate) deletions: Deletions,
    /// Permission bits that the kernel takes from new files.
    pub(crate) umask: u32,
    pub(crate) parcels: Receiver<Parcel>,
    /// How fast contents are read, if that is limited.
    pub(crate) rate: Option<Rate>,
    /// Rings that join where the others wait.
    pub(super) spares: Spares,
    /// What tasks offer each other, a channel a thread; those in reserve have none.
    pub(crate) offers: Vec<Channel<Offer>>,
    pub(super) events: Sender<Event>,
    /// Since when spans are counted, by the gauges' clock.
    pub(crate) begun: u64,
    /// Where each ring says what it does.
    pub(super) beacons: Vec<Beacon>,
    /// Threads that are stuck in the kernel.
    pub(super) left_behind: AtomicUsize,
    /// Threads that may still report something.
    pub(super) reporting: AtomicUsize,
    /// Raised when the run ends early: the caller's flag was raised, or an error broke it off.
    pub(crate) stop: Stop,
}

impl Run {
    /// Where in the source tree `below` lies, as the user would name it.
    pub(crate) fn source_path(&self, below: &Path) -> PathBuf {
        let named = self.roots.several.as_ref().and_then(|several| several.source_path(below));
        named.unwrap_or_else(|| roots::join(&self.roots.source.path, below))
    }

    /// Where in the destination tree `below` lies, as the user would name it.
    pub(crate) fn destination_path(&self, below: &Path) -> PathBuf {
        roots::join(&self.roots.destination.path, below)
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
    pub(super) fn thread_ends(&self) {
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
        // In this order: a task that sees the flag knows that no more offers can come.
        self.close();
        self.stop.stop();
    }

    /// Ends the run with an error that is no entry's.
    pub(super) fn break_off(&self, error: Error) {
        self.abandon();
        self.report_blocking(Event::Failed(error));
    }
}

/// Trees beside the two roots.
#[derive(Default)]
pub(super) struct Aside {
    pub(super) backups: Option<Backups>,
    pub(super) references: References,
    /// Trees to link to that do not exist.
    pub(super) missing: Vec<Missing>,
    /// Paths in the destination that the run itself writes to.
    pub(super) spared: Vec<PathBuf>,
}

impl Aside {
    pub(super) fn open(config: &Config, roots: &Roots) -> Result<Self> {
        let (references, missing) = References::open(config, roots)?;
        let backups = Backups::new(config, roots)?;
        let trees = backups.iter().filter_map(Backups::path);
        let written = config.spare.iter().chain(&config.manifest).map(PathBuf::as_path).chain(trees);
        let spared = written.flat_map(|path| roots::below(&roots.destination, path)).collect();
        Ok(Aside { backups, references, missing, spared })
    }
}

/// What the tasks will share, the walk's end of one channel, and the progress task's end of another.
pub(super) fn new_run(
    config: &Config,
    roots: Roots,
    aside: Aside,
    temporary: TemporaryNames,
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
        temporary,
        deletions: Deletions::default(),
        umask,
        rate: config.bandwidth.map(Rate::new),
        parcels,
        spares: Spares::new(threads, spares),
        offers: (0..threads).map(|_| Channel::bounded(tasks)).collect(),
        events,
        begun: metrics::now(),
        beacons: (0..threads + spares).map(|_| Beacon::default()).collect(),
        left_behind: AtomicUsize::new(0),
        reporting: AtomicUsize::new(threads + spares + 1), // and the walk
        stop: Stop::default(),
    };
    (Arc::new(run), parcel_sender, event_receiver)
}
