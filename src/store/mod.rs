//! Snapshots: complete trees of a source, one beside the other in a store, in which what did not change is one more hard
//! link to what the snapshot before has. Each is an ordinary directory, of use without this program.
//!
//! A store is a directory:
//!
//! - `2026-11-27_023000Z/`, and so on: the snapshots, by the time they were begun, or by a name that the user gave;
//! - `latest`: a symlink to the newest one;
//! - `.ringsync/`: the record of the snapshots (`snapshots.jsonl`), the lock, and what is not done.
//!
//! [`take()`] has the engine write to `.ringsync/incomplete`, has all of it on stable storage, writes down what it will be,
//! and gives it its name. Whatever is killed at any moment, a snapshot with a name is whole: the next run finds what was written
//! down, and what was broken off, and goes on from there.

mod attempt;
pub mod clock;
mod clones;
mod earlier;
pub mod found;
mod hashes;
mod layout;
pub mod look;
mod mounted;
pub mod name;
mod own;
mod prune;
mod record;
pub mod retention;
mod shortage;
mod sources;
mod space;
mod take;
mod taken;
mod unfit;

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Operation, Result};
use crate::event::Summary;
use crate::stop::Stop;
use crate::store::layout::{LATEST, Layout};
use crate::store::own::held;
use crate::store::record::{Known, known};

pub use crate::store::prune::{Decision, Prune, prune, refusal};
pub use crate::store::record::Record;
pub use crate::store::shortage::NoRoom;
pub use crate::store::space::KeepFree;
pub use crate::store::take::{Take, take};
pub use crate::store::taken::Taken;
pub use crate::store::unfit::{MinEntries, Unfit};

/// A store, as it is now.
#[derive(Debug)]
#[non_exhaustive]
pub struct Store {
    /// Its snapshots, the oldest first.
    pub snapshots: Vec<Record>,
    /// The names of those that the record has, and of which there is no directory any more.
    pub gone: Vec<String>,
    /// That the record's last line is cut off: its snapshot is not among these.
    pub cut: Option<Error>,
    layout: Layout,
}

impl Store {
    /// Reads the record of a store.
    ///
    /// # Errors
    /// When the directory is none, has no record, or one that can't be read, or that a newer program wrote.
    pub fn open(path: &Path) -> Result<Self> {
        let layout = Layout::new(path);
        layout.require()?;
        let Known { snapshots, gone, cut, .. } = known(&layout)?;
        Ok(Store { snapshots, gone, cut, layout })
    }

    /// Where a snapshot lies.
    pub fn path_of(&self, record: &Record) -> PathBuf {
        self.layout.snapshot(&record.name)
    }
}

/// A store that this process alone changes.
struct Held {
    layout: Layout,
    /// Those that are there.
    snapshots: Vec<Record>,
    /// The sequence number of the next one.
    next: u64,
    /// What the record tells of others, as it was found.
    gone: Vec<String>,
    cut: Option<Error>,
    /// Lies on the store's file system, and was opened before anything was written: what could not be is told when it is
    /// flushed.
    lock: File,
}

impl Held {
    /// Takes the store's lock, and learns what a run that was killed had begun to finish.
    fn take(layout: Layout, wait: bool, stop: &Stop) -> Result<Self> {
        let lock = layout.lock(wait, stop)?;
        Self::new(layout, lock)
    }

    /// The same with the lock.
    fn new(layout: Layout, lock: File) -> Result<Self> {
        layout.vet()?;
        layout.require_latest()?;
        let known = known(&layout)?;
        Ok(Held::of(layout, known, lock))
    }

    /// The same of a store in which nothing is changed, and which another run may change meanwhile.
    fn look(layout: Layout) -> Result<Self> {
        let directory = File::open(layout.store()).at(Operation::UseStore, || layout.store())?;
        let known = known(&layout)?;
        Ok(Held::of(layout, known, directory))
    }

    fn of(layout: Layout, known: Known, lock: File) -> Self {
        let Known { snapshots, next, gone, cut, .. } = known;
        Held { layout, snapshots, next, gone, cut, lock }
    }

    /// Writes the record, and has `latest` lead to the newest snapshot.
    fn write_down(&self) -> Result<()> {
        record::write(&self.layout.record(), &self.snapshots)?;
        record::remove(&self.layout.pending())?;
        match self.snapshots.last() {
            Some(newest) => self.layout.point_latest_at(&newest.name),
            None => Ok(()),
        }
    }
}

/// Renames a directory that may be read-only: to move it to another directory a user who is not root must be able to write
/// to it (rename(2)).
fn rename_tree(from: &Path, to: &Path) -> Result<()> {
    let is_refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    match held::rename(from, to) {
        Err(error) if is_refused(&error) && from.symlink_metadata().is_ok_and(|stat| stat.is_dir()) => {
            let permissions = std::fs::symlink_metadata(from).at(Operation::Rename, || from)?.permissions();
            let writable = Permissions::from_mode(permissions.mode() | 0o200);
            std::fs::set_permissions(from, writable).at(Operation::SetMode, || from)?;
            let renamed = held::rename(from, to);
            let now = if renamed.is_ok() { to } else { from };
            std::fs::set_permissions(now, permissions).at(Operation::SetMode, || now)?;
            renamed.at(Operation::Rename, || from)
        }
        renamed => renamed.at(Operation::Rename, || from),
    }
}

/// What a run of the engine came to.
fn is_broken_off(summary: &Summary) -> bool {
    use crate::error::Outcome::{BrokenOff, DeletionRefused, Interrupted, TimedOut};
    summary.stuck || matches!(summary.outcome, BrokenOff | DeletionRefused | Interrupted | TimedOut)
}
