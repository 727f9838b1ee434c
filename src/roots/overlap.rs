//! Where directories lie, by which what overlaps is told: SRC and DST, and a manifest among what is mirrored.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::files::named::{self, Named};
use crate::roots::nested::{is_kept_out, ways};
use crate::roots::{Root, Roots, Single, refusal};
use crate::select::Selection;
use crate::stat::{Stat, proc_path, stat_open};

/// Refuses SRC = DST and one inside the other. Names don't tell: a bind mount shows a directory in a second place.
/// So each root is placed within its file system (the mount's root there, plus the path below the mount point), and
/// these places are compared, also with every mount inside the other tree.
/// DST inside SRC is none where the walk is kept out of it: then the answer is true. Of a DST that does not exist yet
/// `destination` is the nearest directory above it that does, and `missing` the way from there.
pub(crate) fn refuse_overlap(
    config: &Config,
    source: &Root,
    destination: &Root,
    missing: &OsStr,
) -> Result<bool> {
    let (Some(source_fd), Some(destination_fd)) = (&source.fd, &destination.fd) else { return Ok(false) };
    let path = &config.destination;
    let same = "SRC and DST are the same directory";
    let from = stat_open(source_fd).at(Operation::UseSource, || &source.path)?;
    let to = stat_open(destination_fd).at(Operation::UseDestination, || path)?;
    if from.inode == to.inode && missing.is_empty() {
        return Err(refusal(path, same));
    }
    let mounts = mounts();
    let (Some(from), Some(mut to)) = (place(source_fd, &mounts), place(destination_fd, &mounts)) else {
        return Ok(false); // no /proc: the check by inode above has to do
    };
    to.path.push(missing);
    to.seen_at.push(missing);
    let is_nested = from.has(&to, &mounts);
    if is_nested && from.holds(&to) && to.path == from.path {
        return Err(refusal(path, same));
    }
    if is_nested && !is_kept_out(&config.select, (source_fd, &from), (destination_fd, &to), &mounts) {
        let by_several_paths = ways(&from, &to, &mounts).len() > 1;
        return Err(Error::new(Operation::UseDestination, path, Cause::InsideSource { by_several_paths }));
    }
    if to.has(&from, &mounts) {
        return Err(refusal(path, "SRC lies inside DST"));
    }
    if mounts_below(&to, &mounts).any(|mount| from.holds(mount)) {
        return Err(refusal(path, "a part of SRC is mounted inside DST"));
    }
    Ok(is_nested)
}

/// Where the manifest of a run is to be, if it writes one.
pub(crate) fn manifest_of(config: &Config) -> Result<Option<(&Path, Named)>> {
    let Some(path) = config.manifest() else { return Ok(None) };
    Ok(Some((path, named::find(path, &config.trees(), Operation::WriteManifest)?)))
}

pub(crate) fn refuse_manifest(manifest: &Path, why: &str) -> Error {
    Error::new(Operation::WriteManifest, manifest, Cause::Refused(why.into()))
}

/// Refuses a manifest that would change the tree it is about: one inside SRC.
pub(crate) fn refuse_manifest_in_source(
    select: &Selection,
    manifest: &Path,
    named: &Named,
    source: &Root,
) -> Result<()> {
    match is_mirrored(select, source, &named.directory) {
        true => Err(refuse_manifest(manifest, "it lies inside SRC")),
        false => Ok(()),
    }
}

/// Whether a directory lies in the source, and the walk is not kept out of it.
fn is_mirrored(select: &Selection, source: &Root, directory: &OwnedFd) -> bool {
    let Some(source) = &source.fd else { return false };
    let mounts = mounts();
    let places = place(source, &mounts).zip(place(directory, &mounts));
    places.is_some_and(|(from, at)| {
        from.has(&at, &mounts) && !is_kept_out(select, (source, &from), (directory, &at), &mounts)
    })
}

/// Refuses backups in the source, which would be mirrored the next time; `existing` is the nearest directory that is there.
pub(crate) fn refuse_backups_in_source(
    select: &Selection,
    path: &Path,
    existing: &Path,
    source: &Root,
) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let existing = rustix::fs::open(existing, flags, Mode::empty()).at(Operation::Backup, || path)?;
    match is_mirrored(select, source, &existing) {
        true => Err(Error::new(Operation::Backup, path, Cause::Refused("it lies inside SRC".into()))),
        false => Ok(()),
    }
}

/// Refuses a tree for backups in which these would take the place of what they are backups of: the destination itself, and
/// what a source lies in.
pub(crate) fn refuse_backups_over(path: &Path, roots: &Roots, sources: &[Root]) -> Result<()> {
    let refused = |why: &str| Err(Error::new(Operation::Backup, path, Cause::Refused(why.into())));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = rustix::fs::open(path, flags, Mode::empty()).at(Operation::Backup, || path)?;
    let inode = |fd: &OwnedFd| stat_open(fd).ok().map(|stat| stat.inode);
    if roots.destination.fd.as_ref().is_some_and(|fd| inode(fd) == inode(&tree)) {
        return refused("it is DST itself");
    }
    let mounts = mounts();
    let Some(at) = place(&tree, &mounts) else { return Ok(()) };
    let mut places = sources.iter().filter_map(|source| place(source.fd.as_ref()?, &mounts));
    if places.any(|source| at.has(&source, &mounts)) {
        return refused("SRC lies inside it");
    }
    // A backup's path could lead into DST.
    let destination = roots.destination.fd.as_ref().and_then(|fd| place(fd, &mounts));
    match destination.is_some_and(|destination| at.has(&destination, &mounts)) {
        true => refused("DST lies inside it"),
        false => Ok(()),
    }
}

/// Refuses a manifest that would take the place of something that is mirrored: one in DST whose name SRC has too.
pub(crate) fn refuse_manifest_in_destination(
    manifest: &Path,
    named: &Named,
    source: &Root,
    destination: &Root,
) -> Result<()> {
    let (Some(source), Some(destination)) = (&source.fd, &destination.fd) else { return Ok(()) };
    let mounts = mounts();
    let (Some(tree), Some(at)) = (place(destination, &mounts), place(&named.directory, &mounts)) else {
        return Ok(());
    };
    let Ok(below) = at.seen_at.strip_prefix(&tree.seen_at).or_else(|_| at.path.strip_prefix(&tree.path))
    else {
        return Ok(());
    };
    let path = below.join(&named.name);
    let taken = tree.has(&at, &mounts)
        && rustix::fs::statx(source, &path, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS).is_ok();
    if taken {
        Err(refuse_manifest(manifest, "SRC has a file of this name, which DST is to get"))
    } else {
        Ok(())
    }
}

/// Refuses a manifest that is the one file that is copied, or its copy.
pub(crate) fn refuse_manifest_of_single(
    manifest: &Path,
    named: &Named,
    source: &Root,
    destination: &Root,
    single: &Single,
) -> Result<()> {
    let inode = |fd: &OwnedFd| stat_open(fd).ok().map(|stat| stat.inode);
    let is = |root: &Root, name: &std::ffi::CStr| {
        name.to_bytes() == named.name.as_bytes()
            && root.fd.as_ref().is_some_and(|fd| inode(fd).is_some() && inode(fd) == inode(&named.directory))
    };
    if is(source, &single.source) || is(destination, &single.destination) {
        return Err(refuse_manifest(manifest, "it is the file that is copied, or its copy"));
    }
    Ok(())
}

/// Where a directory lies: in which file system, where in it, and where it is seen.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    device: String,
    path: PathBuf,
    seen_at: PathBuf,
    mount: u64,
}

impl Location {
    /// The place of what `below` leads to.
    pub(crate) fn join(&self, below: impl AsRef<Path>) -> Self {
        let below = below.as_ref();
        Location { path: self.path.join(below), seen_at: self.seen_at.join(below), ..self.clone() }
    }

    /// The way from here down to another place, also where that is seen through a mount inside the tree.
    pub(crate) fn way_to(&self, other: &Location, mounts: &[Location]) -> Option<PathBuf> {
        if self.holds(other) {
            return other.path.strip_prefix(&self.path).ok().map(Path::to_path_buf);
        }
        let mount = mounts_below(self, mounts).find(|mount| mount.holds(other))?;
        let below = other.path.strip_prefix(&mount.path).ok()?;
        Some(mount.seen_at.strip_prefix(&self.seen_at).ok()?.join(below))
    }

    /// The number of the mount that it lies in.
    pub(crate) fn mount(&self) -> u64 {
        self.mount
    }

    /// Where it is seen.
    pub(crate) fn seen_at(&self) -> &Path {
        &self.seen_at
    }

    /// The way from here down to another place of the same file system, if it lies there.
    pub(crate) fn way_within(&self, other: &Location) -> Option<PathBuf> {
        let below = other.path.strip_prefix(&self.path).ok().filter(|_| self.holds(other));
        below.map(Path::to_path_buf)
    }

    fn holds(&self, other: &Location) -> bool {
        self.device == other.device && other.path.starts_with(&self.path)
    }

    /// The same, also where it is seen through a mount inside the tree.
    pub(crate) fn has(&self, other: &Location, mounts: &[Location]) -> bool {
        self.holds(other) || mounts_below(self, mounts).any(|mount| mount.holds(other))
    }
}

pub(crate) fn mounts_below<'a>(
    tree: &'a Location,
    mounts: &'a [Location],
) -> impl Iterator<Item = &'a Location> {
    mounts.iter().filter(|mount| mount.seen_at != tree.seen_at && mount.seen_at.starts_with(&tree.seen_at))
}

pub(crate) fn place(fd: &OwnedFd, mounts: &[Location]) -> Option<Location> {
    let seen_at = fs::read_link(proc_path(fd)).ok()?;
    let id = mount_id(fd)?;
    let mount = mounts.iter().find(|mount| mount.mount == id)?;
    let below = seen_at.strip_prefix(&mount.seen_at).ok()?;
    Some(Location { path: mount.path.join(below), seen_at, ..mount.clone() })
}

fn mount_id(fd: impl AsFd) -> Option<u64> {
    let info = fs::read_to_string(proc_path(fd).replace("/fd/", "/fdinfo/")).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// The mounts of this process: proc_pid_mountinfo(5).
pub(crate) fn mounts() -> Vec<Location> {
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    text.split(|&b| b == b'\n').filter_map(parse_mount).collect()
}

fn parse_mount(line: &[u8]) -> Option<Location> {
    let mut fields = line.split(|&b| b == b' ');
    let mount = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = String::from_utf8(fields.nth(1)?.to_vec()).ok()?;
    Some(Location { mount, device, path: unescape(fields.next()?), seen_at: unescape(fields.next()?) })
}

/// Undoes mountinfo's escapes: a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        match digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_are_read_with_their_escapes() {
        let line = b"36 35 98:0 /mnt1 /a\\040b\\134 rw,noatime master:1 - ext3 /dev/root rw";
        let mount = parse_mount(line).unwrap();
        assert_eq!((mount.mount, mount.device.as_str()), (36, "98:0"));
        assert_eq!((mount.path, mount.seen_at), (PathBuf::from("/mnt1"), PathBuf::from("/a b\\")));
    }

    #[test]
    fn a_place_holds_whole_components_only() {
        let at =
            |path: &str| Location { device: "8:1".into(), path: path.into(), seen_at: path.into(), mount: 1 };
        assert!(at("/a").holds(&at("/a/b")));
        assert!(at("/a").holds(&at("/a")));
        assert!(!at("/a").holds(&at("/ab")));
        assert!(!at("/a/b").holds(&at("/a")));
    }
}
