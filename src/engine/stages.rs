//! Single stages of the pipeline, for the benches: what a run has its threads do, with nobody before or after them. No
//! part of the library's interface.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use blake3::Hash;

use crate::config::{Config, DEFAULT_DEPTH};
use crate::content::hash::{SEGMENT, SegmentHashes, segment_hasher};
use crate::engine::run::staffing::Staffing;
use crate::engine::run::{Beside, Run, new_run};
use crate::engine::setup::open_root;
use crate::engine::state::batch::Parcel;
use crate::engine::state::directory::Directory;
use crate::engine::workers::tasks::{Watch, run_tasks};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Action, Event, Kind};
use crate::io::buffer::{Pool, SMALL};
use crate::io::limits::raise_descriptor_limit;
use crate::io::temporary::TemporaryNames;
use crate::io::{Io, op, ring};
use crate::{roots, walk};

/// Two trees that are open, and nothing done.
pub struct Opened {
    run: Arc<Run>,
    root: Arc<Directory>,
    parcels: Sender<Parcel>,
    events: Receiver<Event>,
}

impl Opened {
    /// Opens both trees; the destination must exist.
    ///
    /// # Errors
    /// As for [`crate::sync()`].
    pub fn new(source: &Path, destination: &Path) -> Result<Self> {
        raise_descriptor_limit();
        let config = Config::new(source, destination);
        let roots = roots::open(&config)?;
        let staffing = Staffing { threads: 1, reserve: 0, tasks: DEFAULT_DEPTH };
        let (run, parcels, events) =
            new_run(&config, roots, Beside::default(), TemporaryNames::of_this_run()?, &staffing);
        let root = open_root(&run)?;
        Ok(Opened { run, root, parcels, events })
    }

    /// Lists the source.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn walk(self) -> Result<Walked> {
        let Opened { run, root, parcels, events } = self;
        // There is room for all, since nobody takes any.
        let (sender, found) = async_channel::unbounded();
        let scope = root.scope().cloned();
        walk::walk((&run.config, &run.roots, &run.stop), (root, scope), &*run, &sender)?;
        sender.close();
        let found = std::iter::from_fn(|| found.try_recv().ok()).collect();
        Ok(Walked { run, found, parcels, events })
    }
}

/// Two trees of which the source is listed.
pub struct Walked {
    run: Arc<Run>,
    found: Vec<Parcel>,
    parcels: Sender<Parcel>,
    events: Receiver<Event>,
}

impl Walked {
    /// How many entries were found, directories not counted.
    pub fn entries(&self) -> usize {
        self.found.iter().flatten().map(|batch| batch.entries.len()).sum()
    }
}

/// A ring, and the thread that made it.
pub struct Ring(tokio_uring::Runtime);

impl Ring {
    /// Sets one up.
    ///
    /// # Errors
    /// Where io_uring is not to be had.
    pub fn start() -> Result<Self> {
        let refused = |why| Error::new(Operation::StartEngine, "", Cause::NoRing(why));
        ring::runtime().map(Ring).map_err(refused)
    }

    /// Mirrors what was found with the tasks of this one ring. Returns how many entries, directories not counted, were right
    /// already.
    ///
    /// # Errors
    /// When a task panics.
    pub fn compare(&self, walked: Walked) -> Result<usize> {
        let Walked { run, found, parcels, events } = walked;
        let feed = async {
            for parcel in found {
                parcels.send(parcel).await.ok();
            }
        };
        let work = async {
            let result = run_tasks(Io::ring(), run.clone(), 0, DEFAULT_DEPTH, Watch::default()).await;
            events.close();
            result
        };
        let count = async {
            let mut unchanged = 0;
            while let Ok(event) = events.recv().await {
                unchanged += unchanged_files(&event);
            }
            unchanged
        };
        let ((), result, unchanged) = self.0.block_on(async { tokio::join!(feed, work, count) });
        result.map(|()| unchanged)
    }

    /// Reads the first 4 KiB of a file `times` times, one read after the other, each through the ring.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(&self, path: &Path, times: u64) -> Result<()> {
        const LENGTH: usize = 4 << 10;
        let file = File::open(path).at(Operation::OpenSource, || path)?;
        let file = Arc::new(OwnedFd::from(file));
        self.0.block_on(async {
            let mut buffer = Pool::new().take(SMALL as u64).await;
            for _ in 0..times {
                let result;
                (result, buffer) = op::read(file.clone(), buffer, LENGTH, 0).await;
                result.at(Operation::ReadSource, || path)?;
            }
            Ok(())
        })
    }
}

fn unchanged_files(event: &Event) -> usize {
    let Event::Entries(groups) = event else { return 0 };
    let events = groups.iter().flat_map(|group| &group.events);
    events.filter(|event| event.kind != Kind::Directory && event.action == Action::Unchanged).count()
}

/// The hash of `bytes`, put together from segments that are hashed apart, one after the other.
pub fn hash_in_parts(bytes: &[u8]) -> Option<Hash> {
    let segments = SegmentHashes::new(bytes.len() as u64);
    for (segment, offset) in bytes.chunks(SEGMENT as usize).zip((0..).step_by(SEGMENT as usize)) {
        let mut hasher = segment_hasher(offset);
        hasher.update(segment);
        segments.put(offset, &hasher);
    }
    segments.finish()
}
