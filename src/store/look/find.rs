//! Which snapshots a store has, and whether they have something under a path.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::path::open_entry;
use crate::store::layout::{LATEST, Layout};
use crate::store::name;
use crate::store::record::{self, Known, Record};
use crate::text::Escaped;

/// A snapshot that can be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Of its directory in the store.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// When it was begun, if its record or its name tells.
    pub started: Option<Timestamp>,
    /// What the store's record says of it, if it is there.
    pub record: Option<Record>,
}

impl Found {
    /// Whether something is known to be missing in it.
    pub fn is_partial(&self) -> bool {
        self.record.as_ref().is_some_and(|record| !record.complete)
    }

    /// Holds what it has under a path, whatever that is. Symlinks are not followed, neither at the end of the path nor before.
    /// `None`: it has nothing there.
    pub(super) fn hold(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::openat(CWD, &self.path, flags, Mode::empty());
        let top = top.at(Operation::UseStore, || &self.path)?;
        if path.as_os_str().is_empty() {
            return Ok(Some(top));
        }
        match open_entry(&top, path.as_os_str().as_bytes()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            held => held.map(Some).at(Operation::FindPath, || self.path.join(path)),
        }
    }

    /// Whether it has something under a path. What can't be looked at is not there.
    pub fn has(&self, path: &Path) -> bool {
        matches!(self.hold(path), Ok(Some(_)))
    }
}

/// The snapshots of a store, as they are now.
#[derive(Debug)]
#[non_exhaustive]
pub struct View {
    /// The oldest first.
    pub snapshots: Vec<Found>,
    /// Directories that are named by time, or have a manifest, and that a record does not tell of: it was lost, and begun anew.
    pub unrecorded: Vec<Found>,
    /// Why the record, or which lines of it, could not be read.
    pub unread: Vec<Error>,
    pub(super) layout: Layout,
}

impl View {
    /// Looks at a store. Without a record that this user can read, its snapshots are the directories that are named by time;
    /// where only some lines can't be read, these directories as well.
    ///
    /// # Errors
    /// When the directory can't be used, has neither a record nor a snapshot, or a record of a newer program.
    pub fn open(store: &Path) -> Result<Self> {
        let layout = Layout::new(store);
        std::fs::metadata(store).at(Operation::UseStore, || store)?;
        let mut view = View { snapshots: Vec::new(), unrecorded: Vec::new(), unread: Vec::new(), layout };
        match record::legible(&view.layout) {
            Ok(Known { snapshots, illegible, cut, .. }) if !snapshots.is_empty() => {
                let unread: Vec<Error> = illegible.into_iter().chain(cut).collect();
                view.snapshots = snapshots.into_iter().map(|record| view.of_record(record)).collect();
                let mut others = view.by_name().unwrap_or_default(); // of a store that can't be listed: none
                others.retain(|other| view.snapshots.iter().all(|found| found.name != other.name));
                match unread.is_empty() {
                    true => view.unrecorded = others,
                    false => view.insert(others),
                }
                view.unread = unread;
                return Ok(view);
            }
            Ok(known) => view.unread = known.illegible.into_iter().chain(known.cut).collect(),
            Err(error) if error.errno() == Some(Errno::ACCESS) => view.unread = vec![error],
            Err(error) => return Err(error),
        }
        view.snapshots = view.by_name()?;
        if view.snapshots.is_empty() && view.unread.is_empty() {
            let whole = store.canonicalize().unwrap_or_default();
            if let Some((around, name)) = Layout::around(&whole) {
                let (around, name) =
                    (Escaped::path(around.store()).to_string(), Escaped::name(name.as_ref()));
                return Err(view.refusal(format!("it is a snapshot, and no store: write {around}@{name}")));
            }
            view.layout.require()?;
        }
        Ok(view)
    }

    fn of_record(&self, record: Record) -> Found {
        let path = self.layout.snapshot(&record.name);
        Found { name: record.name.clone(), path, started: Some(record.started), record: Some(record) }
    }

    /// Puts snapshots whose lines can't be read among the others: each after those that were begun no later. The one that
    /// `latest` leads to is the last.
    fn insert(&mut self, others: Vec<Found>) {
        let latest = std::fs::read_link(self.layout.latest()).ok();
        let is_latest = |found: &Found| latest.as_deref() == Some(Path::new(&found.name));
        let (last, others): (Vec<Found>, Vec<Found>) = others.into_iter().partition(is_latest);
        // To the second: that, and the order in it, is all that names tell.
        let order = |found: &Found| (found.started.map(Timestamp::as_second), found.name.clone());
        for other in others {
            let at = self.snapshots.iter().rposition(|earlier| order(earlier) <= order(&other));
            self.snapshots.insert(at.map_or(0, |at| at + 1), other);
        }
        self.snapshots.extend(last);
    }

    /// Why this user can't read the record.
    pub(super) fn closed(&self) -> Option<&Error> {
        self.unread.iter().find(|error| error.errno() == Some(Errno::ACCESS))
    }

    /// Which lines of the record are damaged, and what to do.
    pub fn damage(&self) -> impl Iterator<Item = &Error> {
        self.unread.iter().filter(|error| error.errno() != Some(Errno::ACCESS))
    }

    /// The directories that are named by time, and those that have a manifest, by that time; the one that `latest` leads to, if
    /// it is called otherwise, is the last one.
    fn by_name(&self) -> Result<Vec<Found>> {
        let store = self.layout.store();
        let at = || store;
        let latest = self.layout.led_to().filter(|name| name::time(name).is_none());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(store).at(Operation::UseStore, at)? {
            let entry = entry.at(Operation::UseStore, at)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let started = name::time(&name);
            let is_snapshot = started.is_some()
                || name::refusal(name.as_ref()).is_none() && self.layout.has_manifest(&name);
            if is_snapshot
                && latest.as_ref() != Some(&name)
                && entry.file_type().at(Operation::UseStore, at)?.is_dir()
            {
                found.push(Found { path: self.layout.snapshot(&name), name, started, record: None });
            }
        }
        // What has no time for a name is nowhere the newest.
        found.sort_by(|one, other| (one.started, &one.name).cmp(&(other.started, &other.name)));
        if let Some(name) = latest {
            found.push(Found { path: self.layout.snapshot(&name), name, started: None, record: None });
        }
        Ok(found)
    }

    /// How many have no record, though there may be one: it was lost. `prune` does not see them, and `rebuild` takes them in.
    pub fn without_record(&self) -> usize {
        let lost = self.snapshots.iter().filter(|found| found.record.is_none() && self.unread.is_empty());
        self.unrecorded.len() + lost.count()
    }

    /// The newest one.
    ///
    /// # Errors
    /// When there is none.
    pub fn newest(&self) -> Result<&Found> {
        self.snapshots.last().ok_or_else(|| self.refusal("it has no snapshots".into()))
    }

    /// The newest one of which nothing is known to be missing.
    pub fn newest_complete(&self) -> Option<&Found> {
        self.snapshots.iter().rev().find(|found| !found.is_partial())
    }

    /// The newest one that has something under this path.
    pub fn newest_with(&self, path: &Path) -> Option<&Found> {
        self.snapshots.iter().rev().find(|found| found.has(path))
    }

    /// The one of this name, the newest one for `latest`, or for a day, as `2026-11-28`, the newest of that (UTC).
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &OsStr) -> Result<Found> {
        if name == LATEST {
            return self.newest().cloned();
        }
        if let Some(found) = self.snapshots.iter().find(|found| *found.name == *name) {
            return Ok(found.clone());
        }
        let is_of_day = |found: &&Found| {
            name.len() == "2026-11-28".len()
                && name::time(&found.name).is_some()
                && found.name.as_bytes().starts_with(name.as_bytes())
        };
        if let Some(found) = self.snapshots.iter().rev().find(is_of_day) {
            return Ok(found.clone());
        }
        let unrecorded = name.to_str().filter(|name| record::is_part_of_path(name));
        let unrecorded = unrecorded.map(|name| (name, self.layout.snapshot(name)));
        match unrecorded {
            Some((name, path)) if path.symlink_metadata().is_ok_and(|stat| stat.is_dir()) => {
                Ok(Found { name: name.into(), path, started: name::time(name), record: None })
            }
            _ => {
                let why =
                    format!("there is no snapshot {} (`list` shows those there are)", Escaped::name(name));
                Err(self.refusal(why))
            }
        }
    }

    pub(super) fn refusal(&self, why: String) -> Error {
        Error::new(Operation::UseStore, self.layout.store(), Cause::Refused(why))
    }

    /// Where the hashes of a snapshot's files are, if they are anywhere.
    pub(super) fn manifest(&self, found: &Found) -> PathBuf {
        self.layout.manifest(&found.name)
    }
}

/// A store, and after an `@` the snapshot that is meant. A directory that is called so as a whole is a store.
pub fn place(text: &Path) -> (PathBuf, Option<OsString>) {
    let bytes = text.as_os_str().as_bytes();
    let whole = || (text.to_path_buf(), None);
    if text.is_dir() {
        return whole();
    }
    let ats = (0..bytes.len()).rev().filter(|&at| bytes[at] == b'@');
    let split = |at: usize| (Path::new(OsStr::from_bytes(&bytes[..at])), &bytes[at + 1..]);
    let mut places = ats.map(split).filter(|(_, name)| !name.contains(&b'/'));
    let place = places.find(|(store, _)| store.is_dir());
    place.map_or_else(whole, |(store, name)| (store.to_path_buf(), Some(OsString::from_vec(name.to_vec()))))
}

/// A path below the top of a snapshot, as names alone: without `.` and slashes at its ends.
///
/// # Errors
/// When it leads out of the snapshot: it has `..` in it.
pub fn within(path: &Path) -> Result<PathBuf> {
    let is_part = |part: &Component<'_>| !matches!(part, Component::CurDir | Component::RootDir);
    let names = path.components().filter(is_part);
    let names = names.map(|component| match component {
        Component::Normal(name) => Ok(name),
        _ => {
            let why = "paths in a snapshot begin at its top, and have no `..`";
            Err(Error::new(Operation::FindPath, path, Cause::Refused(why.into())))
        }
    });
    names.collect()
}
