//! Paths that the user named beside SRC and DST: where a log, a trace, a manifest and backups go, and what is linked to.
//! They are walked one name at a time from held directories, so that what another user plants does not lead astray:
//!
//! - Beneath SRC and DST no symlink is followed.
//! - Elsewhere each symlink must belong to root or to the user who runs this (`--insecure-links` lifts that).
//! - What is there already is looked at before it is opened, and only then written to.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Kind;
use crate::files::trees::Trees;
use crate::stat::{Stat, proc_path, stat_open};
use crate::text::Escaped;

/// Symlinks on the way to one place: as many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// How often a name is looked at again that comes and goes meanwhile.
const ATTEMPTS: usize = 16;
/// The type that statfs(2) has for proc(5) (linux/magic.h). Its links lead to what a process has open, not to a name.
const PROC_SUPER_MAGIC: u32 = 0x9fa0;

const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A name in a directory that is held.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) directory: OwnedFd,
    pub(crate) name: OsString,
    /// The path's last name is that of a symlink, which led here.
    pub(crate) linked: bool,
    /// It is a link of proc(5), which the kernel alone can follow.
    is_magic: bool,
}

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Append,
    Truncate,
}

/// Finds the directory that a path leads to, and the name in it, which need not be there.
pub(crate) fn find(path: &Path, trees: &Trees, operation: Operation) -> Result<Named> {
    let bytes = path.as_os_str().as_bytes();
    let last = bytes.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if matches!(last, b"" | b"." | b"..") {
        return Err(if bytes.is_empty() { Errno::NOENT } else { Errno::ISDIR }).at(operation, || path);
    }
    let mut walk = Descent::new(path, None, trees, operation)?;
    walk.go(Aim::Name)?.ok_or(Errno::ISDIR).at(operation, || path)
}

/// Holds the directory that a path leads to, which begins at `start` if it is relative; with `make`, what is missing of
/// it is made.
pub(crate) fn directory(
    path: &Path,
    start: Option<&OwnedFd>,
    trees: &Trees,
    operation: Operation,
    make: bool,
) -> Result<OwnedFd> {
    let mut walk = Descent::new(path, start, trees, operation)?;
    walk.go(if make { Aim::NewDirectory } else { Aim::Directory })?;
    Ok(walk.fd)
}

/// Opens a file to read it in order, wherever it lies; symlinks of other users lead there only if this is `insecure`. A FIFO that
/// somebody else may have planted keeps nobody waiting, and nobody else's device is opened.
pub(crate) fn open_to_read(path: &Path, insecure: bool) -> Result<File, Cause> {
    let held = match insecure {
        true => rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
        false => {
            let named = find(path, &Trees::none(), Operation::ReadPaths).map_err(|error| error.cause)?;
            let flags = if named.is_magic { OFlags::PATH | OFlags::CLOEXEC } else { HOLD };
            rustix::fs::openat(&named.directory, &named.name, flags, Mode::empty())?
        }
    };
    let stat = stat_open(&held)?;
    if stat.kind == Kind::Symlink {
        return Err(Errno::LOOP.into()); // it has just become one
    }
    if stat.kind.is_special() && !is_trusted(stat.uid) {
        let text = format!("it is a {}, and belongs to another user (uid {})", stat.kind.name(), stat.uid);
        return Err(Cause::Refused(text));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open(proc_path(&held), flags, Mode::empty())?.into())
}

/// Root, and the user who runs this.
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Whether others than root and the user who runs this may change what is in a directory.
fn is_open_to_others(directory: &Stat) -> bool {
    !is_trusted(directory.uid) || directory.mode & 0o022 != 0
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Name,
    Directory,
    NewDirectory,
}

/// A path that is walked, one name after the other.
struct Descent<'a> {
    trees: &'a Trees,
    operation: Operation,
    /// As the user named it.
    path: &'a Path,
    fd: OwnedFd,
    /// Where `fd` is, for messages.
    at: PathBuf,
    /// Whether that is beneath SRC or DST.
    is_inside: bool,
    /// Names that are to come, the next one last.
    names: Vec<Vec<u8>>,
    links: usize,
    /// The last name was that of one.
    is_linked: bool,
}

impl<'a> Descent<'a> {
    fn new(path: &'a Path, start: Option<&OwnedFd>, trees: &'a Trees, operation: Operation) -> Result<Self> {
        let first = if path.is_absolute() { c"/" } else { c"." };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let from = start.map_or(CWD, |fd| fd.as_fd());
        let fd = rustix::fs::openat(from, first, flags, Mode::empty()).at(operation, || path)?;
        let at = if path.is_absolute() { PathBuf::from("/") } else { PathBuf::new() };
        let is_inside = trees.have(&fd);
        let mut walk = Descent {
            trees,
            operation,
            path,
            fd,
            at,
            is_inside,
            names: Vec::new(),
            links: 0,
            is_linked: false,
        };
        walk.push(path.as_os_str().as_bytes());
        Ok(walk)
    }

    fn push(&mut self, path: &[u8]) {
        let names = path.split(|&byte| byte == b'/').rev();
        self.names.extend(names.filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec));
    }

    /// Goes to the end. Returns the last name if that is wanted, and there is one.
    fn go(&mut self, aim: Aim) -> Result<Option<Named>> {
        while let Some(name) = self.names.pop() {
            if name == b".." {
                self.enter(c"..", "..".as_ref(), false).at(self.operation, || self.path)?;
                continue;
            }
            let os_name = OsString::from_vec(name.clone());
            let c_name = CString::new(name).map_err(|_| Errno::INVAL).at(self.operation, || self.path)?;
            let is_last = self.names.is_empty();
            if let Some(link) = self.link(&c_name)? {
                let is_magic = self.follow(&c_name, &os_name, link, is_last && aim == Aim::Name)?;
                if is_magic {
                    return self.named(os_name, true).map(Some);
                }
            } else if is_last && aim == Aim::Name {
                return self.named(os_name, false).map(Some);
            } else {
                let entered = match self.enter(&c_name, &os_name, false) {
                    Err(Errno::NOENT) if aim == Aim::NewDirectory => self.make(&c_name, &os_name),
                    entered => entered,
                };
                entered.at(self.operation, || self.path)?;
            }
        }
        Ok(None)
    }

    fn named(&self, name: OsString, is_magic: bool) -> Result<Named> {
        let directory = self.fd.try_clone().at(self.operation, || self.path)?;
        Ok(Named { directory, name, linked: self.is_linked, is_magic })
    }

    /// Goes to a directory below, or above.
    fn enter(&mut self, name: &std::ffi::CStr, shown: &OsStr, follow: bool) -> rustix::io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let flags = if follow { flags } else { flags | OFlags::NOFOLLOW };
        self.fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())?;
        let down = !follow && shown != "..";
        self.is_inside = match down {
            true => self.is_inside || self.trees.have_root(stat_open(&self.fd)?.inode),
            false => self.trees.have(&self.fd),
        };
        self.at.push(shown);
        Ok(())
    }

    /// Makes a directory that is missing. Another run that makes it at the same time makes it for us too.
    fn make(&mut self, name: &std::ffi::CStr, shown: &OsStr) -> rustix::io::Result<()> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => self.enter(name, shown, false),
            Err(errno) => Err(errno),
        }
    }

    /// The symlink of this name, held, if it is one.
    fn link(&self, name: &std::ffi::CStr) -> Result<Option<(OwnedFd, Stat)>> {
        match rustix::fs::openat(&self.fd, name, HOLD, Mode::empty()) {
            Ok(fd) => {
                let stat = stat_open(&fd).at(self.operation, || self.path)?;
                Ok((stat.kind == Kind::Symlink).then_some((fd, stat)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).at(self.operation, || self.path),
        }
    }

    /// Goes where a symlink leads, if it may be followed. Returns whether it is the last name, and the kernel's to follow.
    fn follow(
        &mut self,
        name: &std::ffi::CStr,
        shown: &OsStr,
        (fd, link): (OwnedFd, Stat),
        is_last: bool,
    ) -> Result<bool> {
        let refused = |why: String| {
            let link = self.at.join(shown);
            let cause = Cause::Refused(format!("{} {why}", Escaped::path(&link)));
            Err(Error::new(self.operation, self.path, cause))
        };
        if self.is_inside {
            return refused("is a symlink, and none is followed in SRC or DST: name what it leads to".into());
        }
        if !self.trees.insecure && !is_trusted(link.uid) {
            let (link, uid) = (self.at.join(shown), link.uid);
            return Err(Error::new(self.operation, self.path, Cause::ForeignLink { link, uid }));
        }
        self.links += 1;
        self.is_linked |= self.names.is_empty();
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP).at(self.operation, || self.path);
        }
        let kind = rustix::fs::fstatfs(&self.fd).map(|answer| answer.f_type as u32);
        if kind == Ok(PROC_SUPER_MAGIC) {
            if !is_last {
                self.enter(name, shown, true).at(self.operation, || self.path)?;
            }
            return Ok(is_last);
        }
        let target = rustix::fs::readlinkat(&fd, c"", Vec::with_capacity(256));
        let target = target.at(self.operation, || self.path)?.into_bytes();
        if target.first() == Some(&b'/') {
            self.fd = rustix::fs::openat(
                CWD,
                c"/",
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .at(self.operation, || self.path)?;
            (self.at, self.is_inside) = (PathBuf::from("/"), self.trees.have(&self.fd));
        }
        self.push(&target);
        Ok(false)
    }
}

impl Named {
    /// Makes the file that is to be here, or opens the one that is, to write to it. What is there must be root's or the
    /// user's own, and must not be a further name of something elsewhere.
    pub(crate) fn open_to_write(&self, trees: &Trees, existing: Existing) -> Result<File, Cause> {
        for _ in 0..ATTEMPTS {
            match self.open_existing(trees, existing) {
                Ok(file) => return Ok(file),
                Err(Cause::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(cause) => return Err(cause),
            }
            match self.create(trees, existing) {
                Err(Errno::EXIST) => {}
                made => return Ok(made?.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    fn open_existing(&self, trees: &Trees, existing: Existing) -> Result<File, Cause> {
        let flags = if self.is_magic { OFlags::PATH | OFlags::CLOEXEC } else { HOLD };
        let held = rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty())?;
        let stat = stat_open(&held)?;
        if stat.kind == Kind::Directory {
            return Err(Errno::ISDIR.into());
        }
        if stat.kind == Kind::Symlink {
            return Err(Errno::LOOP.into()); // it has just become one
        }
        if !self.is_magic {
            self.require_own(&stat)?;
        }
        let way = match existing {
            Existing::Append => OFlags::APPEND,
            Existing::Truncate if stat.kind == Kind::File => OFlags::TRUNC,
            Existing::Truncate => OFlags::empty(),
        };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY | way;
        let file = rustix::fs::open(proc_path(&held), flags, Mode::empty())?;
        if existing == Existing::Truncate && stat.kind == Kind::File && !self.is_magic {
            // It holds other names from now on. One that is not ours keeps the mode that its owner gave it.
            let mode = stat.mode & trees.mode_for(stat.gid);
            if mode != stat.mode & 0o7777 && is_own(&stat) {
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            }
        }
        Ok(file.into())
    }

    fn require_own(&self, stat: &Stat) -> Result<(), Cause> {
        if !is_trusted(stat.uid) {
            // A user who is not root could not harm more than the other user lets them.
            let is_root = rustix::process::geteuid().is_root();
            if is_root || stat.kind != Kind::File {
                return Err(Cause::Refused(format!(
                    "it belongs to another user (uid {}): remove it, or name another file",
                    stat.uid
                )));
            }
        }
        let around = stat_open(&self.directory)?;
        if stat.kind == Kind::File && stat.links > 1 && is_open_to_others(&around) {
            let why = "it has further names, in a directory that others can write to: name another file";
            return Err(Cause::Refused(why.into()));
        }
        Ok(())
    }

    fn create(&self, trees: &Trees, existing: Existing) -> rustix::io::Result<OwnedFd> {
        let append = if existing == Existing::Append { OFlags::APPEND } else { OFlags::empty() };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        trees.create(|mode| rustix::fs::openat(&self.directory, &self.name, flags | append, mode))
    }
}

fn is_own(stat: &Stat) -> bool {
    stat.uid == rustix::process::geteuid().as_raw()
}
