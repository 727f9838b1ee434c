//! Removing entries of the destination on several threads at once: a stack of directories and of names that any thread
//! takes from, the newest first. A directory goes when the last of what is in it has gone.
//!
//! Every directory is opened beneath the one above it, never through a symlink. Where descriptors are scarce those above
//! are closed, and opened again by their names.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::delete::quota::Quota;
use crate::engine::delete::subtree::Subtree;
use crate::engine::delete::work_stack::{Searching, Stack};
use crate::engine::own::refused::explain_frozen;
use crate::engine::own::set_aside;
use crate::engine::state::backups::Backups;
use crate::engine::state::deletions::Doomed;
use crate::engine::state::watched::Watched;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Action, Entries, EntryEvent, Event, Kind, Notice};
use crate::io::limits::descriptor_limit;
use crate::io::list::{kind_of, kind_of_name, names};
use crate::io::path::open_to_list;
use crate::stat::{Inode, Stat, stat_open};

/// Names that a thread takes at a time.
const CHUNK: usize = 256;
/// With more work waiting a thread does what it finds itself.
const ENOUGH: usize = 64;

/// What is done to what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It is counted.
    Count,
    /// It is reported: a dry run.
    Show,
    Remove,
}

/// What a removal came to.
#[derive(Default)]
pub(crate) struct Removed {
    /// Entries that were, or would be, removed.
    pub(crate) count: u64,
    /// Something stays that is in a directory which would have gone.
    pub(crate) kept: bool,
    /// Entries that stay, since as many were removed as may be.
    pub(crate) skipped: u64,
    /// The first error of a count, which reports none.
    pub(crate) trouble: Option<Error>,
}

/// A removal at work.
pub(crate) struct Removal<'a> {
    pub(crate) run: &'a Run,
    pub(crate) doing: Doing,
    threads: usize,
    pub(crate) watched: Option<&'a Watched>,
    /// Directories that may be open.
    limit: usize,
    /// What may lie in the place of the first directory: another one is not emptied.
    pub(crate) expected: Option<Inode>,
    /// What is mounted in what goes is not touched, and keeps it.
    pub(crate) keeps_mounts: bool,
    pub(crate) open: AtomicUsize,
    count: AtomicU64,
    /// Entries that are gone and that no event tells of.
    pub(crate) untold: AtomicU64,
    pub(crate) kept: AtomicBool,
    trouble: Mutex<Option<Error>>,
    /// How many may be removed, one after the other in rsync's order.
    quota: Option<Quota>,
    stack: Stack<Chore<'a>>,
}

impl<'a> Removal<'a> {
    pub(crate) fn of(run: &'a Run, doing: Doing) -> Self {
        let (open, kept) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (count, untold) = (AtomicU64::new(0), AtomicU64::new(0));
        let (limit, trouble) = (descriptor_limit() / 8, Mutex::default());
        let (threads, watched, stack) = (run.offers.len(), None, Stack::default());
        let (expected, keeps_mounts, quota) = (None, false, None);
        Removal {
            run,
            doing,
            threads,
            watched,
            limit,
            expected,
            keeps_mounts,
            open,
            count,
            untold,
            kept,
            trouble,
            quota,
            stack,
        }
    }

    /// No more than this, in rsync's order: each directory's entries backwards, all that is in one before the next.
    pub(crate) fn first(self, most: u64) -> Self {
        let quota = Some(Quota::of(most));
        Removal { quota, threads: 1, ..self }
    }

    /// Of the one directory that is in the place of something else: what is mounted in it keeps it, and a directory that
    /// is not the `expected` one is left alone.
    pub(crate) fn of_one(self, expected: Option<Inode>) -> Self {
        Removal { expected, keeps_mounts: true, ..self }
    }

    /// On this many threads; otherwise there are as many as copy.
    pub(crate) fn threads(self, threads: usize) -> Self {
        Removal { threads, ..self }
    }

    /// Tells this thread's watchdog that it goes on.
    pub(crate) fn watched(self, watched: Option<&'a Watched>) -> Self {
        Removal { watched, ..self }
    }

    /// Removes what is doomed.
    pub(crate) fn run(self, doomed: &'a [Doomed]) -> Removed {
        for doomed in doomed {
            self.stack.push(Chore::Doomed(doomed));
        }
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                // Where there can be no more threads, fewer do the work.
                std::thread::Builder::new().name("remove".into()).spawn_scoped(scope, || self.work()).ok();
            }
            self.work();
        });
        let untold = self.untold.into_inner();
        if untold > 0 {
            self.run.report_blocking(Event::Deleted(untold));
        }
        let trouble = self.trouble.into_inner().unwrap_or_else(PoisonError::into_inner);
        let skipped = self.quota.map_or(0, Quota::into_skipped);
        let count = self.count.into_inner() + untold;
        Removed { count, kept: self.kept.into_inner(), skipped, trouble }
    }
}

enum Chore<'a> {
    /// A directory that stays, with names in it that do not.
    Doomed(&'a Doomed),
    /// A directory in another one that is to be emptied, and goes.
    Directory(Arc<Subtree>, CString),
    /// Some names in one, that are no directories.
    Names(Arc<Subtree>, Vec<(CString, Kind)>),
}

impl<'a> Removal<'a> {
    fn work(&self) {
        while let Some(work) = self.stack.take() {
            let _at_work = Searching(&self.stack);
            // What is left after a stop is only let go of.
            let result = match work {
                Chore::Doomed(doomed) => self.begin(doomed),
                Chore::Directory(above, name) => {
                    let subtree = self.below(above, name);
                    self.empty(&subtree);
                    self.release(subtree);
                    Ok(())
                }
                Chore::Names(subtree, names) => {
                    self.remove_names(&subtree, &names);
                    self.release(subtree);
                    Ok(())
                }
            };
            if let Err(error) = result {
                self.kept.store(true, Ordering::Relaxed);
                self.fail(error);
            }
        }
    }

    /// Reports an error; a count keeps the first one.
    pub(crate) fn fail(&self, error: Error) {
        if self.doing == Doing::Count {
            self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        } else {
            self.run.report_blocking(Event::Failed(error));
        }
    }

    fn is_stopped(&self) -> bool {
        if let Some(watched) = self.watched {
            watched.doing(Operation::Remove);
        }
        self.run.stop.is_stopped() || self.watched.is_some_and(Watched::is_lost)
    }

    /// Finds a directory again, and begins with what is extra in it.
    fn begin(&self, doomed: &'a Doomed) -> Result<()> {
        let path = || self.run.destination_path(&doomed.path);
        let root = self.run.roots.destination.fd.as_ref().ok_or(Errno::NOENT).at(Operation::Remove, path)?;
        let keeps_links = self.run.config.symlinks.keep_directory_links;
        let opened = match keeps_links {
            false => open_to_list(root, doomed.path.as_os_str().as_bytes()).map_err(Cause::from),
            true => self.run.hold_in_destination(&doomed.path).and_then(|held| Ok(open_to_list(&held, b"")?)),
        };
        let fd = Arc::new(opened.at(Operation::OpenDestination, path)?);
        let now = stat_open(&fd).at(Operation::StatDestination, path)?;
        let inode = now.inode;
        if inode != doomed.inode {
            return Err(Errno::STALE).at(Operation::OpenDestination, path);
        }
        // Another run may have been done with it meanwhile.
        let after = Stat { modified: now.modified, ..doomed.stat };
        let subtree = Arc::new(Subtree {
            above: None,
            name: CString::default(),
            is_aside: AtomicBool::new(false),
            depth: 0,
            fd: Mutex::new(Some(fd.clone())),
            inode: Mutex::new(Some(inode)),
            pending: AtomicUsize::new(1),
            kept: AtomicBool::new(false),
            path: doomed.path.clone(),
            scopes: OnceLock::from(doomed.scopes.clone()),
            mode: Mutex::default(),
            after: Some(after),
        });
        // What a symlink of the destination stands for was mirrored, under another path.
        let place = self.run.place_in_destination(&doomed.path);
        let is_mirror = |name: &CStr| {
            keeps_links && self.run.kept_links.are_in(&place.join(OsStr::from_bytes(name.to_bytes())))
        };
        let found = doomed
            .names()
            .filter(|name| !is_mirror(name))
            .map(|name| (name.to_owned(), kind_of_name(fd.as_fd(), name)));
        self.sort(&subtree, found);
        self.release(subtree);
        Ok(())
    }

    /// Takes up what a directory holds: directories are put on the stack, other names removed.
    fn sort(&self, subtree: &Arc<Subtree>, found: impl Iterator<Item = (CString, Kind)>) {
        if self.quota.is_some() {
            return self.put_in_order(subtree, found);
        }
        let mut names = Vec::new();
        for (name, kind) in found {
            if self.is_stopped() {
                subtree.kept.store(true, Ordering::Relaxed);
                return;
            }
            if kind == Kind::Directory {
                subtree.hold();
                self.stack.push(Chore::Directory(subtree.clone(), name));
                continue;
            }
            names.push((name, kind));
            if names.len() == CHUNK {
                let names = std::mem::take(&mut names);
                if self.stack.has(ENOUGH) {
                    self.remove_names(subtree, &names);
                } else {
                    subtree.hold();
                    self.stack.push(Chore::Names(subtree.clone(), names));
                }
            }
        }
        self.remove_names(subtree, &names);
    }

    /// Puts what a directory holds on the stack, one by one: directories are taken from it first, the last name first.
    fn put_in_order(&self, subtree: &Arc<Subtree>, found: impl Iterator<Item = (CString, Kind)>) {
        let mut found: Vec<_> = found.collect();
        found.sort_unstable_by(|(one, of_one), (other, of_other)| {
            let is_directory = |kind: &Kind| *kind == Kind::Directory;
            is_directory(of_one).cmp(&is_directory(of_other)).then_with(|| one.cmp(other))
        });
        for (name, kind) in found {
            subtree.hold();
            self.stack.push(match kind {
                Kind::Directory => Chore::Directory(subtree.clone(), name),
                kind => Chore::Names(subtree.clone(), vec![(name, kind)]),
            });
        }
    }

    fn below(&self, above: Arc<Subtree>, name: CString) -> Arc<Subtree> {
        Arc::new(Subtree {
            scopes: OnceLock::new(),
            mode: Mutex::default(),
            depth: above.depth + 1,
            above: Some(above),
            name,
            is_aside: AtomicBool::new(false),
            fd: Mutex::default(),
            inode: Mutex::default(),
            pending: AtomicUsize::new(1),
            kept: AtomicBool::new(false),
            path: PathBuf::new(),
            after: None,
        })
    }

    /// Lists a directory that is to go, and takes up all that is in it and not protected.
    fn empty(&self, subtree: &Arc<Subtree>) {
        if self.is_stopped() {
            subtree.kept.store(true, Ordering::Relaxed);
            return;
        }
        let opened = self.open(subtree);
        if let Ok(fd) = &opened {
            match self.is_mounted(subtree, fd, c"") {
                true => return self.keep_mount(subtree, subtree.path()),
                false => {
                    let holds = |above| set_aside::holds(&subtree.name, fd, above, self.run);
                    subtree.is_aside.store(subtree.above_inode().is_some_and(holds), Ordering::Relaxed);
                }
            }
        }
        if let Ok(fd) = &opened
            && let Err(error) = subtree.enter(fd, self.run.config.select.has_files())
        {
            // What can't be read may protect anything.
            subtree.kept.store(true, Ordering::Relaxed);
            return self.fail(error);
        }
        let listed = opened.and_then(|fd| {
            let mut failed = None;
            let found = names(&fd)?.map_while(|entry| entry.map_err(|errno| failed = Some(errno)).ok());
            let found = found.map(|entry| (entry.file_name().to_owned(), kind_of(fd.as_fd(), &entry)));
            let found = found.filter(|(name, kind)| {
                let stays = self.stays(subtree, name, *kind);
                subtree.kept.fetch_or(stays, Ordering::Relaxed);
                !stays
            });
            self.sort(subtree, found);
            failed.map_or(Ok(()), Err)
        });
        // One that is not there any more was removed by somebody else.
        if let Err(errno) = listed
            && errno != Errno::NOENT
        {
            subtree.kept.store(true, Ordering::Relaxed);
            if errno != Errno::XDEV {
                let path = self.run.destination_path(&subtree.path());
                self.fail(Error::new(Operation::ListDestination, path, errno));
            }
        }
        let stays_open = subtree.depth.is_multiple_of(self.run.directories.longest_gap(subtree.depth));
        if self.open.load(Ordering::Relaxed) > self.limit && !stays_open {
            self.close(subtree);
        }
    }

    /// Whether an entry of a directory that is to go is not to be deleted.
    fn stays(&self, subtree: &Subtree, name: &CStr, kind: Kind) -> bool {
        if subtree.is_aside.load(Ordering::Relaxed) {
            return false; // its successor is there
        }
        let is_backup = |backups: &Backups| kind != Kind::Directory && backups.is_backup(name);
        self.run.backups.as_ref().is_some_and(is_backup)
            || subtree.scopes().iter().any(|scope| scope.protects(name, kind == Kind::Directory, true))
    }

    fn remove_names(&self, subtree: &Subtree, names: &[(CString, Kind)]) {
        let mut events = Vec::new();
        let (quiet, mut gone) = (self.quiet(subtree), 0);
        for (name, kind) in names {
            if self.is_stopped() {
                subtree.kept.store(true, Ordering::Relaxed);
                break;
            }
            if self.goes_quietly(quiet.as_ref(), name, AtFlags::empty()) {
                gone += 1;
                continue;
            }
            let mounted = || subtree.fd().is_ok_and(|fd| self.is_mounted(subtree, &fd, name));
            if self.keeps_mounts(subtree) && mounted() {
                self.keep_mount(subtree, subtree.path_of(name));
                continue;
            }
            events.extend(self.remove_name(subtree, name, *kind, AtFlags::empty()));
        }
        self.untold.fetch_add(gone, Ordering::Relaxed);
        self.report(subtree.path(), events);
    }

    /// Removes one name. `None`: there is nothing to tell.
    fn remove_name(&self, subtree: &Subtree, name: &CStr, kind: Kind, flags: AtFlags) -> Option<EntryEvent> {
        if self.quota.as_ref().is_some_and(|quota| !quota.takes()) {
            subtree.kept.store(true, Ordering::Relaxed);
            return None;
        }
        let removed = if self.doing == Doing::Remove { self.unlink(subtree, name, flags) } else { Ok(()) };
        let event = match removed {
            Ok(()) => {
                let stays = |backups: &Backups| kind != Kind::Directory && backups.stay();
                subtree.kept.fetch_or(self.run.backups.as_ref().is_some_and(stays), Ordering::Relaxed);
                EntryEvent::done(kind, Action::Deleted)
            }
            Err(error) if error.errno() == Some(Errno::NOENT) => return None, // somebody else was quicker
            Err(error) => {
                subtree.kept.store(true, Ordering::Relaxed);
                let error = match subtree.fd() {
                    Ok(within) => explain_frozen(error, (&within, name)),
                    Err(_) => error,
                };
                EntryEvent::failed(kind, error)
            }
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(event.named(name.to_owned()))
    }

    /// Says that a directory stays, if that is wanted. As in rsync one below another is tried all the same, which is told once
    /// more, or counts as one more that is too many.
    fn tell_kept(&self, subtree: &Subtree) {
        if self.doing == Doing::Count || self.is_stopped() {
            return;
        }
        let is_told = self.run.config.delete.is_some_and(|delete| delete.tells_kept);
        let is_nested = subtree.depth > 1;
        let is_too_many = is_nested && self.quota.as_ref().is_some_and(Quota::skips);
        let times = if !is_told { 0 } else { 1 + usize::from(is_nested && !is_too_many) };
        for _ in 0..times {
            self.run.report_blocking(Event::Notice(Notice::NotEmpty(subtree.path())));
        }
    }

    fn report(&self, directory: PathBuf, mut events: Vec<EntryEvent>) {
        if self.doing == Doing::Remove {
            events.iter_mut().for_each(|event| self.run.heed(event));
        }
        if self.doing != Doing::Count && !events.is_empty() {
            self.run.report_blocking(Event::Entries(vec![Entries { directory, events }]));
        }
    }

    /// One piece of work in a directory is done. With the last one it goes itself, and so on up to the one that stays.
    fn release(&self, mut subtree: Arc<Subtree>) {
        while subtree.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            let Some(above) = subtree.above.clone() else {
                self.finish(&subtree);
                return;
            };
            if subtree.kept.load(Ordering::Relaxed) {
                self.tell_kept(&subtree);
                self.restore_mode(&subtree);
                self.close(&subtree);
                above.kept.store(true, Ordering::Relaxed);
            } else if subtree.is_aside.load(Ordering::Relaxed) {
                self.close(&subtree);
                self.remove_aside(&above, &subtree.name);
            } else {
                self.close(&subtree);
                if self.goes_quietly(self.quiet(&above).as_ref(), &subtree.name, AtFlags::REMOVEDIR) {
                    self.untold.fetch_add(1, Ordering::Relaxed);
                    subtree = above;
                    continue;
                }
                let event = self.remove_name(&above, &subtree.name, Kind::Directory, AtFlags::REMOVEDIR);
                self.report(above.path(), event.into_iter().collect());
            }
            subtree = above;
        }
    }
}
