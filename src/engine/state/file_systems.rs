//! The file systems that the destination lies on, and what the run has learnt of each.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::error::Result;
use crate::io::file::{folds_case, is_faithful, lies_on_program};
use crate::metadata::is_refusal;
use crate::metadata::xattr::Xattrs;
use crate::plan::times::TRIED;
use crate::stat::{Stat, Time, stat_open};

/// The file systems that the destination lies on, by their devices.
#[derive(Default)]
pub(crate) struct FileSystems {
    known: Mutex<HashMap<u64, Arc<FileSystem>>>,
    /// Names, and contents, that can't be flushed have been told.
    names_told: AtomicBool,
    contents_told: AtomicBool,
}

/// One of them.
#[derive(Default)]
pub(crate) struct FileSystem {
    /// A directory of it, if it is to be flushed in the end.
    directory: OnceLock<Arc<OwnedFd>>,
    /// It keeps the owners, modes and ordinary times that it does not refuse.
    pub(crate) is_faithful: bool,
    /// It is somebody's program, behind FUSE: one may answer with EIO where it has nothing of the kind, for example rclone.
    pub(crate) is_program: bool,
    /// What became of one time with nanoseconds has been looked at.
    looked_at: AtomicBool,
    /// That it rounds times has been told.
    rounding_told: AtomicBool,
    /// That root is nobody here has been told.
    squash_told: AtomicBool,
    /// A file of the run's own got all that it was to have.
    keeps_all: AtomicBool,
    /// Whether it keeps ordinary times, once that was tried.
    keeps_times: OnceLock<bool>,
    /// Whether it rounds times to a step, once that was tried: [`may_be_rounded`](crate::plan::times::may_be_rounded).
    pub(crate) rounds_to: [OnceLock<bool>; TRIED],
    /// Bytes go to a file in order only: it took none beyond the end.
    in_order: AtomicBool,
    /// Whether setting the time of a symlink sets that of what it points to, once that was tried.
    pub(crate) follows_symlinks: OnceLock<bool>,
    /// How link(2) is refused on it, as far as is known.
    refuses_links: OnceLock<Errno>,
    /// Copies in place of hard links have been told.
    copies_told: AtomicBool,
    /// That nothing is linked to earlier trees has been told.
    unlinked_told: AtomicBool,
    /// Whether its files can do without copy on write, once that was tried.
    pub(crate) keeps_nocow: OnceLock<rustix::io::Result<()>>,
    /// A nameless file (`O_TMPFILE`) can't be made on it, or gets no name.
    refuses_nameless: AtomicBool,
    /// Whether one gets a name has been tried.
    nameless_tried: AtomicBool,
}

/// The times, in seconds since 1970, that every file system has which is faithful otherwise.
const ORDINARY: std::ops::Range<i64> = 0..i32::MAX as i64;

impl FileSystem {
    /// Whether nobody has to look at what becomes of metadata like these. The first look at each file system tells whether
    /// it rounds times.
    pub(crate) fn is_sure(&self, want: &Stat) -> bool {
        let Time { seconds, nanoseconds } = want.modified;
        self.is_faithful
            && ORDINARY.contains(&seconds)
            && (nanoseconds == 0
                || self.looked_at.load(Ordering::Relaxed)
                || self.looked_at.swap(true, Ordering::Relaxed))
    }

    /// Whether it is now to be told that root is nobody here: once.
    pub(crate) fn tells_squash(&self) -> bool {
        !self.squash_told.swap(true, Ordering::Relaxed)
    }

    /// Whether a file got all of its metadata here.
    pub(crate) fn keeps_all(&self) -> bool {
        self.keeps_all.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_keeps_all(&self) {
        self.keeps_all.store(true, Ordering::Relaxed);
    }

    /// Whether this is a time that it keeps without a trial.
    pub(crate) fn keeps_ordinary(&self, time: Time) -> bool {
        self.is_faithful && ORDINARY.contains(&time.seconds)
    }

    /// Whether it keeps this time, as far as is known.
    pub(crate) fn keeps_time(&self, time: Time) -> Option<bool> {
        ORDINARY.contains(&time.seconds).then(|| self.keeps_times.get().copied()).flatten()
    }

    /// Takes note of whether it kept this time.
    pub(crate) fn set_keeps_time(&self, time: Time, keeps: bool) {
        if ORDINARY.contains(&time.seconds) {
            self.keeps_times.get_or_init(|| keeps);
        }
    }

    /// Whether a directory of it may take two names for one.
    pub(crate) fn may_fold(&self, directory: &OwnedFd) -> bool {
        !self.is_faithful || folds_case(directory)
    }

    /// Whether it is now to be told that it rounds times: once.
    pub(crate) fn tells_rounding(&self) -> bool {
        !self.rounding_told.swap(true, Ordering::Relaxed)
    }

    /// Why no link is to be tried on it any more, if so.
    pub(crate) fn refuses_links(&self) -> Option<Errno> {
        self.refuses_links.get().copied()
    }

    /// Takes note that links are refused on it.
    pub(crate) fn mark_refuses_links(&self, errno: Errno) {
        self.refuses_links.get_or_init(|| errno);
    }

    /// Whether it is now to be told that its hard links became copies: once.
    pub(crate) fn tells_copies(&self) -> bool {
        !self.copies_told.swap(true, Ordering::Relaxed)
    }

    /// Whether it is now to be told that nothing is linked to earlier trees: once.
    pub(crate) fn tells_unlinked(&self) -> bool {
        !self.unlinked_told.swap(true, Ordering::Relaxed)
    }

    /// Whether files are to be written from their beginning to their end.
    pub(crate) fn is_written_in_order(&self) -> bool {
        self.in_order.load(Ordering::Relaxed)
    }

    /// From now on files are. Returns whether that may help: the kernel's own file systems take bytes anywhere.
    pub(crate) fn begin_writing_in_order(&self) -> bool {
        self.in_order.fetch_or(!self.is_faithful, Ordering::Relaxed);
        !self.is_faithful
    }

    /// Attributes that were read on it. Programs behind FUSE answer with EIO where they have none, for example rclone.
    pub(crate) fn attributes(&self, read: Result<Xattrs>) -> Result<Xattrs> {
        match read {
            Err(error) if error.errno() == Some(Errno::IO) && !self.is_faithful => Ok(Xattrs::new()),
            read => read,
        }
    }

    /// Whether an errno of link(2) says that one more name is not to be had on it. EIO is FUSE's, where a program has no
    /// links and says something odd.
    pub(crate) fn is_link_refusal(&self, errno: Errno) -> bool {
        is_link_refusal(errno) || errno == Errno::IO && !self.is_faithful
    }

    /// Whether new files need a temporary name on it.
    pub(crate) fn refuses_nameless(&self) -> bool {
        self.refuses_nameless.load(Ordering::Relaxed)
    }

    /// Whether it is now to be tried whether a nameless file gets a name: once, where that is not known. The kernel's own file
    /// systems give it one.
    pub(crate) fn begin_trying_nameless(&self) -> bool {
        !self.is_faithful && !self.refuses_nameless() && !self.nameless_tried.swap(true, Ordering::Relaxed)
    }

    /// Takes note that they do.
    pub(crate) fn mark_refuses_nameless(&self) {
        self.refuses_nameless.store(true, Ordering::Relaxed);
    }
}

impl FileSystems {
    /// That of an open directory.
    pub(crate) fn of(&self, directory: &OwnedFd, stat: &Stat) -> Arc<FileSystem> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let (is_faithful, is_program) = (is_faithful(directory), lies_on_program(directory));
            Arc::new(FileSystem { is_faithful, is_program, ..FileSystem::default() })
        };
        known.entry(stat.inode.device).or_insert_with(new).clone()
    }

    /// Takes note of a directory's file system, which is to be flushed in the end.
    pub(crate) fn add(&self, directory: &Arc<OwnedFd>, stat: &Stat) {
        self.of(directory, stat).directory.get_or_init(|| directory.clone());
    }

    /// Whether it is now to be told that names can't be flushed: once a run.
    pub(crate) fn tells_names(&self) -> bool {
        !self.names_told.swap(true, Ordering::Relaxed)
    }

    /// The same of contents.
    pub(crate) fn tells_contents(&self) -> bool {
        !self.contents_told.swap(true, Ordering::Relaxed)
    }

    /// Whether all that was to be flushed so far could be.
    pub(crate) fn flushes_all(&self) -> bool {
        !self.names_told.load(Ordering::Relaxed) && !self.contents_told.load(Ordering::Relaxed)
    }

    /// Flushes them all: each for itself, or, where that is refused, all of the machine's (sync(2)), which tells of no
    /// error. Returns that refusal.
    pub(crate) fn flush(&self) -> rustix::io::Result<Option<Errno>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let directories: Vec<_> =
            known.values().filter_map(|file_system| file_system.directory.get()).collect();
        let mut refusal = None;
        for directory in &directories {
            match rustix::fs::syncfs(directory) {
                Err(errno) if is_flush_refusal(errno) => refusal = Some(errno),
                flushed => flushed?,
            }
        }
        if refusal.is_some() {
            rustix::fs::sync();
        }
        directories.into_iter().try_for_each(|directory| check_alive(directory))?;
        Ok(refusal)
    }
}

/// Whether an errno of link(2) says that one more name is not to be had, so that a copy has to do.
pub(crate) fn is_link_refusal(errno: Errno) -> bool {
    let is_about_something_else = matches!(
        errno,
        Errno::EXIST
            | Errno::NOSPC
            | Errno::DQUOT
            | Errno::NAMETOOLONG
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::INTR
            | Errno::AGAIN
    );
    is_refusal(errno) && !is_about_something_else
}

/// Whether an errno of fsync(2) or syncfs(2) says that nothing can be flushed, by the file system or since a container
/// forbids it, and not that something is lost.
pub(crate) fn is_flush_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM)
}

/// The answers of file systems, and of kernels, that don't know `O_TMPFILE` (open(2)).
pub(crate) fn lacks_nameless(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS)
}

/// Whether a nameless file can't get a name. Without /proc, through which it may have to be linked, nothing is found.
pub(crate) fn keeps_nameless(errno: Errno) -> bool {
    errno == Errno::NOENT || is_link_refusal(errno)
}

/// xfs that has shut itself down, since its disk failed, has dropped the names it had not written: there is nothing to
/// flush any more, and fsync(2) of a directory succeeds. A stat tells.
pub(crate) fn check_alive(directory: &OwnedFd) -> rustix::io::Result<()> {
    stat_open(directory).map(drop)
}
