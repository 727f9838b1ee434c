//! A directory that is being listed: the way to it, what is still to come of it, and its entries that are not sent yet.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Cause, Context, Operation, Result};
use crate::io::path::open_directory;
use crate::roots::follow::Follow;
use crate::roots::several::Parent;
use crate::select::list::ListedName;
use crate::select::{Paths, Scope, Selection};
use crate::stat::{Inode, proc_path};
use crate::walk::Entry;
use crate::walk::listing::{Found, Listing, Unlisted};

/// A directory that is being listed, and its entries that are not sent yet.
pub(super) struct Level<D> {
    pub(super) directory: D,
    /// Rules that hold in it.
    pub(super) scope: Option<Arc<Scope>>,
    pub(super) name: CString,
    pub(super) entries: Vec<Entry>,
    /// It has no subdirectories, and all its entries are here.
    pub(super) leaf: bool,
    /// It is open.
    pub(super) fd: Option<Arc<OwnedFd>>,
    /// What of it is wanted, if not all.
    pub(super) names: Option<Arc<ListedName>>,
    pub(super) rest: Rest,
    /// It is what a symlink led to: no path leads there from above.
    pub(super) followed: bool,
    /// Which directory it is, where symlinks are followed.
    pub(super) inode: Option<Inode>,
}

/// What is still to come of a directory.
pub(super) enum Rest {
    /// What has not been read yet.
    Listing(Box<Listing>),
    /// It has been read to its end; these were its subdirectories.
    /// Or symlinks that may stand for one.
    Directories(std::vec::IntoIter<Found>),
}

impl Rest {
    pub(super) fn nothing() -> Self {
        Rest::Directories(Vec::new().into_iter())
    }

    pub(super) fn next(&mut self) -> Option<Result<Found, Unlisted>> {
        match self {
            Rest::Listing(listing) => listing.next(),
            Rest::Directories(names) => names.next().map(Ok),
        }
    }
}

/// Where the way to a directory begins.
#[derive(Clone)]
pub(super) enum Base {
    /// An open directory above it, or itself.
    Held(Arc<OwnedFd>),
    /// It lies around sources that the user named; the rules of the run, if it has any.
    Around(Arc<Parent>, Option<Arc<Selection>>),
    /// It is what a symlink leads to.
    Link(Arc<Follow>),
}

/// The way to a directory that is to be listed.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) base: Base,
    /// The path that leads there from `base`; empty if it is the one.
    pub(super) below: Vec<u8>,
    /// The rules of the directory above it.
    pub(super) scope: Option<Arc<Scope>>,
    pub(super) name: CString,
    /// What of it is wanted, if not all.
    pub(super) names: Option<Arc<ListedName>>,
}

impl Route {
    /// The same way, but that a symlink leads to the end of it.
    pub(super) fn through(self, link: Option<Arc<Follow>>) -> Route {
        match link {
            Some(link) => Route { base: Base::Link(link), below: Vec::new(), ..self },
            None => self,
        }
    }

    /// Whether it leads to the root itself, which stays open.
    pub(super) fn is_of_root(&self) -> bool {
        matches!(self.base, Base::Held(_)) && self.below.is_empty()
    }

    /// Opens the directory for listing.
    pub(super) fn open(&self) -> Result<Listing, Cause> {
        if let Base::Link(follow) = &self.base {
            let fd = follow.go()?.allowed()?.fd;
            return Ok(match &self.names {
                None => Listing::open(&fd, b"")?,
                Some(names) => Listing::named(Arc::new(fd), names.clone(), Operation::FindPath),
            });
        }
        let (fd, names, if_missing) = match (&self.base, &self.names) {
            (Base::Held(fd), None) => return Ok(Listing::open(fd, &self.below)?),
            (Base::Held(fd), Some(names)) if self.below.is_empty() => {
                (fd.clone(), names, Operation::FindPath)
            }
            (Base::Held(fd), Some(names)) => {
                (Arc::new(open_directory(fd, &self.below)?), names, Operation::FindPath)
            }
            (Base::Link(_), _) => return Err(Errno::NOTDIR.into()), // it was opened above
            // Each was there when the run began.
            (Base::Around(parent, _), names) => {
                (Arc::new(parent.open()?), names.as_ref().unwrap_or(&parent.names), Operation::StatSource)
            }
        };
        Ok(Listing::named(fd, names.clone(), if_missing))
    }

    /// The rules that hold in it, now that it is open: its own files of rules are read.
    pub(super) fn scope(&self, fd: &OwnedFd) -> Result<Option<Arc<Scope>>> {
        match (&self.base, &self.scope) {
            (Base::Around(parent, Some(selection)), _) => {
                let path = std::fs::canonicalize(proc_path(fd));
                let path = path.at(Operation::ReadRules, || &parent.path)?;
                Ok(Some(Arc::new(Scope::around_sources(selection, &path, fd)?)))
            }
            (base, Some(scope)) if !self.below.is_empty() || matches!(base, Base::Link(_)) => {
                Ok(Some(Arc::new(scope.enter(&self.name, fd)?)))
            }
            (_, same) => Ok(same.clone()),
        }
    }
}

/// What of a subdirectory is wanted, if only these `names` of the directory above are.
pub(super) fn names_in(
    names: Option<&Arc<ListedName>>,
    name: &CStr,
    paths: Option<&Paths>,
) -> Option<Arc<ListedName>> {
    let node = names?.child(name)?;
    wanted(node, paths?)
}

/// What of a directory is wanted, if not all.
pub(super) fn wanted(node: &Arc<ListedName>, paths: &Paths) -> Option<Arc<ListedName>> {
    if node.named && paths.recursive { None } else { Some(node.clone()) }
}
