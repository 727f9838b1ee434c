//! Whether the directory that is held is the one that was just made, and not one that somebody else has put in its place.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat};
use rustix::io::{Errno, Result};

/// For a moment there is a file of this name, where a file system seems to pretend owners or modes.
const PROBE: &str = "probe";

/// Why a directory is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not the one that was made.
    Exchanged,
    Error(Errno),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Refused::Error(errno)
    }
}

/// Requires that a directory is as mkdir(2) with mode 0700 leaves it: this user's, closed to others, empty, and on the file
/// system of the directory around it. Returns whether nobody else can enter it. That is not so on file systems which give
/// all files one owner, or one mode: there a directory can show no more than what a new file shows.
pub(super) fn require_ours(parent: &OwnedFd, held: &OwnedFd) -> std::result::Result<bool, Refused> {
    let (around, stat) = (fstat(parent)?, fstat(held)?);
    let is_new = stat.st_dev == around.st_dev && is_empty(held)?;
    let is_own = stat.st_uid == rustix::process::geteuid().as_raw();
    let is_closed = stat.st_mode & 0o777 == 0o700;
    match is_new {
        true if is_own && is_closed => Ok(true),
        true if pretends(held, stat.st_uid)? => Ok(false),
        _ => Err(Refused::Exchanged),
    }
}

fn is_empty(directory: &OwnedFd) -> Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a new file is this user's with another owner, or with another mode, than it was made with, and has the owner that
/// the directory shows. Nobody can exchange the file: it is looked at through the descriptor that made it.
fn pretends(directory: &OwnedFd, owner: u32) -> Result<bool> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, PROBE, flags, Mode::RUSR | Mode::WUSR)?;
    let stat = fstat(&file)?;
    drop(file);
    rustix::fs::unlinkat(directory, PROBE, AtFlags::empty())?;
    let is_honest = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o777 == 0o600;
    Ok(!is_honest && stat.st_uid == owner)
}

/// Whether what is held is a regular file of this user's.
pub(super) fn is_own(file: impl AsFd) -> Result<bool> {
    let stat = fstat(file)?;
    let own = rustix::process::geteuid().as_raw();
    Ok(FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_uid == own)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn judged(parent: &Path, directory: &Path) -> std::result::Result<bool, Refused> {
        let open = |path: &Path| OwnedFd::from(File::open(path).unwrap());
        require_ours(&open(parent), &open(directory))
    }

    #[test]
    fn only_what_was_just_made_is_used() {
        let home = tempfile::tempdir().unwrap();
        let made = home.path().join("made");
        rustix::fs::mkdir(&made, Mode::RWXU).unwrap();
        assert_eq!(judged(home.path(), &made), Ok(true));
        fs::set_permissions(&made, Permissions::from_mode(0o2700)).unwrap();
        assert_eq!(judged(home.path(), &made), Ok(true), "in a setgid directory");
        fs::set_permissions(&made, Permissions::from_mode(0o770)).unwrap();
        assert_eq!(judged(home.path(), &made), Err(Refused::Exchanged), "open to others");
        assert_eq!(fs::read_dir(&made).unwrap().count(), 0);
        fs::set_permissions(&made, Permissions::from_mode(0o700)).unwrap();
        fs::write(made.join("file"), "x").unwrap();
        assert_eq!(judged(home.path(), &made), Err(Refused::Exchanged), "not empty");
        fs::remove_file(made.join("file")).unwrap();
        assert_eq!(judged(Path::new("/proc"), &made), Err(Refused::Exchanged), "elsewhere");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&made, Some(1501), None).unwrap();
            assert_eq!(judged(home.path(), &made), Err(Refused::Exchanged), "of another user");
        }
    }
}
