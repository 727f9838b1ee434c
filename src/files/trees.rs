//! The trees of a run, as what lies beside them has to know them: where they begin, and who may read what they hold.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::event::Kind;
use crate::io::limits::umask;
use crate::stat::{Inode, Stat, stat_open};

/// Directories above one another: as many as the longest path that the kernel takes has.
const DEEPEST: usize = 4096;

const HOLD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The trees of a run.
#[derive(Debug, Clone)]
pub(crate) struct Trees {
    /// The directories SRC and DST.
    roots: Vec<Inode>,
    /// Who may read all sources.
    readers: Readers,
    /// Symlinks of other users are followed beside them.
    pub(crate) insecure: bool,
}

/// Who else may read something.
#[derive(Debug, Clone, Copy)]
struct Readers {
    /// This group, with these bits of a mode.
    group: (Option<u32>, u32),
    /// Everybody, with these bits of a mode.
    others: u32,
}

impl Readers {
    const ALL: Readers = Readers { group: (None, 0o060), others: 0o006 };
    const NONE: Readers = Readers { group: (None, 0), others: 0 };

    /// Those of one source. What a group may do that an ACL speaks of, the mode does not tell.
    fn of(stat: &Stat, has_acl: bool) -> Self {
        let others = stat.mode & 0o006;
        match has_acl {
            true => Readers { group: (None, others << 3), others },
            false => Readers { group: (Some(stat.gid), stat.mode & 0o060), others },
        }
    }

    /// Those who may read both.
    fn and(self, other: Self) -> Self {
        let others = self.others & other.others;
        let bits = self.group.1 & other.group.1;
        let group = match (self.group.0, other.group.0) {
            (one, None) | (None, one) => (one, bits),
            (one, two) if one == two => (one, bits),
            _ => (None, others << 3),
        };
        Readers { group, others }
    }

    /// The mode of a new file of this group that nobody else may read. Without a group it is the one for any group.
    fn mode(self, gid: Option<u32>) -> u32 {
        let group = match self.group {
            (None, bits) => bits,
            (wanted, bits) if wanted == gid => bits,
            _ => self.others << 3,
        };
        0o600 | group | self.others
    }
}

impl Trees {
    /// Those of a run from these sources; `flags` say whether one that is a symlink is followed.
    pub(crate) fn of(sources: &[PathBuf], flags: AtFlags, destination: &Path) -> Self {
        let stat = |path: &Path, flags| {
            rustix::fs::statx(CWD, path, flags, Stat::FIELDS).map(|found| Stat::from(&found))
        };
        let mut trees = Trees::none();
        for source in sources {
            let Ok(stat) = stat(source, flags) else {
                trees.readers = Readers::NONE;
                continue;
            };
            let has_acl = stat.kind != Kind::Symlink
                && rustix::fs::getxattr(source, c"system.posix_acl_access", &mut [0; 0])
                    .is_ok_and(|length| length > 0);
            trees.readers = trees.readers.and(Readers::of(&stat, has_acl));
            trees.add_root(&stat);
        }
        if let Ok(stat) = stat(destination, AtFlags::empty()) {
            trees.add_root(&stat);
        }
        trees
    }

    /// No trees: there is nothing but the path.
    pub(crate) fn none() -> Self {
        Trees { roots: Vec::new(), readers: Readers::ALL, insecure: false }
    }

    /// The same; beside them, symlinks of other users are followed if this is `insecure`.
    pub(crate) fn following(self, insecure: bool) -> Self {
        Trees { insecure, ..self }
    }

    fn add_root(&mut self, stat: &Stat) {
        if stat.kind == Kind::Directory {
            self.roots.push(stat.inode);
        }
    }

    /// Whether a directory is one of the roots, or lies beneath one.
    pub(crate) fn have(&self, directory: &OwnedFd) -> bool {
        if self.roots.is_empty() {
            return false;
        }
        let Ok(mut stat) = stat_open(directory) else { return false };
        let mut above: Option<OwnedFd> = None;
        for _ in 0..DEEPEST {
            if self.roots.contains(&stat.inode) {
                return true;
            }
            let from = above.as_ref().unwrap_or(directory);
            let Ok(next) = rustix::fs::openat(from, c"..", HOLD, Mode::empty()) else {
                return false;
            };
            let Ok(found) = stat_open(&next) else { return false };
            if found.inode == stat.inode {
                return false; // the root of all
            }
            (stat, above) = (found, Some(next));
        }
        false
    }

    /// Whether this directory is a root.
    pub(crate) fn have_root(&self, directory: Inode) -> bool {
        self.roots.contains(&directory)
    }

    /// The most that the mode of a file of this group may grant: no more than the sources do.
    pub(crate) fn mode_for(&self, gid: u32) -> u32 {
        self.readers.mode(Some(gid))
    }

    /// Makes a file that only those may read who may read the sources. `open` gets a mode from which the kernel takes the
    /// umask; the group that the file comes to have decides on the group's bits.
    pub(crate) fn create(
        &self,
        open: impl FnOnce(Mode) -> rustix::io::Result<OwnedFd>,
    ) -> rustix::io::Result<OwnedFd> {
        let narrow = self.readers.mode(None);
        let file = open(Mode::from_raw_mode(narrow))?;
        // What the directory has new files inherit is opened by their mode.
        let inherited = rustix::fs::fremovexattr(&file, c"system.posix_acl_access").is_ok();
        let wide = self.readers.mode(Some(stat_open(&file)?.gid));
        if inherited || wide & !umask() != narrow & !umask() {
            // What is refused here leaves the file closer than it need be.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(wide & !umask())).ok();
        }
        Ok(file)
    }
}
