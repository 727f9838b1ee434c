//! Removing entries of the destination on several threads at once: a stack of directories and of names that any thread
//! takes from, the newest first. A directory goes when the last of what is in it has gone.
//!
//! Every directory is opened beneath the one above it, never through a symlink. Where descriptors are scarce those above
//! are closed, and opened again by their names.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::Run;
use super::backup::{Backups, Old};
use super::emptying::Node;
use super::extra::{LIST, kind_of, kind_of_name, names};
use super::stack::{AtWork, Stack};
use super::watch::Watched;
use crate::error::{Context, Error, Operation, Result};
use crate::io::path::open_to_list;
use crate::io::stat_open;
use crate::metadata::{self, Target, proc_path};
use crate::plan::delete::Doomed;
use crate::plan::entry::Kind;
use crate::report::event::{Action, Entries, EntryEvent, Event};

/// Names that a thread takes at a time.
const CHUNK: usize = 256;
/// With more work waiting a thread does what it finds itself.
const ENOUGH: usize = 64;

/// What is done to what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It is counted.
    Count,
    /// It is reported: a dry run.
    Show,
    Remove,
}

/// What a removal came to.
#[derive(Default)]
pub(super) struct Removed {
    /// Entries that were, or would be, removed.
    pub(super) count: u64,
    /// Something stays that is in a directory which would have gone.
    pub(super) kept: bool,
    /// The first error of a count, which reports none.
    pub(super) trouble: Option<Error>,
}

/// A removal at work.
pub(super) struct Removal<'a> {
    run: &'a Run,
    doing: Doing,
    threads: usize,
    watched: Option<&'a Watched>,
    /// Directories that may be open.
    limit: usize,
    open: AtomicUsize,
    count: AtomicU64,
    kept: AtomicBool,
    trouble: Mutex<Option<Error>>,
    stack: Stack<Work<'a>>,
}

impl<'a> Removal<'a> {
    pub(super) fn of(run: &'a Run, doing: Doing) -> Self {
        let (open, count, kept) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let (limit, trouble) = (super::limits::descriptor_limit() / 8, Mutex::default());
        let (threads, watched, stack) = (run.offers.len(), None, Stack::default());
        Removal { run, doing, threads, watched, limit, open, count, kept, trouble, stack }
    }

    /// On so many threads; otherwise there are as many as copy.
    pub(super) fn threads(self, threads: usize) -> Self {
        Removal { threads, ..self }
    }

    /// Tells this thread's watchdog that it goes on.
    pub(super) fn watched(self, watched: Option<&'a Watched>) -> Self {
        Removal { watched, ..self }
    }

    /// Removes what is doomed.
    pub(super) fn run(self, doomed: &'a [Doomed]) -> Removed {
        for doomed in doomed {
            self.stack.push(Work::Doomed(doomed));
        }
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                // Where there can be no more threads, fewer do the work.
                std::thread::Builder::new().name("remove".into()).spawn_scoped(scope, || self.work()).ok();
            }
            self.work();
        });
        let trouble = self.trouble.into_inner().unwrap_or_else(PoisonError::into_inner);
        Removed { count: self.count.into_inner(), kept: self.kept.into_inner(), trouble }
    }
}

enum Work<'a> {
    /// A directory that stays, with names in it that do not.
    Doomed(&'a Doomed),
    /// A directory in another one that is to be emptied, and goes; and what it is called in reports.
    Directory(Arc<Node>, CString, Option<CString>),
    /// Some names in one, that are no directories.
    Names(Arc<Node>, Vec<(CString, Kind)>),
}

impl<'a> Removal<'a> {
    fn work(&self) {
        while let Some(work) = self.stack.take() {
            let _at_work = AtWork(&self.stack);
            // What is left after a stop is only let go of.
            let result = match work {
                Work::Doomed(doomed) => self.begin(doomed),
                Work::Directory(above, name, shown) => {
                    let node = self.below(above, name, shown);
                    self.empty(&node);
                    self.release(node);
                    Ok(())
                }
                Work::Names(node, names) => {
                    self.remove_names(&node, &names);
                    self.release(node);
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
    fn fail(&self, error: Error) {
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
        let opened = open_to_list(root, doomed.path.as_os_str().as_bytes());
        let fd = Arc::new(opened.at(Operation::OpenDestination, path)?);
        let inode = stat_open(&fd).at(Operation::StatDestination, path)?.inode;
        if inode != doomed.inode {
            return Err(Errno::STALE).at(Operation::OpenDestination, path);
        }
        let node = Arc::new(Node {
            above: None,
            name: CString::default(),
            shown: None,
            depth: 0,
            fd: Mutex::new(Some(fd.clone())),
            inode: Mutex::new(Some(inode)),
            pending: AtomicUsize::new(1),
            kept: AtomicBool::new(false),
            path: doomed.path.clone(),
            scopes: OnceLock::from(doomed.scopes.clone()),
            mode: Mutex::default(),
            after: Some(doomed.stat),
        });
        let found = doomed.names().map(|name| (name.to_owned(), kind_of_name(fd.as_fd(), name)));
        self.sort(&node, found, doomed.shown.as_ref());
        self.release(node);
        Ok(())
    }

    /// Takes up what a directory holds: directories are put on the stack, other names removed.
    fn sort(&self, node: &Arc<Node>, found: impl Iterator<Item = (CString, Kind)>, shown: Option<&CString>) {
        let mut names = Vec::new();
        for (name, kind) in found {
            if self.is_stopped() {
                node.kept.store(true, Ordering::Relaxed);
                return;
            }
            if kind == Kind::Directory {
                node.hold();
                self.stack.push(Work::Directory(node.clone(), name, shown.cloned()));
                continue;
            }
            names.push((name, kind));
            if names.len() == CHUNK {
                let names = std::mem::take(&mut names);
                if self.stack.has(ENOUGH) {
                    self.remove_names(node, &names);
                } else {
                    node.hold();
                    self.stack.push(Work::Names(node.clone(), names));
                }
            }
        }
        self.remove_names(node, &names);
    }

    fn below(&self, above: Arc<Node>, name: CString, shown: Option<CString>) -> Arc<Node> {
        Arc::new(Node {
            scopes: OnceLock::new(),
            mode: Mutex::default(),
            depth: above.depth + 1,
            above: Some(above),
            name,
            shown,
            fd: Mutex::default(),
            inode: Mutex::default(),
            pending: AtomicUsize::new(1),
            kept: AtomicBool::new(false),
            path: PathBuf::new(),
            after: None,
        })
    }

    /// Lists a directory that is to go, and takes up all that is in it and not protected.
    fn empty(&self, node: &Arc<Node>) {
        if self.is_stopped() {
            node.kept.store(true, Ordering::Relaxed);
            return;
        }
        let opened = self.open(node);
        if let Ok(fd) = &opened
            && let Err(error) = node.enter(fd, self.run.config.select.has_files())
        {
            // What can't be read may protect anything.
            node.kept.store(true, Ordering::Relaxed);
            return self.fail(error);
        }
        let listed = opened.and_then(|fd| {
            let mut failed = None;
            let found = names(&fd)?.map_while(|entry| entry.map_err(|errno| failed = Some(errno)).ok());
            let found = found.map(|entry| (entry.file_name().to_owned(), kind_of(fd.as_fd(), &entry)));
            let found = found.filter(|(name, kind)| {
                let stays = self.stays(node, name, *kind);
                node.kept.fetch_or(stays, Ordering::Relaxed);
                !stays
            });
            self.sort(node, found, None);
            failed.map_or(Ok(()), Err)
        });
        if let Err(errno) = listed {
            node.kept.store(true, Ordering::Relaxed);
            if errno != Errno::XDEV {
                let path = self.run.destination_path(&node.path());
                self.fail(Error::new(Operation::ListDestination, path, errno));
            }
        }
        let is_landing = node.depth.is_multiple_of(self.run.directories.longest_flight(node.depth));
        if self.open.load(Ordering::Relaxed) > self.limit && !is_landing {
            self.close(node);
        }
    }

    /// Whether an entry of a directory that is to go is not to be deleted.
    fn stays(&self, node: &Node, name: &CStr, kind: Kind) -> bool {
        let is_backup = |backups: &Backups| kind != Kind::Directory && backups.is_backup(name);
        self.run.backups.as_ref().is_some_and(is_backup)
            || node.scopes().iter().any(|scope| scope.protects(name, kind == Kind::Directory, true))
    }

    /// Opens a directory beneath the one above it; `EXDEV`: it is one of another file system, which stays. If need be after giving its owner, who is not root, the right to.
    fn open(&self, node: &Node) -> rustix::io::Result<Arc<OwnedFd>> {
        let above = node.above.as_ref().ok_or(Errno::BADF)?.fd()?;
        let open = || rustix::fs::openat(&above, &node.name, LIST, Mode::empty());
        let fd = match open() {
            Err(Errno::ACCESS) if self.doing == Doing::Remove => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let handle = rustix::fs::openat(&above, &node.name, flags, Mode::empty())?;
                let had = stat_open(&handle)?.mode;
                node.mode.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(had);
                let mode = Mode::from_raw_mode(had) | Mode::RWXU;
                rustix::fs::chmodat(CWD, proc_path(&handle), mode, AtFlags::empty())?;
                open()?
            }
            other => other?,
        };
        let fd = Arc::new(fd);
        let inode = stat_open(&fd)?.inode;
        let elsewhere = || stat_open(&above).is_ok_and(|above| above.inode.device != inode.device);
        if self.run.config.select.one_file_system && elsewhere() {
            return Err(Errno::XDEV);
        }
        *node.inode.lock().unwrap_or_else(PoisonError::into_inner) = Some(inode);
        *node.fd.lock().unwrap_or_else(PoisonError::into_inner) = Some(fd.clone());
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(fd)
    }

    fn close(&self, node: &Node) {
        if node.fd.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn remove_names(&self, node: &Node, names: &[(CString, Kind)]) {
        let mut events = Vec::new();
        for (name, kind) in names {
            if self.is_stopped() {
                node.kept.store(true, Ordering::Relaxed);
                break;
            }
            events.extend(self.remove_name(node, name, *kind, AtFlags::empty()));
        }
        self.report(node.path(), events);
    }

    /// Removes one name. `None`: there is nothing to tell.
    fn remove_name(&self, node: &Node, name: &CStr, kind: Kind, flags: AtFlags) -> Option<EntryEvent> {
        let removed = if self.doing == Doing::Remove { self.unlink(node, name, flags) } else { Ok(()) };
        let event = match removed {
            Ok(()) => {
                let stays = |backups: &Backups| kind != Kind::Directory && backups.stay();
                node.kept.fetch_or(self.run.backups.as_ref().is_some_and(stays), Ordering::Relaxed);
                EntryEvent::done(kind, Action::Deleted)
            }
            Err(error) if error.errno() == Some(Errno::NOENT) => return None, // somebody else was quicker
            Err(error) => {
                node.kept.store(true, Ordering::Relaxed);
                EntryEvent::failed(kind, error)
            }
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(event.named(name.to_owned()))
    }

    /// Where the directory forbids it to its own owner, who is not root, it is opened to the owner first.
    fn unlink(&self, node: &Node, name: &CStr, flags: AtFlags) -> Result<()> {
        let path = || self.run.destination_path(&node.path_of(name));
        let fd = node.fd().at(Operation::Remove, path)?;
        let remove = || {
            if self.run.backups.is_none() || flags.contains(AtFlags::REMOVEDIR) {
                return rustix::fs::unlinkat(&fd, name, flags).at(Operation::Remove, path);
            }
            let (directory, watched) = (&node.path(), self.watched);
            let (lies_at, source) = (directory.as_path(), None);
            Old { run: self.run, within: &fd, directory, lies_at, source, name, watched }.take_away()
        };
        match remove() {
            Err(error) if error.errno() == Some(Errno::ACCESS) && !self.run.rules.privileges.root => {
                let had = stat_open(&fd).at(Operation::Remove, path)?.mode;
                node.mode.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(had);
                let mode = Mode::from_raw_mode(had) | Mode::RWXU;
                let opened = rustix::fs::chmodat(CWD, proc_path(&fd), mode, AtFlags::empty());
                opened.map_err(|_| error).and_then(|()| remove())
            }
            other => other,
        }
    }

    fn report(&self, directory: PathBuf, events: Vec<EntryEvent>) {
        if self.doing != Doing::Count && !events.is_empty() {
            self.run.report_blocking(Event::Entries(vec![Entries { directory, events }]));
        }
    }

    /// One piece of work in a directory is done. With the last one it goes itself, and so on up to the one that stays.
    fn release(&self, mut node: Arc<Node>) {
        while node.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            let Some(above) = node.above.clone() else {
                self.finish(&node);
                return;
            };
            if node.kept.load(Ordering::Relaxed) {
                self.restore_mode(&node);
                self.close(&node);
                above.kept.store(true, Ordering::Relaxed);
            } else {
                self.close(&node);
                let event =
                    self.remove_name(&above, &node.name, Kind::Directory, AtFlags::REMOVEDIR).map(|event| {
                        match &node.shown {
                            Some(shown) => event.named(shown.clone()),
                            None => event,
                        }
                    });
                self.report(above.path(), event.into_iter().collect());
            }
            node = above;
        }
    }

    /// Gives a directory in which something stays the permissions back that it had.
    fn restore_mode(&self, node: &Node) {
        let mode = node.mode.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mode) = mode else { return };
        let restored = node.fd().and_then(|fd| {
            rustix::fs::chmodat(CWD, proc_path(&fd), Mode::from_raw_mode(mode), AtFlags::empty())
        });
        if let Err(errno) = restored {
            self.fail(Error::new(Operation::SetMode, self.run.destination_path(&node.path()), errno));
        }
    }

    /// Gives a directory that stays the mode and the time that it had before.
    fn finish(&self, node: &Node) {
        self.kept.fetch_or(node.kept.load(Ordering::Relaxed), Ordering::Relaxed);
        let Some(after) = node.after.filter(|_| self.doing == Doing::Remove) else { return };
        let path = || self.run.destination_path(&node.path);
        let restored = node.fd().at(Operation::SetTimes, path).and_then(|fd| {
            if stat_open(&fd).at(Operation::StatDestination, path)?.mode != after.mode {
                let mode = Mode::from_raw_mode(after.mode);
                rustix::fs::fchmod(&fd, mode).at(Operation::SetMode, path)?;
            }
            match self.run.config.keep.times {
                true => metadata::set_mtime(Target::Open(fd.as_fd()), after.modified, path),
                false => Ok(()),
            }
        });
        if let Err(error) = restored {
            self.run.report_blocking(Event::Failed(error));
        }
    }
}
