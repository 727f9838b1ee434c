//! The two roots: opened once, by the names the user gave, and held. Everything beneath is reached from these
//! descriptors alone. SRC and DST that overlap are refused before anything is written.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::stat_open;
use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::metadata::proc_path;
use crate::plan::entry::{Kind, Stat};

/// A directory that the user named, and everything beneath it.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// `None` only for a destination that a dry run does not make.
    pub(crate) fd: Option<Arc<OwnedFd>>,
    /// As the user named it, for messages.
    pub(crate) path: PathBuf,
}

/// What is to be mirrored.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    pub(crate) source: Root,
    pub(crate) destination: Root,
    /// For SRC that is one file: its name in the source root, and the one it gets. The roots are then the
    /// directories around it, and stay as they are.
    pub(crate) single: Option<Single>,
    /// The destination root was made by this run.
    pub(crate) fresh: bool,
}

/// One file instead of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Single {
    pub(crate) source: CString,
    pub(crate) destination: CString,
    pub(crate) kind: Kind,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// Opens SRC and makes or opens DST.
pub(crate) fn open(config: &Config) -> Result<Roots> {
    let source = resolve_source(&config.source)?;
    let stat = rustix::fs::statx(CWD, &source, AtFlags::empty(), Stat::FIELDS)
        .map(|x| Stat::from(&x))
        .at(Operation::UseSource, || &config.source)?;
    if stat.kind == Kind::Directory { open_trees(config) } else { open_single(config, &source, stat.kind) }
}

fn open_trees(config: &Config) -> Result<Roots> {
    let source = open_directory(&config.source, Operation::UseSource)?;
    let (destination, fresh) = match open_directory(&config.destination, Operation::UseDestination) {
        Ok(destination) => {
            refuse_overlap(&source, &destination, OsStr::new(""))?;
            (destination, false)
        }
        Err(error) if error.errno() == Some(Errno::NOENT) => (make_destination(config, &source)?, true),
        Err(error) => return Err(error),
    };
    Ok(Roots { source, destination, single: None, fresh })
}

/// Makes DST, and its parents where asked to, once it is known to lie outside SRC.
fn make_destination(config: &Config, source: &Root) -> Result<Root> {
    let path = &config.destination;
    let (existing, missing) = nearest_existing(path)?;
    let parent = open_directory(&existing, Operation::UseDestination)?;
    refuse_overlap(source, &parent, missing.as_os_str())?;
    if missing.components().count() > 1 && !config.make_parents {
        let cause = Cause::Refused("its parent directory does not exist (--mkpath makes it)".into());
        return Err(Error::new(Operation::UseDestination, path, cause));
    }
    if config.dry_run {
        return Ok(Root { fd: None, path: path.clone() });
    }
    let mut fd = parent.fd;
    for name in missing.components() {
        let Some(parent) = &fd else { break };
        match rustix::fs::mkdirat(parent, name.as_os_str(), Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at(Operation::Create, || path),
        }
        let child = rustix::fs::openat(parent, name.as_os_str(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .at(Operation::UseDestination, || path)?;
        if config.fsync {
            rustix::fs::fsync(parent).at(Operation::Flush, || path)?;
        }
        fd = Some(Arc::new(child));
    }
    Ok(Root { fd, path: path.clone() })
}

/// Splits a path at the last directory that exists. A dangling symlink in it is an error, not a place to make one.
fn nearest_existing(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let mut existing = path.to_path_buf();
    let mut missing = Vec::new();
    while fs::symlink_metadata(&existing).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        match existing.components().next_back() {
            Some(Component::Normal(name)) => missing.push(name.to_os_string()),
            _ => break,
        }
        existing.pop();
        if existing.as_os_str().is_empty() {
            existing.push(".");
        }
    }
    fs::metadata(&existing).at(Operation::UseDestination, || path)?;
    Ok((existing, missing.into_iter().rev().collect()))
}

fn open_single(config: &Config, source: &Path, kind: Kind) -> Result<Roots> {
    let (directory, name) = split(source, Operation::UseSource)?;
    let source_root = open_around(&directory, Operation::UseSource)?;
    let named = resolve_destination(&config.destination)?;
    let is_directory = fs::metadata(&named).is_ok_and(|m| m.is_dir());
    let named_as_directory = config.destination.as_os_str().as_bytes().ends_with(b"/");
    let into = if is_directory || named_as_directory {
        // As the user named it: SRC may be a symlink, whose own name counts here.
        let own = config.source.file_name().map_or_else(|| name.clone(), OsStr::to_os_string);
        named.join(own)
    } else {
        refuse_special(&named, kind)?;
        named
    };
    let (parent, target) = split(&into, Operation::UseDestination)?;
    if !parent.exists() && !config.make_parents {
        let cause = Cause::Refused("its directory does not exist (--mkpath makes it)".into());
        return Err(Error::new(Operation::UseDestination, into, cause));
    }
    if config.make_parents && !config.dry_run {
        fs::create_dir_all(&parent).at(Operation::UseDestination, || &parent)?;
    }
    // A directory opened with O_PATH can't be flushed.
    let opened = if config.fsync {
        open_directory(&parent, Operation::UseDestination)
    } else {
        open_around(&parent, Operation::UseDestination)
    };
    let destination = match opened {
        Err(error) if config.dry_run && error.errno() == Some(Errno::NOENT) => {
            Root { fd: None, path: parent }
        }
        other => other?,
    };
    refuse_same_file(&source_root, &name, &destination, &target, config)?;
    let single = Single { source: c_name(&name)?, destination: c_name(&target)?, kind };
    Ok(Roots { source: source_root, destination, single: Some(single), fresh: false })
}

/// SRC as the user named it may be a symlink to what is meant.
fn resolve_source(path: &Path) -> Result<PathBuf> {
    let is_link = fs::symlink_metadata(path).at(Operation::UseSource, || path)?.is_symlink();
    if is_link { fs::canonicalize(path).at(Operation::UseSource, || path) } else { Ok(path.to_path_buf()) }
}

/// DST as the user named it may be a symlink to a file, or to the directory to put one in.
fn resolve_destination(path: &Path) -> Result<PathBuf> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link {
        fs::canonicalize(path).at(Operation::UseDestination, || path)
    } else {
        Ok(path.to_path_buf())
    }
}

/// A device, FIFO or socket that the user names as DST of a file is not meant to be replaced by it: think of /dev/null.
fn refuse_special(path: &Path, source: Kind) -> Result<()> {
    let existing = fs::symlink_metadata(path).map(|metadata| Kind::from(metadata.file_type()));
    if source == Kind::File && existing.is_ok_and(Kind::is_special) {
        return Err(refusal(path, "it is a device, FIFO or socket"));
    }
    Ok(())
}

fn refuse_same_file(
    source: &Root,
    name: &OsStr,
    destination: &Root,
    target: &OsStr,
    config: &Config,
) -> Result<()> {
    let inode = |root: &Root, name: &OsStr| {
        let fd = root.fd.as_ref()?;
        let stat = rustix::fs::statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS).ok()?;
        Some((Stat::from(&stat), stat_open(fd).ok()?.inode))
    };
    let (Some((from, from_parent)), Some((to, to_parent))) =
        (inode(source, name), inode(destination, target))
    else {
        return Ok(());
    };
    // Two hard links of one inode are two files with equal contents; one name in one directory is the same file.
    if from.inode == to.inode && from_parent == to_parent && name == target {
        return Err(refusal(&config.destination, "SRC and DST are the same file"));
    }
    Ok(())
}

fn split(path: &Path, operation: Operation) -> Result<(PathBuf, OsString)> {
    let name = path.file_name().ok_or(Errno::INVAL).at(operation, || path)?.to_os_string();
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    Ok((parent, name))
}

fn c_name(name: &OsStr) -> Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| Errno::INVAL).at(Operation::UseDestination, || name)
}

fn open_directory(path: &Path, operation: Operation) -> Result<Root> {
    let fd = rustix::fs::open(path, DIRECTORY, Mode::empty()).at(operation, || path)?;
    Ok(Root { fd: Some(Arc::new(fd)), path: path.to_path_buf() })
}

/// Opens the directory around a single file, which need not be one that can be listed.
fn open_around(path: &Path, operation: Operation) -> Result<Root> {
    let fd = rustix::fs::open(path, DIRECTORY | OFlags::PATH, Mode::empty()).at(operation, || path)?;
    Ok(Root { fd: Some(Arc::new(fd)), path: path.to_path_buf() })
}

fn refusal(path: &Path, why: &str) -> Error {
    Error::new(Operation::UseDestination, path, Cause::Refused(why.into()))
}

/// Refuses SRC = DST and one inside the other. Names don't tell: a bind mount shows a directory in a second place.
/// So each root is placed within its file system (the mount's root there, plus the path below the mount point), and
/// these places are compared, also with every mount inside the other tree.
fn refuse_overlap(source: &Root, destination: &Root, missing: &OsStr) -> Result<()> {
    let (Some(source_fd), Some(destination_fd)) = (&source.fd, &destination.fd) else { return Ok(()) };
    let path = &destination.path;
    let same = "SRC and DST are the same directory";
    let from = stat_open(source_fd).at(Operation::UseSource, || &source.path)?;
    let to = stat_open(destination_fd).at(Operation::UseDestination, || path)?;
    if from.inode == to.inode && missing.is_empty() {
        return Err(refusal(path, same));
    }
    let mounts = mounts();
    let (Some(from), Some(mut to)) = (place(source_fd, &mounts), place(destination_fd, &mounts)) else {
        return Ok(()); // no /proc: the check by inode above has to do
    };
    to.path.push(missing);
    to.seen_at.push(missing);
    if from.holds(&to) || mounts_below(&from, &mounts).any(|mount| mount.holds(&to)) {
        let why = if to.path == from.path { same } else { "DST lies inside SRC" };
        return Err(refusal(path, why));
    }
    if to.holds(&from) || mounts_below(&to, &mounts).any(|mount| mount.holds(&from)) {
        return Err(refusal(path, "SRC lies inside DST"));
    }
    Ok(())
}

/// Where a directory lies: in which file system, where in it, and where it is seen.
#[derive(Debug, Clone)]
struct Place {
    device: String,
    path: PathBuf,
    seen_at: PathBuf,
    mount: u64,
}

impl Place {
    fn holds(&self, other: &Place) -> bool {
        self.device == other.device && other.path.starts_with(&self.path)
    }
}

fn mounts_below<'a>(tree: &'a Place, mounts: &'a [Place]) -> impl Iterator<Item = &'a Place> {
    mounts.iter().filter(|mount| mount.seen_at != tree.seen_at && mount.seen_at.starts_with(&tree.seen_at))
}

fn place(fd: &OwnedFd, mounts: &[Place]) -> Option<Place> {
    let seen_at = fs::read_link(proc_path(fd)).ok()?;
    let id = mount_id(fd)?;
    let mount = mounts.iter().find(|mount| mount.mount == id)?;
    let below = seen_at.strip_prefix(&mount.seen_at).ok()?;
    Some(Place { path: mount.path.join(below), seen_at, ..mount.clone() })
}

fn mount_id(fd: impl AsFd) -> Option<u64> {
    let info = fs::read_to_string(proc_path(fd).replace("/fd/", "/fdinfo/")).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// The mounts of this process: proc_pid_mountinfo(5).
fn mounts() -> Vec<Place> {
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    text.split(|&b| b == b'\n').filter_map(parse_mount).collect()
}

fn parse_mount(line: &[u8]) -> Option<Place> {
    let mut fields = line.split(|&b| b == b' ');
    let mount = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = String::from_utf8(fields.nth(1)?.to_vec()).ok()?;
    Some(Place { mount, device, path: unescape(fields.next()?), seen_at: unescape(fields.next()?) })
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
            |path: &str| Place { device: "8:1".into(), path: path.into(), seen_at: path.into(), mount: 1 };
        assert!(at("/a").holds(&at("/a/b")));
        assert!(at("/a").holds(&at("/a")));
        assert!(!at("/a").holds(&at("/ab")));
        assert!(!at("/a/b").holds(&at("/a")));
    }
}
