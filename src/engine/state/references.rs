//! `--link-dest`, `--copy-dest`, `--compare-dest`: the trees of earlier runs, held open.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::config::Config;
use crate::error::{Cause, Error, Operation, Result};
use crate::event::{Kind, Missing};
use crate::files::named;
use crate::io::list::{kind_of, names};
use crate::options::Reuse;
use crate::roots::{self, Root, Roots};
use crate::stat::{Stat, stat_open};

/// The trees, held open.
#[derive(Default)]
pub(crate) struct References {
    pub(crate) trees: Vec<Tree>,
}

/// One of them.
pub(crate) struct Tree {
    /// Which one of those that were named.
    pub(crate) number: usize,
    /// What its files hold may not be what their sizes and times say.
    pub(crate) is_doubted: bool,
    pub(crate) fd: Arc<OwnedFd>,
}

impl References {
    /// Opens the trees. One that does not exist is left out, and returned: the first run of a series has none. So is
    /// whether others lie beside it, so that the name is more likely wrong.
    ///
    /// # Errors
    /// When one can't be opened.
    pub(crate) fn open(config: &Config, roots: &Roots) -> Result<(Self, Vec<Missing>)> {
        let destination = &roots.destination;
        let inode = |root: &Root| root.fd.as_ref().and_then(|fd| stat_open(fd).ok()).map(|stat| stat.inode);
        let (mut trees, mut missing) = (Vec::new(), Vec::new());
        let beside = config.trees();
        let reuse = config.reuse;
        let operation = operation(reuse);
        let is_doubted = |number| config.salvage.as_ref().is_some_and(|doubted| doubted.contains(&number));
        for (number, named) in config.link_dest.iter().enumerate() {
            let path = destination.beside(named);
            let start = destination.fd.as_deref();
            let (way, start) = if start.is_some() { (named, start) } else { (&path, None) };
            let held = named::directory(way, start, &beside, operation, false);
            match held.map(|fd| Root { fd: Some(Arc::new(fd)), path: path.clone() }) {
                Ok(tree) if roots.single.is_none() && inode(&tree) == inode(&roots.source) => {
                    // What is written to SRC later would be written to the mirror.
                    let cause = Cause::Refused("it is SRC".into());
                    return Err(Error::new(operation, path, cause));
                }
                Ok(tree) => {
                    trees.extend(tree.fd.map(|fd| Tree { number, is_doubted: is_doubted(number), fd }))
                }
                Err(error) if error.errno() == Some(Errno::NOENT) => {
                    missing.push(Missing { has_others: has_others(&path, roots), path, reuse })
                }
                Err(error) => return Err(Error { path, ..error }),
            }
        }
        Ok((References { trees }, missing))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }
}

/// What it is to use such a tree.
fn operation(reuse: Reuse) -> Operation {
    match reuse {
        Reuse::Link | Reuse::Relink | Reuse::Clone => Operation::UseReference,
        Reuse::Copy => Operation::UseCopyDest,
        Reuse::Compare => Operation::UseCompareDest,
    }
}

/// Whether the directory that a tree should lie in holds others than the two of this run.
fn has_others(path: &Path, roots: &Roots) -> bool {
    let inode = |root: &Root| root.fd.as_ref().and_then(|fd| stat_open(fd).ok()).map(|stat| stat.inode);
    let own = [inode(&roots.source), inode(&roots.destination)];
    let Some(parent) = path.parent() else { return false };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Ok(around) = roots::open_directory(parent, Operation::UseReference) else { return false };
    let Some(around) = around.fd else { return false };
    let Ok(names) = names(&around) else { return false };
    let mut directories = names.flatten().filter_map(|entry| {
        let is_directory = kind_of(around.as_fd(), &entry) == Kind::Directory;
        let stat = rustix::fs::statx(&around, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
        stat.ok().filter(|_| is_directory && entry.file_name() != c"lost+found")
    });
    directories.any(|stat| !own.contains(&Some(Stat::from(&stat).inode)))
}
