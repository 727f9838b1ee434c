//! Listing one directory: opened beneath a held one, never through a symlink, and read with walkdir.

use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use walkdir::{DirEntry, WalkDir};

use crate::error::{Cause, Operation};
use crate::io::op;
use crate::io::path::open_directory;
use crate::metadata::proc_path;
use crate::plan::entry::{Kind, Stat};
use crate::select::list::Node;

/// A held directory, and its entries as they are read.
pub(crate) struct Listing {
    pub(crate) fd: Arc<OwnedFd>,
    entries: Entries,
}

enum Entries {
    All(walkdir::IntoIter),
    /// Those of a list.
    Named {
        names: Arc<Node>,
        position: usize,
        if_missing: Operation,
        /// To be told next.
        owed: Option<Unlisted>,
    },
}

/// One entry, as the listing tells it.
pub(crate) struct Found {
    pub(crate) name: CString,
    pub(crate) kind: Kind,
}

/// What kept an entry, or the rest of the listing, from being read.
pub(crate) struct Unlisted {
    /// The entry, if it is about one.
    pub(crate) name: Option<OsString>,
    pub(crate) operation: Operation,
    pub(crate) cause: Cause,
}

thread_local! {
    /// This thread has a working directory of its own. Listing that costs a tenth less than listing through
    /// /proc/self/fd (docs/performance.md).
    static MAY_MOVE: Cell<bool> = const { Cell::new(false) };
}

/// Makes ready the thread that will list.
pub(crate) fn prepare_thread() {
    MAY_MOVE.set(op::own_working_directory().is_ok());
}

impl Listing {
    /// Opens what `below` leads to from `base`.
    pub(crate) fn open(base: &OwnedFd, below: &[u8]) -> rustix::io::Result<Self> {
        open_directory(base, below).map(|fd| Listing::of(Arc::new(fd)))
    }

    /// Lists a directory that is held.
    pub(crate) fn of(fd: Arc<OwnedFd>) -> Self {
        // walkdir works by path, and opens the directory when its first entry is asked for.
        let path = if MAY_MOVE.get() && rustix::process::fchdir(&fd).is_ok() {
            PathBuf::from(".")
        } else {
            PathBuf::from(proc_path(&fd))
        };
        let entries = WalkDir::new(path).min_depth(1).max_depth(1).into_iter();
        Listing { fd, entries: Entries::All(entries) }
    }

    /// Of a directory that is held, these names alone. `if_missing` is what has failed where one is not there.
    pub(crate) fn named(fd: Arc<OwnedFd>, names: Arc<Node>, if_missing: Operation) -> Self {
        Listing { fd, entries: Entries::Named { names, position: 0, if_missing, owed: None } }
    }

    /// Looks up the next name of a list.
    fn next_named(&mut self) -> Option<Result<Found, Unlisted>> {
        let Entries::Named { names, position, if_missing, owed } = &mut self.entries else { return None };
        if let Some(unlisted) = owed.take() {
            return Some(Err(unlisted));
        }
        let (name, child) = names.children.get(*position)?;
        *position += 1;
        let kind = rustix::fs::statx(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
        let unlisted = |errno: Errno| Unlisted {
            name: Some(OsStr::from_bytes(name.to_bytes()).into()),
            operation: *if_missing,
            cause: errno.into(),
        };
        let kind = match kind {
            Ok(stat) => Stat::from(&stat).kind,
            Err(errno) => return Some(Err(unlisted(errno))),
        };
        let is_on_the_way = !child.children.is_empty();
        if is_on_the_way && kind != Kind::Directory {
            if !child.named {
                return Some(Err(unlisted(Errno::NOTDIR)));
            }
            *owed = Some(unlisted(Errno::NOTDIR)); // what is below it; it is wanted itself, too
        }
        Some(Ok(Found { name: name.clone(), kind }))
    }
}

impl Iterator for Listing {
    type Item = Result<Found, Unlisted>;

    fn next(&mut self) -> Option<Self::Item> {
        let Entries::All(entries) = &mut self.entries else { return self.next_named() };
        Some(match entries.next()? {
            Ok(entry) => found(&entry),
            Err(error) => {
                let of_entry = error.path().filter(|_| error.depth() > 0);
                let name = of_entry.and_then(|path| path.file_name()).map(OsString::from);
                let cause = error.into_io_error().map_or_else(|| Cause::TypeChanged, Cause::from);
                Err(Unlisted { name, operation: Operation::ListSource, cause })
            }
        })
    }
}

/// A name is one component: a file system that lists another must not lead out of the directory.
fn found(entry: &DirEntry) -> Result<Found, Unlisted> {
    let name = entry.file_name().as_bytes();
    let name = CString::new(name).ok().filter(|_| !name.contains(&b'/') && name != b"..");
    let invalid = || Unlisted {
        name: Some(entry.file_name().into()),
        operation: Operation::ListSource,
        cause: Errno::INVAL.into(),
    };
    Ok(Found { name: name.ok_or_else(invalid)?, kind: Kind::from(entry.file_type()) })
}
