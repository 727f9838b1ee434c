//! What the destination has beyond the source, found in a comparison when a directory is done: its mirror is listed, and
//! if it has more names than were compared, each one is looked up in the source. No list of names is kept.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::directory::Directory;
use super::item::Item;
use super::pair::Pair;
use super::worker::Lane;
use super::{Run, panicked};
use crate::error::{Context, Error, Operation, Result};
use crate::io::path::open_directory;
use crate::plan::entry::{Kind, Stat};
use crate::report::event::{Action, Entries, EntryEvent, Event};
use crate::select::Scope;

/// Extra entries that are reported together.
const CHUNK: usize = 256;

const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Reports what the mirror of a directory has beyond it.
pub(crate) async fn report(directory: &Directory, pair: &Arc<Pair>, lane: &Lane) {
    let Some(destination) = pair.destination.clone() else { return };
    let (pair, path, scope) = (pair.clone(), directory.path(), directory.scope().cloned());
    let listed = in_thread(lane, move |run| {
        let count = count(&destination).at(Operation::ListDestination, || run.destination_path(&path))?;
        if count == pair.compared() {
            return Ok(());
        }
        let is_extra = |name: &CStr, kind: Kind| is_extra(&pair.source, name, kind, scope.as_deref());
        Extras::new(run, path).report(destination.as_fd(), is_extra)
    });
    if let Err(error) = listed.await {
        lane.run.report(Event::Failed(error)).await;
    }
}

/// Whether a name of the destination has no business there: the source lacks it, or hides it, and no rule protects it.
pub(super) fn is_extra(source: &OwnedFd, name: &CStr, kind: Kind, scope: Option<&Scope>) -> bool {
    let is_directory = kind == Kind::Directory;
    if scope.is_some_and(|scope| scope.protects(name, is_directory, false)) {
        return false;
    }
    match rustix::fs::statx(source, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
        Err(errno) => errno == Errno::NOENT,
        Ok(stat) => scope.is_some_and(|scope| {
            scope.hides(name, Kind::from(FileType::from_raw_mode(stat.stx_mode.into())) == Kind::Directory)
        }),
    }
}

/// Reports what is in a directory that has the name of something else.
pub(crate) async fn report_in_the_way(item: &Item<'_>) -> Result<()> {
    let path = item.directory.path_of(item.target());
    let (within, name) = (item.within()?.clone(), item.target().to_owned());
    in_thread(item.lane, move |run| {
        let directory = rustix::fs::openat(within, &name, LIST, Mode::empty());
        let directory = directory.at(Operation::ListDestination, || run.destination_path(&path))?;
        Extras::new(run, path).report(directory.as_fd(), |_, _| true)
    })
    .await
}

/// Listing waits for the disk: it must not hold up the other tasks of this thread.
pub(super) async fn in_thread(
    lane: &Lane,
    work: impl FnOnce(&Run) -> Result<()> + Send + 'static,
) -> Result<()> {
    let run = lane.run.clone();
    match tokio::task::spawn_blocking(move || work(&run)).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(panicked(panic.as_ref())),
            Err(_) => Ok(()), // the runtime ends before it was begun: the run was stopped
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

fn count(directory: &OwnedFd) -> rustix::io::Result<usize> {
    names(directory)?.try_fold(0, |count, entry| entry.map(|_| count + 1))
}

/// Extra entries on their way to the reporter.
struct Extras<'a> {
    run: &'a Run,
    /// The directory that is being listed, below the roots.
    path: PathBuf,
    events: Vec<EntryEvent>,
}

impl<'a> Extras<'a> {
    fn new(run: &'a Run, path: PathBuf) -> Self {
        Extras { run, path, events: Vec::new() }
    }

    /// Reports the entries of `directory` that are extra, each subdirectory among them with all that is in it. One that
    /// can't be listed is an error of its own.
    fn report(mut self, directory: BorrowedFd<'_>, is_extra: impl Fn(&CStr, Kind) -> bool) -> Result<()> {
        let at = |this: &Self| this.run.destination_path(&this.path);
        let listed = self.list(directory, is_extra);
        // From the first directory down to the one that is being listed: subdirectories still to come. Each is opened from
        // the first: none stays open meanwhile.
        let mut levels = vec![listed.at(Operation::ListDestination, || at(&self))?];
        let mut below = PathBuf::new();
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.pop() else {
                levels.pop();
                self.path.pop();
                below.pop();
                continue;
            };
            if self.run.stop.is_stopped() {
                break;
            }
            self.path.push(std::ffi::OsStr::from_bytes(name.to_bytes()));
            below.push(std::ffi::OsStr::from_bytes(name.to_bytes()));
            let opened = open_directory(directory, below.as_os_str().as_bytes());
            let opened = opened.and_then(|fd| rustix::fs::openat(fd, c".", LIST, Mode::empty()));
            match opened.and_then(|fd| self.list(fd.as_fd(), |_, _| true)) {
                Ok(subdirectories) => levels.push(subdirectories),
                Err(errno) => {
                    let error = Error::new(Operation::ListDestination, at(&self), errno);
                    self.run.report_blocking(Event::Failed(error));
                    self.path.pop();
                    below.pop();
                }
            }
        }
        Ok(())
    }

    /// Reports the extra entries of one directory, and returns the subdirectories among them.
    fn list(
        &mut self,
        directory: BorrowedFd<'_>,
        is_extra: impl Fn(&CStr, Kind) -> bool,
    ) -> rustix::io::Result<Vec<CString>> {
        let mut subdirectories = Vec::new();
        for entry in names(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = kind_of(directory, &entry);
            if !is_extra(name, kind) {
                continue;
            }
            if kind == Kind::Directory {
                subdirectories.push(name.to_owned());
            }
            self.events.push(EntryEvent::done(kind, Action::Deleted).named(name.to_owned()));
            if self.events.len() == CHUNK {
                self.send();
            }
        }
        self.send();
        Ok(subdirectories)
    }

    fn send(&mut self) {
        if !self.events.is_empty() {
            let entries = Entries { directory: self.path.clone(), events: std::mem::take(&mut self.events) };
            self.run.report_blocking(Event::Entries(vec![entries]));
        }
    }
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
