//! What the destination has beyond the source, found when a directory is done: its mirror is listed, and if it has more
//! names than the source has there, each one is looked up in the source.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::Metadata;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Mode, StatxFlags};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::delete::namesakes::Namesakes;
use crate::engine::delete::removal::{Doing, Removal};
use crate::engine::delete::settled::refuse_changed;
use crate::engine::entry::item::Item;
use crate::engine::own::{litter, set_aside};
use crate::engine::run::blocking::in_thread;
use crate::engine::run::lane::Lane;
use crate::engine::state::deletions::Doomed;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::Pair;
use crate::engine::state::watched::Watched;
use crate::error::{Cause, Context, Operation, Result};
use crate::event::{Event, Kind, Notice};
use crate::io::list::{LIST, count, kind_of, names};
use crate::io::temporary::is_partial;
use crate::metadata::{self, HeldInode};
use crate::select::Scope;
use crate::stat::{Place, Stat, Time, stat_open};

/// Whether another source of the same destination has what belongs at this path. No symlink in it is followed.
fn has((place, source): &(PathBuf, PathBuf), path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(place) else { return false };
    let mut way = source.clone();
    let mut names = below.iter().peekable();
    while let Some(name) = names.next() {
        way.push(name);
        let is_right = |found: Metadata| names.peek().is_none() || found.is_dir();
        if !std::fs::symlink_metadata(&way).is_ok_and(is_right) {
            return false;
        }
    }
    true
}

/// A directory that is done, and what is known of it.
pub(crate) struct Done {
    pair: Arc<Pair>,
    path: PathBuf,
    scopes: Vec<Arc<Scope>>,
    watched: Option<Arc<Watched>>,
    /// A name that another run is at work on.
    at_work: Cell<Option<CString>>,
    /// The names that the source has, where nothing of it was looked at, and no rule hides any.
    known: HashSet<CString>,
}

impl Done {
    pub(crate) fn new(directory: &Directory, pair: &Arc<Pair>, lane: &Lane) -> Self {
        let (path, scopes) = (directory.path(), directory.scopes());
        let watched = lane.watched.clone();
        let known = HashSet::new();
        Done { pair: pair.clone(), path, scopes, watched, at_work: Cell::default(), known }
    }

    /// One that is only looked at, before anything is copied.
    pub(super) fn ahead(pair: Arc<Pair>, path: PathBuf, scopes: Vec<Arc<Scope>>) -> Self {
        let listed = if scopes.is_empty() { names(&pair.source).ok() } else { None };
        let listed = listed.into_iter().flatten().flatten();
        let known = listed.map(|entry| entry.file_name().to_owned()).collect();
        Done { pair, path, scopes, watched: None, at_work: Cell::default(), known }
    }

    /// What its mirror has beyond it, if anything.
    pub(crate) fn extras(&self, run: &Run) -> Result<Option<Doomed>> {
        let Some(destination) = &self.pair.destination else { return Ok(None) };
        let at = || run.destination_path(&self.path);
        let stat = stat_open(destination).at(Operation::StatDestination, at)?;
        if run.is_elsewhere((destination, c""), &stat) {
            return Ok(None);
        }
        let listed = count(destination).at(Operation::ListDestination, at)?;
        run.deletions.count_listed(listed as u64);
        if listed == self.pair.compared() {
            return Ok(None);
        }
        let mut doomed = Doomed::new(self.path.clone(), stat, self.scopes.clone());
        let (mut extra, mut namesakes) = (0, None);
        for entry in names(destination).at(Operation::ListDestination, at)? {
            let entry = entry.at(Operation::ListDestination, at)?;
            if let Some(watched) = &self.watched {
                watched.doing(Operation::ListDestination);
            }
            let (name, kind) = (entry.file_name(), kind_of(destination.as_fd(), &entry));
            if self.known.contains(name) {
                continue;
            }
            if self.is_extra(run, name, kind, destination, &stat)
                && !self.is_namesake(run, name, destination, &mut namesakes)?
            {
                extra += 1;
                if !run.is_own_path(&self.path.join(OsStr::from_bytes(name.to_bytes()))) {
                    doomed.add(name);
                }
            }
        }
        self.leave_sign(run, destination);
        let are_known = namesakes.is_none_or(|namesakes| namesakes.are_known());
        if !are_known || listed.saturating_sub(extra) < self.pair.compared() {
            // Where each name is listed as it was written, one that is missing in SRC now has vanished since it was mirrored.
            let cause = if self.pair.names.is_none() { Cause::VanishedSince } else { Cause::OtherNames };
            return Err(cause).at(Operation::Delete, at);
        }
        if run.config.delete.is_some() {
            doomed = run.deletions.without_vanished(doomed); // which is told already
        }
        if !doomed.is_empty() && run.config.delete.is_some() {
            refuse_changed(&self.pair.source, run).at(Operation::Delete, at)?;
            let place = Place::of(&self.pair.source);
            doomed.source = Some(place.at(Operation::StatSource, || run.source_path(&self.path))?);
        }
        Ok((!doomed.is_empty()).then_some(doomed))
    }

    /// Whether a name has no business there: the source lacks it, or hides it, and no rule protects it. What runs leave for
    /// the next one, and other runs are at work on, is none of these; a directory that a killed run set aside is.
    fn is_extra(&self, run: &Run, name: &CStr, kind: Kind, within: &OwnedFd, stat: &Stat) -> bool {
        if let Some(is_abandoned) = set_aside::is_abandoned(within, name, stat.inode, run) {
            return is_abandoned;
        }
        if run.temporary.is_ours(name.to_bytes(), stat.inode) {
            return self.is_left(run, (name, kind), within);
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
            Err(errno) => {
                let path = || self.path.join(OsStr::from_bytes(name.to_bytes()));
                errno == Errno::NOENT && !run.config.shared_with.iter().any(|other| has(other, &path()))
            }
            Ok(found) => {
                let kind = Kind::from(FileType::from_raw_mode(found.stx_mode.into()));
                let stands_for_it = kind == Kind::Symlink && run.config.symlinks.may_follow() && is_directory;
                let is_directory = kind == Kind::Directory || stands_for_it;
                self.scopes.first().is_some_and(|scope| scope.hides(name, is_directory))
            }
        }
    }

    /// Removes what a killed run has left under a temporary name since the directory was looked through, and tells whether it
    /// is a directory that is no mere litter. A name that another run is at work on is taken note of.
    fn is_left(&self, run: &Run, (name, kind): (&CStr, Kind), within: &OwnedFd) -> bool {
        let is_kept = is_partial(name.to_bytes()) && self.pair.broken_off.load(Ordering::Relaxed);
        if !matches!(kind, Kind::File | Kind::Directory) || is_kept {
            return false; // the others have such a name for microseconds
        }
        if !litter::is_abandoned(within, name, kind) {
            self.at_work.set(Some(name.to_owned()));
            return false;
        }
        if run.config.writes() {
            let before = stat_open(within);
            litter::remove_one(within, name, kind, run);
            if let Ok(Stat { modified, .. }) = before {
                self.set_time(run, within, modified);
            }
        }
        kind == Kind::Directory && is_there(within, name)
    }

    /// Where another run is at work on a name, the directory gets a time by which the next run looks for what that one may
    /// leave. Its own run, if it comes to its end, gives the directory its time after that name is gone.
    fn leave_sign(&self, run: &Run, within: &OwnedFd) {
        let name = self.at_work.take().filter(|_| run.config.writes());
        if let (Some(name), Ok(Stat { modified, changed, .. })) = (name, stat_open(within)) {
            self.set_time(run, within, changed);
            if !is_there(within, &name) {
                self.set_time(run, within, modified);
            }
        }
    }

    fn set_time(&self, run: &Run, within: &OwnedFd, modified: Time) {
        if run.rules.keep.times_of(Kind::Directory) {
            // A time that is refused now was refused before, and told.
            let at = || run.destination_path(&self.path);
            metadata::restore_mtime(HeldInode::Open(within.as_fd()), modified, at).ok();
        }
    }

    /// Whether a name that the source lacks may be one of the source's to the destination, which takes names for one. Other
    /// names than those that were found extra are not asked about: nothing is listed again where none is.
    fn is_namesake(
        &self,
        run: &Run,
        name: &CStr,
        within: &OwnedFd,
        known: &mut Option<Namesakes>,
    ) -> Result<bool> {
        if self.pair.names.is_none() {
            return Ok(false);
        }
        let namesakes = match known {
            Some(namesakes) => namesakes,
            None => {
                let source = (&*self.pair.source, || run.source_path(&self.path));
                let mirror = (within, || run.destination_path(&self.path));
                known.insert(Namesakes::find(source, mirror, |name, kind| self.is_kept(name, kind))?)
            }
        };
        namesakes.has(name, within).at(Operation::StatDestination, || run.destination_path(&self.path))
    }

    /// Whether what the mirror has of a name of the source stays: no rule hides it, or one protects it.
    fn is_kept(&self, name: &CStr, kind: Kind) -> bool {
        let is_directory = kind == Kind::Directory;
        !self.scopes.first().is_some_and(|scope| scope.hides(name, is_directory))
            || self.scopes.iter().any(|scope| scope.protects(name, is_directory, false))
    }
}

/// Tells that the mirror of a directory that is not read, since it lies on another file system, keeps what it has.
pub(crate) async fn tell_kept(directory: &Directory, pair: &Arc<Pair>, lane: &Lane) {
    let Some(destination) = pair.destination.clone() else { return };
    let path = lane.run.destination_path(&directory.path());
    let counted =
        in_thread(lane, move |_| count(&destination).at(Operation::ListDestination, || &path)).await;
    let path = lane.run.destination_path(&directory.path());
    match counted {
        Ok(0) => {}
        Ok(entries) => lane.run.report(Event::Notice(Notice::Kept { path, entries: entries as u64 })).await,
        Err(error) => lane.run.report(Event::Failed(error)).await,
    }
}

fn is_there(within: &OwnedFd, name: &CStr) -> bool {
    rustix::fs::statx(within, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).is_ok()
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
