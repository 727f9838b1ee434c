//! What is mounted below SRC when a run begins. Where a mount leaves during the run, the walk finds what lies below it, most
//! often an empty directory: what SRC has there is not known any more.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::config::Config;
use crate::roots::Roots;
use crate::roots::overlap::{Location, mounts, mounts_below, place};
use crate::select::Paths;
use crate::stat::{UNIQUE_MOUNT, mount_of};

/// The mounts below SRC.
#[derive(Debug, Default)]
pub(crate) struct Mounted(Vec<Mount>);

#[derive(Debug)]
struct Mount {
    /// A number alone may be another mount's later, but for the unique ones.
    number: u64,
    unique: Option<u64>,
    seen_at: PathBuf,
    /// Where it lies below the roots.
    below: PathBuf,
}

impl Mounted {
    /// Takes note of the mounts that the walk gets to; with `-x` also of the others, which keep it out.
    pub(crate) fn note(config: &Config, roots: &Roots) -> Self {
        if roots.single.is_some() {
            return Mounted::default();
        }
        let mounts = mounts();
        let mut found = Vec::new();
        let mut note = |source: &Location, name: &Path, mount: &Location| {
            let way = mount.seen_at().strip_prefix(source.seen_at()).unwrap_or(Path::new(""));
            let (number, seen_at) = (mount.mount(), mount.seen_at().to_path_buf());
            found.push(Mount { number, unique: unique(&seen_at), seen_at, below: name.join(way) });
        };
        match &roots.several {
            None => {
                let source = roots.source.fd.as_ref().and_then(|fd| place(fd, &mounts));
                let Some(source) = source else { return Mounted::default() };
                let select = &config.select;
                let is_wanted = |way: &Path| {
                    select.paths.as_ref().is_none_or(|paths| leads_to(paths, way))
                        && !select.certainly_hides(source.seen_at(), way)
                };
                let is_read =
                    |mount: &&Location| mount.seen_at().strip_prefix(source.seen_at()).is_ok_and(is_wanted);
                let read = mounts_below(&source, &mounts).filter(is_read);
                read.for_each(|mount| note(&source, Path::new(""), mount));
            }
            Some(several) => {
                for name in several.names().map(|name| Path::new(OsStr::from_bytes(name.to_bytes()))) {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let held = rustix::fs::openat(CWD, roots.source_path(name), flags, Mode::empty());
                    let Some(source) = held.ok().and_then(|held| place(&held, &mounts)) else { continue };
                    // It is opened again, by its name, when its turn comes.
                    let own = mounts.iter().filter(|mount| {
                        mount.mount() == source.mount() && mount.seen_at() == source.seen_at()
                    });
                    own.chain(mounts_below(&source, &mounts)).for_each(|mount| note(&source, name, mount));
                }
            }
        }
        Mounted(found)
    }

    /// Where below the roots a mount has left since, and may be back: of several, one in the other, the outermost.
    pub(crate) fn left(&self) -> Vec<&Path> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let now = mounts();
        let is_there = |mount: &&Mount| {
            now.iter().any(|now| now.mount() == mount.number && now.seen_at() == mount.seen_at)
                && unique(&mount.seen_at) == mount.unique
        };
        let left: Vec<&Path> =
            self.0.iter().filter(|mount| !is_there(mount)).map(|m| m.below.as_path()).collect();
        let is_outermost = |path: &&Path| !left.iter().any(|other| other != path && path.starts_with(other));
        left.iter().copied().filter(is_outermost).collect()
    }
}

/// The number that no other mount than the one at a path ever has, if the kernel tells. Nobody is asked for it on a network.
fn unique(seen_at: &Path) -> Option<u64> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(CWD, seen_at, flags, UNIQUE_MOUNT).ok()?;
    mount_of(&found).filter(|_| found.stx_mask & UNIQUE_MOUNT.bits() != 0)
}

/// Whether a list is about a path, or something on the way to it or below it.
fn leads_to(paths: &Paths, way: &Path) -> bool {
    let mut node = &paths.root;
    for component in way.components() {
        if node.named && paths.recursive {
            return true;
        }
        let name = CString::new(component.as_os_str().as_bytes());
        match name.ok().and_then(|name| node.child(&name)) {
            Some(child) => node = child,
            None => return false,
        }
    }
    true
}
