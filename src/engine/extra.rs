//! What the destination has beyond the source, found when a directory is done: its mirror is listed, and if it has more
//! names than the source has there, each one is looked up in the source.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::engine::directory::Directory;
use crate::engine::item::Item;
use crate::engine::pair::Pair;
use crate::engine::remove::{Doing, Removal};
use crate::engine::threads::panicked;
use crate::engine::watch::Watched;
use crate::engine::worker::Lane;
use crate::engine::{Run, aside, litter};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Event, Kind};
use crate::plan::delete::Doomed;
use crate::select::Scope;
use crate::stat::{Stat, stat_open};

pub(super) const LIST: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that is done, and what is known of it.
pub(super) struct Done {
    pair: Arc<Pair>,
    path: PathBuf,
    scopes: Vec<Arc<Scope>>,
    watched: Option<Arc<Watched>>,
}

impl Done {
    pub(super) fn new(directory: &Directory, pair: &Arc<Pair>, lane: &Lane) -> Self {
        let (path, scopes) = (directory.path(), directory.scopes());
        Done { pair: pair.clone(), path, scopes, watched: lane.watched.clone() }
    }

    /// What its mirror has beyond it, if anything.
    pub(super) fn extras(&self, run: &Run) -> Result<Option<Doomed>> {
        let Some(destination) = &self.pair.destination else { return Ok(None) };
        let at = || run.destination_path(&self.path);
        let stat = stat_open(destination).at(Operation::StatDestination, at)?;
        if run.is_elsewhere(&stat) {
            return Ok(None);
        }
        let listed = count(destination).at(Operation::ListDestination, at)?;
        run.deletions.count_listed(listed as u64);
        if listed == self.pair.compared() {
            return Ok(None);
        }
        let mut doomed = Doomed::new(self.path.clone(), stat, self.scopes.clone());
        let mut extra = 0;
        for entry in names(destination).at(Operation::ListDestination, at)? {
            let entry = entry.at(Operation::ListDestination, at)?;
            if let Some(watched) = &self.watched {
                watched.doing(Operation::ListDestination);
            }
            let (name, kind) = (entry.file_name(), kind_of(destination.as_fd(), &entry));
            if self.is_extra(run, name, kind, destination, &stat) {
                extra += 1;
                if !run.is_spared(&self.path.join(OsStr::from_bytes(name.to_bytes()))) {
                    doomed.add(name);
                }
            }
        }
        if listed.saturating_sub(extra) < self.pair.compared() {
            return Err(Cause::OtherNames).at(Operation::Delete, at);
        }
        Ok((!doomed.is_empty()).then_some(doomed))
    }

    /// Whether a name has no business there: the source lacks it, or hides it, and no rule protects it. What runs leave for
    /// the next one, and other runs are at work on, is none of these; a directory that a killed run set aside is.
    fn is_extra(&self, run: &Run, name: &CStr, kind: Kind, within: &OwnedFd, stat: &Stat) -> bool {
        if let Some(is_abandoned) = aside::is_abandoned(within, name, stat.inode, run) {
            return is_abandoned;
        }
        if run.temporary.is_ours(name.to_bytes(), stat.inode) {
            return kind == Kind::Directory && litter::is_abandoned(within, name, kind);
        }
        let is_directory = kind == Kind::Directory;
        if !is_directory && run.backups.as_ref().is_some_and(|backups| backups.is_backup(name)) {
            return false;
        }
        if self.scopes.iter().any(|scope| scope.protects(name, is_directory, false)) {
            return false;
        }
        let found = rustix::fs::statx(&self.pair.source, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
        match found {
            Err(errno) => errno == Errno::NOENT,
            Ok(found) => {
                let kind = Kind::from(FileType::from_raw_mode(found.stx_mode.into()));
                self.scopes.first().is_some_and(|scope| scope.hides(name, kind == Kind::Directory))
            }
        }
    }
}

/// Reports what the mirror of a directory has beyond it.
pub(crate) async fn report(directory: &Directory, pair: &Arc<Pair>, lane: &Lane) {
    // Of a list of paths, nothing says what else there is to be.
    if lane.run.config.select.paths.is_some() {
        return;
    }
    let done = Done::new(directory, pair, lane);
    let listed = in_thread(lane, move |run| {
        if let Some(doomed) = done.extras(run)? {
            Removal::of(run, Doing::Show).threads(1).run(&[doomed]);
        }
        Ok(())
    });
    if let Err(error) = listed.await {
        lane.run.report(Event::Failed(error)).await;
    }
}

/// Reports what is in a directory that has the name of something else.
pub(crate) async fn report_in_the_way(item: &Item<'_>) -> Result<()> {
    let path = item.directory.path_of(item.target());
    let (within, name) = (item.within()?.clone(), item.target().to_owned());
    let scopes = item.directory.scopes();
    in_thread(item.lane, move |run| {
        let at = || run.destination_path(&path);
        let directory = rustix::fs::openat(within, &name, LIST, Mode::empty());
        let directory = directory.at(Operation::ListDestination, at)?;
        let stat = stat_open(&directory).at(Operation::StatDestination, at)?;
        let scopes = scopes.iter().map(|scope| Arc::new(scope.below(&name))).collect();
        let mut doomed = Doomed::new(path.clone(), stat, scopes);
        for entry in names(&directory).at(Operation::ListDestination, at)? {
            doomed.add(entry.at(Operation::ListDestination, at)?.file_name());
        }
        Removal::of(run, Doing::Show).threads(1).run(&[doomed]);
        Ok(())
    })
    .await
}

/// What waits for the disk must not hold up the other tasks of this thread.
pub(super) async fn in_thread<T: Send + 'static>(
    lane: &Lane,
    work: impl FnOnce(&Run) -> Result<T> + Send + 'static,
) -> Result<T> {
    let run = lane.run.clone();
    match tokio::task::spawn_blocking(move || work(&run)).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(panicked(panic.as_ref())),
            // The runtime ends before it was begun: the run was stopped.
            Err(_) => Err(Error::new(Operation::Run, &lane.run.config.source, Cause::Interrupted)),
        },
    }
}

/// What a directory holds, in the directory's order.
pub(super) fn names(
    directory: impl AsFd,
) -> rustix::io::Result<impl Iterator<Item = rustix::io::Result<DirEntry>>> {
    let is_itself = |entry: &DirEntry| entry.file_name() == c"." || entry.file_name() == c"..";
    Ok(Dir::read_from(directory)?.filter(move |entry| !entry.as_ref().is_ok_and(is_itself)))
}

/// Names in a directory.
pub(super) fn count(directory: &OwnedFd) -> rustix::io::Result<usize> {
    names(directory)?.try_fold(0, |count, entry| entry.map(|_| count + 1))
}

/// The same without the temporary ones of other runs at work.
pub(super) fn count_done(directory: &OwnedFd, run: &Run) -> rustix::io::Result<usize> {
    let inode = stat_open(directory)?.inode;
    names(directory)?.try_fold(0, |count, entry| {
        let is_temporary = run.temporary.is_ours(entry?.file_name().to_bytes(), inode);
        Ok(count + usize::from(!is_temporary))
    })
}

/// What the listing says it is, or where that says nothing, its stat.
pub(super) fn kind_of(directory: BorrowedFd<'_>, entry: &DirEntry) -> Kind {
    match entry.file_type() {
        FileType::Unknown => kind_of_name(directory, entry.file_name()),
        kind => Kind::from(kind),
    }
}

pub(super) fn kind_of_name(directory: BorrowedFd<'_>, name: &CStr) -> Kind {
    let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
    stat.map_or(Kind::File, |stat| Stat::from(&stat).kind)
}
