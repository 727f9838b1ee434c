//! `--delete` where SRC and DST have nothing to do with each other: swapped, or on another disk than was meant. What DST
//! has at its top tells, before anything is written.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::setup::root_scope;
use crate::engine::state::names::inode;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Kind;
use crate::io::list::{kind_of, names};
use crate::options::DeleteLimit;
use crate::select::Scope;
use crate::stat::{Stat, stat_open};
use crate::text::Escaped;

/// What mkfs(8) makes: every disk has it, and so it says nothing.
const OF_THE_DISK: &CStr = c"lost+found";
/// Names that are shown, at most.
const SHOWN: usize = 3;

/// Refuses to delete in a destination of which nothing that could be deleted has its name in the source too.
pub(super) fn refuse(run: &Run) -> Result<()> {
    let Some(delete) = run.config.delete else { return Ok(()) };
    let roots = &run.roots;
    let is_tree = roots.single.is_none() && roots.several.is_none() && !roots.fresh && !run.config.checks();
    if !is_tree || delete.allow_strangers || delete.limit == Some(DeleteLimit::Percent(100)) {
        return Ok(());
    }
    let (Some(source), Some(destination)) = (&roots.source.fd, &roots.destination.fd) else { return Ok(()) };
    let strangers = Strangers::new(run, destination)?;
    let Some((count, shown)) = strangers.count(source, destination)? else { return Ok(()) };
    // A source of which nothing is mirrored has a guard of its own.
    if count == 0
        || !has_entries(run, source, strangers.scopes.first())?
        || strangers.have_namesakes(source, destination)?
    {
        return Ok(());
    }
    Err(Error::new(Operation::Delete, &run.config.destination, Cause::NothingShared { count, shown }))
}

/// What tells entries that may be deleted from others.
struct Strangers<'a> {
    run: &'a Run,
    stat: Stat,
    scopes: Vec<Arc<Scope>>,
}

impl<'a> Strangers<'a> {
    fn new(run: &'a Run, destination: &OwnedFd) -> Result<Self> {
        let stat = stat_open(destination).at(Operation::StatDestination, || &run.config.destination)?;
        let mut scopes = Vec::from_iter(root_scope(run)?);
        if let Some(scope) = scopes.first().filter(|_| run.config.select.has_files()) {
            scopes.push(Arc::new(scope.with_files_of(destination)?));
        }
        Ok(Strangers { run, stat, scopes })
    }

    /// How many entries could be deleted, and the names of some. `None`: the source has one of them too.
    fn count(&self, source: &OwnedFd, destination: &OwnedFd) -> Result<Option<(u64, String)>> {
        let at = || &self.run.config.destination;
        let (mut count, mut shown) = (0, Vec::new());
        for entry in names(destination).at(Operation::ListDestination, at)? {
            let entry = entry.at(Operation::ListDestination, at)?;
            let (name, kind) = (entry.file_name(), kind_of(destination.as_fd(), &entry));
            if self.stays(destination, name, kind) {
                continue;
            }
            match rustix::fs::statx(source, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
                Err(Errno::NOENT | Errno::NAMETOOLONG) => {}
                // There it is, or nothing can be said.
                _ => return Ok(None),
            }
            count += 1;
            if shown.len() < SHOWN {
                shown.push(Escaped::name(OsStr::from_bytes(name.to_bytes())).to_string());
            }
        }
        if count > SHOWN as u64 {
            shown.push("...".into());
        }
        Ok(Some((count, shown.join(", "))))
    }

    /// Whether the destination has one of the source's names, which it lists otherwise: in another case, for example.
    fn have_namesakes(&self, source: &OwnedFd, destination: &OwnedFd) -> Result<bool> {
        if !self.run.file_systems.of(destination, &self.stat).may_fold(destination) {
            return Ok(false);
        }
        let at = || &self.run.config.source;
        for entry in names(source).at(Operation::ListSource, at)? {
            let entry = entry.at(Operation::ListSource, at)?;
            let (name, kind) = (entry.file_name(), kind_of(source.as_fd(), &entry));
            let found =
                || inode(destination, name).at(Operation::StatDestination, || &self.run.config.destination);
            if !self.stays(destination, name, kind) && found()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an entry is not the user's, or is not deleted in any case.
    fn stays(&self, destination: &OwnedFd, name: &CStr, kind: Kind) -> bool {
        let is_directory = kind == Kind::Directory;
        let run = self.run;
        let is_elsewhere = || {
            let stat = rustix::fs::statx(destination, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
            stat.is_ok_and(|stat| run.is_elsewhere((destination, name), &Stat::from(&stat)))
        };
        name == OF_THE_DISK
            || run.temporary.is_ours(name.to_bytes(), self.stat.inode)
            || run.is_own_path(Path::new(OsStr::from_bytes(name.to_bytes())))
            || run.backups.as_ref().is_some_and(|backups| !is_directory && backups.is_backup(name))
            || self.scopes.iter().any(|scope| scope.protects(name, is_directory, false))
            || (is_directory && is_elsewhere())
    }
}

/// Whether an entry of the source that no rule hides is mirrored.
fn is_taken(run: &Run, source: &OwnedFd, name: &CStr, kind: Kind) -> bool {
    let size = || {
        let stat = rustix::fs::statx(source, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
        stat.map_or(0, |stat| stat.stx_size)
    };
    match kind {
        Kind::File => run.config.select.takes_size(size()),
        kind => run.rules.keep.takes(kind),
    }
}

/// Whether anything in the source's root is mirrored.
fn has_entries(run: &Run, source: &OwnedFd, scope: Option<&Arc<Scope>>) -> Result<bool> {
    let at = || &run.config.source;
    for entry in names(source).at(Operation::ListSource, at)? {
        let entry = entry.at(Operation::ListSource, at)?;
        let (name, kind) = (entry.file_name(), kind_of(source.as_fd(), &entry));
        let is_hidden = scope.is_some_and(|scope| scope.hides(name, kind == Kind::Directory));
        if !is_hidden && is_taken(run, source, name, kind) {
            return Ok(true);
        }
    }
    Ok(false)
}
