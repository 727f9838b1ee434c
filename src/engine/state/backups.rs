//! Where backups go.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::config::Config;
use crate::engine::state::backup_name::Claims;
use crate::error::{Cause, Error, Operation, Result};
use crate::files::named;
use crate::files::trees::Trees;
use crate::roots::{self, Roots, overlap};
use crate::stat::{Inode, stat_open};

pub(crate) struct Tree {
    /// As the user named it, and where that leads: from the destination's root, if it is relative.
    named: PathBuf,
    pub(crate) path: PathBuf,
    start: Option<Arc<OwnedFd>>,
    trees: Trees,
    /// Made when it is first needed.
    pub(crate) fd: Mutex<Option<Arc<OwnedFd>>>,
    /// Directories of it from which what a killed run left was removed.
    pub(crate) swept: Mutex<HashSet<Inode>>,
    /// Directories of it that grant nobody more than those that they stand for.
    pub(crate) known: Mutex<HashSet<Inode>>,
    /// Directories of it that could not be made as tight as that.
    pub(crate) open: Mutex<HashSet<Inode>>,
}

impl Tree {
    /// Holds the tree that was `named`, and lies at `path`, if it is there already. A way to it that can't be gone is told
    /// before anything is replaced.
    fn open(named: &Path, path: PathBuf, config: &Config, roots: &Roots) -> Result<Self> {
        let (named, start, trees) = (named.to_path_buf(), roots.destination.fd.clone(), config.trees());
        let (fd, swept, known, open) =
            (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        let mut tree = Tree { named, path, start, trees, fd, swept, known, open };
        if tree.start.is_none() && tree.named.is_relative() {
            return Ok(tree); // a dry run, without a destination
        }
        match tree.walk(false) {
            Ok(fd) => tree.fd = Mutex::new(Some(Arc::new(fd))),
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        Ok(tree)
    }

    /// Goes to the tree; with `make` what is missing of the way is made.
    pub(crate) fn walk(&self, make: bool) -> Result<OwnedFd> {
        let start = self.start.as_deref();
        named::directory(&self.named, start, &self.trees, Operation::Backup, make)
            .map_err(|error| Error { path: self.path.clone(), ..error })
    }
}

pub(crate) const OPEN: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where backups go.
pub(crate) struct Backups {
    /// A tree of their own; otherwise they stay where they are.
    pub(crate) tree: Option<Tree>,
    pub(crate) suffix: Vec<u8>,
    pub(crate) claims: Claims,
}

impl Backups {
    /// What the options come to.
    ///
    /// # Errors
    /// When backups would be made in the source, or have the names of what they are backups of.
    pub(crate) fn new(config: &Config, roots: &roots::Roots) -> Result<Option<Self>> {
        let Some(backup) = &config.backup else { return Ok(None) };
        let refused = |why: &str| {
            let cause = Cause::Refused(format!("the suffix of backups {why}"));
            Err(Error::new(Operation::Backup, &config.destination, cause))
        };
        if backup.suffix.as_bytes().contains(&b'/') {
            return refused("is part of a name, and has no slash");
        }
        if backup.suffix.is_empty() && backup.directory.is_none() {
            return refused("can't be empty in the same directory");
        }
        let tree = backup.directory.as_ref().map(|directory| {
            let path = roots.destination.beside(directory);
            let (existing, missing) = roots::nearest_existing(&path)?;
            for source in sources(config, roots) {
                overlap::refuse_backups_in_source(&config.select, &path, &existing, &source)?;
            }
            if missing.as_os_str().is_empty() {
                overlap::refuse_backups_over(&path, roots, &sources(config, roots))?;
            }
            Tree::open(directory, path, config, roots)
        });
        let suffix = backup.suffix.as_bytes().to_vec();
        Ok(Some(Backups { tree: tree.transpose()?, suffix, claims: Claims::default() }))
    }

    /// The tree of their own, if they have one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.tree.as_ref().map(|tree| tree.path.as_path())
    }

    /// Whether what is deleted leaves a backup in its directory.
    pub(crate) fn stay(&self) -> bool {
        self.tree.is_none()
    }

    /// Whether a name beside others is a backup itself.
    pub(crate) fn is_backup(&self, name: &CStr) -> bool {
        self.tree.is_none() && name.to_bytes().ends_with(&self.suffix)
    }

    /// Keeps backups from a name that the source has, whatever becomes of it there. What has the name before this is seen
    /// by those who look after it.
    pub(crate) fn claim(&self, within: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
        if self.is_backup(name) {
            self.claims.hold(stat_open(within)?.inode).add(name);
        }
        Ok(())
    }
}

/// The trees that are mirrored. A source that can't be opened is reported when its turn comes.
fn sources(config: &Config, roots: &roots::Roots) -> Vec<roots::Root> {
    let Some(sources) = &config.sources else { return vec![roots.source.clone()] };
    let open = |path: &PathBuf| {
        let fd = rustix::fs::openat(CWD, path, OPEN, Mode::empty()).ok()?;
        Some(roots::Root { fd: Some(Arc::new(fd)), path: path.clone() })
    };
    sources.iter().filter_map(open).collect()
}
