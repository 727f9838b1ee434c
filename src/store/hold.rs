//! A store that one process has for itself while it changes it.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Context, Error, Operation, Result};
use crate::event::Summary;
use crate::stop::Stop;
use crate::store::layout::Layout;
use crate::store::own::held;
use crate::store::record::{self, Known, Record, known};

/// A store that this process alone changes.
pub(super) struct Held {
    pub(super) layout: Layout,
    /// Those that are there.
    pub(super) snapshots: Vec<Record>,
    /// The sequence number of the next one.
    pub(super) next: u64,
    /// What the record tells of others, as it was found.
    pub(super) gone: Vec<String>,
    pub(super) cut: Option<Error>,
    /// Lies on the store's file system, and was opened before anything was written: what could not be is told when it is
    /// flushed.
    pub(super) lock: File,
}

impl Held {
    /// Takes the store's lock, and learns what a run that was killed had begun to finish.
    pub(super) fn take(layout: Layout, wait: bool, stop: &Stop) -> Result<Self> {
        let lock = layout.lock(wait, stop)?;
        Self::new(layout, lock)
    }

    /// The same with the lock.
    pub(super) fn new(layout: Layout, lock: File) -> Result<Self> {
        layout.vet()?;
        layout.require_latest()?;
        let known = known(&layout)?;
        Ok(Held::of(layout, known, lock))
    }

    /// The same of a store in which nothing is changed, and which another run may change meanwhile.
    pub(super) fn look(layout: Layout) -> Result<Self> {
        let directory = File::open(layout.store()).at(Operation::UseStore, || layout.store())?;
        let known = known(&layout)?;
        Ok(Held::of(layout, known, directory))
    }

    fn of(layout: Layout, known: Known, lock: File) -> Self {
        let Known { snapshots, next, gone, cut, .. } = known;
        Held { layout, snapshots, next, gone, cut, lock }
    }

    /// Writes the record, and has `latest` lead to the newest snapshot.
    pub(super) fn write_down(&self) -> Result<()> {
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
pub(super) fn rename_tree(from: &Path, to: &Path) -> Result<()> {
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
pub(super) fn is_broken_off(summary: &Summary) -> bool {
    use crate::error::Outcome::{BrokenOff, DeletionRefused, Interrupted, TimedOut};
    summary.stuck || matches!(summary.outcome, BrokenOff | DeletionRefused | Interrupted | TimedOut)
}
