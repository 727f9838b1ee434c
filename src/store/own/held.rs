//! What is ours in a store is opened, made, renamed and removed here, and nowhere else: from its directory, which is held,
//! and never through a symlink. What is to be read is a regular file: nothing waits for a FIFO.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::io::path::{open_directory, open_to_list};

/// What is not a snapshot lies in here.
pub(crate) const OWN: &str = ".ringsync";

const HOLD: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
/// How a file is opened: neither through a symlink, nor to wait for the other end of a FIFO.
const PLAIN: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens a directory of ours to list or to flush it. What lies outside is opened as its path says.
pub(crate) fn open_own(directory: &Path) -> io::Result<OwnedFd> {
    let (top, below) = split(directory, OFlags::RDONLY)?;
    Ok(open_to_list(top, below.as_os_str().as_bytes())?)
}

/// The directory for what is ours that a path leads through, held, and the way from there.
fn split(directory: &Path, access: OFlags) -> io::Result<(OwnedFd, &Path)> {
    let own = directory.ancestors().find(|above| above.file_name() == Some(OsStr::new(OWN)));
    let (top, below, flags) = match own {
        // The user may name a store by a symlink.
        None if directory.as_os_str().is_empty() => (Path::new("."), Path::new(""), HOLD),
        None => (directory, Path::new(""), HOLD),
        Some(own) => {
            (own, directory.strip_prefix(own).unwrap_or(Path::new("")), HOLD.union(OFlags::NOFOLLOW))
        }
    };
    Ok((rustix::fs::openat(CWD, top, flags | access, Mode::empty())?, below))
}

/// Holds the directory that a path lies in, and tells the name there.
fn around(path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let (top, below) = split(path.parent().unwrap_or(Path::new("")), OFlags::PATH)?;
    Ok((open_directory(top, below.as_os_str().as_bytes())?, name))
}

/// Opens a file to read it. The store may be another user's.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let (around, name) = around(path)?;
    plain(rustix::fs::openat(around, name, OFlags::RDONLY | PLAIN, Mode::empty())?)
}

fn plain(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file: remove it")),
    }
}

/// What is in a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open(path)?.read_to_end(&mut text)?;
    Ok(text)
}

/// Opens a file that stays what it is, and is made if it is missing.
pub(crate) fn open_to_lock(path: &Path) -> io::Result<File> {
    let (around, name) = around(path)?;
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | PLAIN;
    plain(rustix::fs::openat(around, name, flags, Mode::from_raw_mode(0o666))?)
}

/// Makes a file in place of what has its name: that is not written to.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let (around, name) = around(path)?;
    match rustix::fs::unlinkat(&around, name, AtFlags::empty()) {
        Err(Errno::NOENT) => {}
        removed => removed?,
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | PLAIN;
    Ok(File::from(rustix::fs::openat(around, name, flags, Mode::from_raw_mode(0o666))?))
}

/// Makes a small file that need not survive a crash.
pub(crate) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    create(path)?.write_all(text)
}

/// Makes a directory, closed to others, if it is not there.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    make_directory_of(path, Mode::RWXU)
}

/// The same, as far as the umask(2) lets it be open.
pub(crate) fn make_directory_of(path: &Path, mode: Mode) -> io::Result<()> {
    let (around, name) = around(path)?;
    match rustix::fs::mkdirat(around, name, mode) {
        Err(Errno::EXIST) => open_own(path).map(drop),
        made => Ok(made?),
    }
}

/// Makes a symlink. What has its name is replaced.
pub(crate) fn symlink(target: &str, path: &Path) -> io::Result<()> {
    remove(path)?;
    let (around, name) = around(path)?;
    Ok(rustix::fs::symlinkat(target, around, name)?)
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = around(path).and_then(|(around, name)| {
        rustix::fs::unlinkat(around, name, AtFlags::empty()).map_err(io::Error::from)
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes an empty directory.
pub(crate) fn remove_directory(path: &Path) -> io::Result<()> {
    let (around, name) = around(path)?;
    Ok(rustix::fs::unlinkat(around, name, AtFlags::REMOVEDIR)?)
}

/// Renames.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let ((from, name), (to, new)) = (around(from)?, around(to)?);
    Ok(rustix::fs::renameat(from, name, to, new)?)
}

/// What has this name, not what it leads to if it is a symlink.
pub(crate) fn stat(path: &Path) -> io::Result<Stat> {
    let (around, name) = around(path)?;
    Ok(rustix::fs::statat(around, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Whether there is nothing of this name. What can't be looked at may be there.
pub(crate) fn is_absent(path: &Path) -> bool {
    matches!(stat(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The names in a directory, which has none if it is missing.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<OsString>> {
    let held = match open_own(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        held => held?,
    };
    let mut names = Vec::new();
    for entry in Dir::new(held)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}
