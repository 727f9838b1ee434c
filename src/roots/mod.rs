//! The two roots: opened once, by the names the user gave, and held. Everything beneath is reached from these
//! descriptors alone. SRC and DST that overlap are refused before anything is written. Several sources for one directory
//! are the business of several.rs.

pub(crate) mod backup_place;
pub(crate) mod follow;
pub(crate) mod lock;
pub(crate) mod mounted;
pub(crate) mod nested;
pub(crate) mod overlap;
pub(crate) mod several;

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Kind;
use crate::files::named::{self, is_trusted};
use crate::files::trees::Trees;
use crate::io::temporary::MARKED;
use crate::roots::backup_place::{found_in, refuse_backups_where_source_is};
use crate::roots::several::Several;
use crate::stat::{Stat, proc_path, stat_open};
use crate::text::Escaped;

/// A directory that the user named, and everything beneath it.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// `None` only for a destination that a dry run does not make.
    pub(crate) fd: Option<Arc<OwnedFd>>,
    /// As the user named it, for messages.
    pub(crate) path: PathBuf,
}

impl Root {
    /// A path that begins here, if it is relative. Where there is no directory yet, `..` leads to where it would be.
    pub(crate) fn beside(&self, path: &Path) -> PathBuf {
        let joined = self.path.join(path);
        if self.fd.is_some() {
            return joined;
        }
        let mut resolved = PathBuf::new();
        for component in joined.components() {
            match component {
                Component::ParentDir if resolved.file_name().is_some() => drop(resolved.pop()),
                component => resolved.push(component),
            }
        }
        resolved
    }
}

/// What is to be mirrored.
#[derive(Debug)]
pub(crate) struct Roots {
    /// Of several sources: the root of the file system, which is all that they have in common.
    pub(crate) source: Root,
    pub(crate) destination: Root,
    /// For SRC that is one file: its name in the source root, and the one it gets. The roots are then the
    /// directories around it, and stay as they are.
    pub(crate) single: Option<Single>,
    /// For several sources: each gets its own name in the destination root.
    pub(crate) several: Option<Several>,
    /// The destination root was made by this run.
    pub(crate) fresh: bool,
    /// The destination lies below the source, where the walk is kept out.
    pub(crate) nested: bool,
}

impl Roots {
    /// Where in the source tree `below` lies, as the user would name it.
    pub(crate) fn source_path(&self, below: &Path) -> PathBuf {
        let named = self.several.as_ref().and_then(|several| several.source_path(below));
        named.unwrap_or_else(|| join(&self.source.path, below))
    }

    /// Where in the destination tree `below` lies, as the user would name it.
    pub(crate) fn destination_path(&self, below: &Path) -> PathBuf {
        join(&self.destination.path, below)
    }
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
    if let Some(sources) = &config.sources {
        return several::open(config, sources);
    }
    if config.within.is_some() {
        return open_trees(config);
    }
    let (source, flags) = match config.source_itself {
        true => (config.source.clone(), AtFlags::SYMLINK_NOFOLLOW),
        false => (resolve_source(&config.source)?, AtFlags::empty()),
    };
    let stat = rustix::fs::statx(CWD, &source, flags, Stat::FIELDS)
        .map(|x| Stat::from(&x))
        .at(Operation::UseSource, || &config.source)?;
    if stat.kind == Kind::Directory { open_trees(config) } else { open_single(config, &source, stat.kind) }
}

fn open_trees(config: &Config) -> Result<Roots> {
    let source = open_source(config)?;
    let manifest = overlap::manifest_of(config)?;
    if let Some((manifest, named)) = &manifest {
        overlap::refuse_manifest_in_source(&config.select, manifest, named, &source)?;
    }
    let (destination, fresh, nested) = match open_named(&config.destination, config) {
        Ok(destination) => {
            let nested = overlap::refuse_overlap(config, &source, &destination, OsStr::new(""))?;
            refuse_backups(config, &source, &destination, Path::new(""))?;
            if let Some((manifest, named)) = &manifest {
                overlap::refuse_manifest_in_destination(manifest, named, &source, &destination)?;
            }
            (destination, false, nested)
        }
        Err(error) if error.errno() == Some(Errno::NOENT) => make_destination(config, &source)?,
        Err(error) => return Err(error),
    };
    Ok(Roots { source, destination, single: None, several: None, fresh, nested })
}

/// Opens SRC, which the user may have named by a symlink.
fn open_source(config: &Config) -> Result<Root> {
    let path = &config.source;
    if config.within.is_none() {
        return open_directory(path, Operation::UseSource);
    }
    let fd = rustix::fs::open(path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    Ok(Root { fd: Some(Arc::new(fd.at(Operation::UseSource, || path)?)), path: path.clone() })
}

fn refuse_backups(config: &Config, source: &Root, existing: &Root, missing: &Path) -> Result<()> {
    let source_has = |way: &Path| found_in(source, way);
    refuse_backups_where_source_is(config, &config.destination, existing, missing, source_has)
}

/// Makes DST, and its parents where asked to, once it is known to lie outside SRC, or where the walk does not come. Nobody
/// but the user can enter DST before it is done, and its parents are no more open than SRC. Returns also whether this run
/// made DST, and nobody else, and whether it lies in SRC.
fn make_destination(config: &Config, source: &Root) -> Result<(Root, bool, bool)> {
    let path = &config.destination;
    let (existing, missing) = nearest_existing(path)?;
    let parent = open_named(&existing, config)?;
    let nested = overlap::refuse_overlap(config, source, &parent, missing.as_os_str())?;
    refuse_backups(config, source, &parent, &missing)?;
    if missing.components().count() > 1 && !config.make_parents {
        let cause = Cause::Missing("its parent directory");
        return Err(Error::new(Operation::UseDestination, path, cause));
    }
    let from = source.fd.as_ref().ok_or(Errno::NOENT).and_then(stat_open);
    let from = from.at(Operation::UseSource, || &source.path)?;
    let parents = Mode::from_raw_mode(from.mode & 0o777) | Mode::RWXU;
    let (root, made) = make_directories(config, parent, &missing, (parents, MARKED))?;
    Ok((root, made, nested))
}

/// Makes DST, whose nearest parent that exists is `parent`, with the modes of further parents and of DST. Returns also
/// whether DST was made, and not found.
pub(crate) fn make_directories(
    config: &Config,
    parent: Root,
    missing: &Path,
    (parents, last): (Mode, Mode),
) -> Result<(Root, bool)> {
    let path = &config.destination;
    if !config.writes() {
        return Ok((Root { fd: None, path: path.clone() }, true));
    }
    let (mut fd, mut made) = (parent.fd, false);
    let mut names = missing.components().peekable();
    while let (Some(name), Some(parent)) = (names.next(), &fd) {
        let mode = if names.peek().is_some() { parents } else { last };
        made = match rustix::fs::mkdirat(parent, name.as_os_str(), mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno).at(Operation::Create, || path),
        };
        let child = rustix::fs::openat(parent, name.as_os_str(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .at(Operation::UseDestination, || path)?;
        if config.fsync {
            match rustix::fs::fsync(parent) {
                // It can't be flushed. Of DST itself, which lies on it, the run then says so.
                Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {}
                flushed => flushed.at(Operation::Flush, || path)?,
            }
        }
        fd = Some(Arc::new(child));
    }
    Ok((Root { fd, path: path.clone() }, made))
}

/// Where a path lies in a directory, by its names and by what these lead to, if it does.
pub(crate) fn below(root: &Root, path: &Path) -> Vec<PathBuf> {
    let (Ok(top), Ok(path)) = (std::path::absolute(&root.path), std::path::absolute(path)) else {
        return Vec::new();
    };
    let resolved = top.canonicalize().and_then(|top| {
        let (parent, name) = (path.parent().unwrap_or(&path), path.file_name().unwrap_or_default());
        let (existing, missing) = nearest_existing(parent).map_err(std::io::Error::other)?;
        Ok((top, existing.canonicalize()?.join(missing).join(name)))
    });
    let pairs = std::iter::once((top, path)).chain(resolved.ok());
    let inside = pairs.filter_map(|(top, path)| path.strip_prefix(&top).map(Path::to_path_buf).ok());
    inside.filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Splits a path at the last directory that exists. A dangling symlink in it is an error, not a place to make one.
pub(crate) fn nearest_existing(path: &Path) -> Result<(PathBuf, PathBuf)> {
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
    if let Err(error) = fs::metadata(&existing) {
        let cause = match error.kind() {
            std::io::ErrorKind::NotFound => {
                Cause::Refused(format!("{} is a symlink to what does not exist", Escaped::path(&existing)))
            }
            _ => error.into(),
        };
        return Err(Error::new(Operation::UseDestination, path, cause));
    }
    Ok((existing, missing.into_iter().rev().collect()))
}

fn open_single(config: &Config, source: &Path, kind: Kind) -> Result<Roots> {
    let (directory, name) = split(source, Operation::UseSource)?;
    let source_root = open_around(&directory, Operation::UseSource)?;
    let named = resolve_destination(config)?;
    let is_directory = fs::symlink_metadata(&named).is_ok_and(|m| m.is_dir());
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
        let cause = Cause::Missing("its directory");
        return Err(Error::new(Operation::UseDestination, into, cause));
    }
    if config.make_parents && config.writes() {
        hold_named(&parent, config, true)?;
    }
    let destination = match open_into(&parent, config) {
        Err(error) if !config.writes() && error.errno() == Some(Errno::NOENT) => {
            Root { fd: None, path: parent }
        }
        other => other?,
    };
    refuse_same_file(&source_root, &name, &destination, &target, config)?;
    refuse_backups_where_source_is(config, &destination.path, &destination, Path::new(""), |way| {
        (way.components().next()?.as_os_str() == target).then(|| config.source.clone())
    })?;
    let single = Single { source: c_name(&name)?, destination: c_name(&target)?, kind };
    if let Some((manifest, named)) = overlap::manifest_of(config)? {
        overlap::refuse_manifest_of_single(manifest, &named, &source_root, &destination, &single)?;
    }
    let (single, several) = (Some(single), None);
    Ok(Roots { source: source_root, destination, single, several, fresh: false, nested: false })
}

/// SRC as the user named it may be a symlink to what is meant.
fn resolve_source(path: &Path) -> Result<PathBuf> {
    let is_link = fs::symlink_metadata(path).at(Operation::UseSource, || path)?.is_symlink();
    match fs::canonicalize(path) {
        _ if !is_link => Ok(path.to_path_buf()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let cause = Cause::Refused("it is a symlink to what does not exist".into());
            Err(Error::new(Operation::UseSource, path, cause))
        }
        resolved => resolved.at(Operation::UseSource, || path),
    }
}

/// DST of a file, as the user named it, may be a symlink to the directory to put it in, if it is the user's own or root's.
/// Any other symlink is replaced, and not what it leads to.
fn resolve_destination(config: &Config) -> Result<PathBuf> {
    let path = config.destination.as_path();
    let bare = path.components().as_path(); // with a slash at its end it would be followed
    let Some(link) = fs::symlink_metadata(bare).ok().filter(fs::Metadata::is_symlink) else {
        return Ok(path.to_path_buf());
    };
    let is_directory = fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_directory && (config.insecure_links || is_trusted(link.uid())) {
        let held = hold_named(path, config, false)?;
        return fs::read_link(proc_path(&held)).at(Operation::UseDestination, || path);
    }
    if bare.as_os_str().len() < path.as_os_str().len() && path.as_os_str().as_bytes().ends_with(b"/") {
        let why = format!("it is a symlink of another user (uid {}): name what it leads to", link.uid());
        return Err(refusal(
            path,
            if is_directory { &why } else { "it is a symlink that leads to no directory" },
        ));
    }
    Ok(path.to_path_buf())
}

/// A device, FIFO or socket that the user names as DST of a file is not meant to be replaced by it: think of /dev/null.
fn refuse_special(path: &Path, source: Kind) -> Result<()> {
    // A symlink of the user's own, or root's, stands for what it leads to: /dev/stdout.
    let own = fs::symlink_metadata(path).is_ok_and(|metadata| is_trusted(metadata.uid()));
    let existing = if own { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let existing = existing.map(|metadata| Kind::from(metadata.file_type()));
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

/// A path below a root: the root's own if there is nothing below.
pub(crate) fn join(root: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { root.to_path_buf() } else { root.join(below) }
}

pub(crate) fn open_directory(path: &Path, operation: Operation) -> Result<Root> {
    let fd = rustix::fs::open(path, DIRECTORY, Mode::empty()).at(operation, || path)?;
    Ok(Root { fd: Some(Arc::new(fd)), path: path.to_path_buf() })
}

/// Opens the directory around a single file, which need not be one that can be listed.
pub(crate) fn open_around(path: &Path, operation: Operation) -> Result<Root> {
    let fd = rustix::fs::open(path, DIRECTORY | OFlags::PATH, Mode::empty()).at(operation, || path)?;
    Ok(Root { fd: Some(Arc::new(fd)), path: path.to_path_buf() })
}

/// Opens the directory that files are put into. One that can't be listed has to do: it can't be flushed, and what a killed
/// run left in it can't be found.
pub(crate) fn open_into(path: &Path, config: &Config) -> Result<Root> {
    let held = hold_named(path, config, false)?;
    match rustix::fs::openat(&held, c".", DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) if !config.fsync => {
            Ok(Root { fd: Some(Arc::new(held)), path: path.to_path_buf() })
        }
        opened => root_of(opened, path),
    }
}

/// Opens a directory that is written to. A symlink on the way there must be root's or the user's own: what they named is meant,
/// and not what somebody else had it lead to.
pub(crate) fn open_named(path: &Path, config: &Config) -> Result<Root> {
    let held = hold_named(path, config, false)?;
    root_of(rustix::fs::openat(&held, c".", DIRECTORY, Mode::empty()), path)
}

fn root_of(opened: rustix::io::Result<OwnedFd>, path: &Path) -> Result<Root> {
    let fd = opened.at(Operation::UseDestination, || path)?;
    Ok(Root { fd: Some(Arc::new(fd)), path: path.to_path_buf() })
}

/// Holds such a directory; with `make`, what is missing of it is made.
fn hold_named(path: &Path, config: &Config, make: bool) -> Result<OwnedFd> {
    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT).at(Operation::UseDestination, || path);
    }
    let nothing = Trees::none().following(config.insecure_links);
    named::directory(path, None, &nothing, Operation::UseDestination, make)
}

pub(crate) fn refusal(path: &Path, why: &str) -> Error {
    Error::new(Operation::UseDestination, path, Cause::Refused(why.into()))
}
