//! Opening by a path of many components: a regular file, to read it, beneath a held directory and never through a
//! symlink, or wherever the path leads; and a directory, beneath.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Io, Way, op};

/// `O_NONBLOCK`: a FIFO must not keep us waiting for its writer. `O_NOCTTY`: nor a terminal become ours.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// Where a path has `..` and something is renamed at this moment, the kernel asks to try again (openat2(2)).
const ATTEMPTS: usize = 16;

/// Where a path may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Beneath the directory, symlinks not followed: `EXDEV` and `ELOOP` tell of others.
    Beneath,
    /// Anywhere, as with open(2).
    Anywhere,
}

impl Scope {
    fn resolve(self) -> ResolveFlags {
        match self {
            Scope::Beneath => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            Scope::Anywhere => ResolveFlags::empty(),
        }
    }
}

impl Io {
    /// Opens what `path`, taken from the directory `base`, leads to.
    pub(crate) async fn open_path(
        &self,
        base: &Arc<OwnedFd>,
        path: &CStr,
        scope: Scope,
    ) -> rustix::io::Result<OwnedFd> {
        let mut result = Err(Errno::AGAIN);
        for _ in 0..ATTEMPTS {
            result = self.try_open_path(base, path, scope.resolve()).await;
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        match (result, scope) {
            // No openat2(2), or a sandbox that forbids it; or more than PATH_MAX bytes.
            (Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG), Scope::Beneath) => {
                open_stepwise(base, path.to_bytes(), FLAGS)
            }
            (Err(Errno::NOSYS | Errno::PERM), Scope::Anywhere) => {
                rustix::fs::openat(base, path, FLAGS, Mode::empty())
            }
            (result, _) => result,
        }
    }

    async fn try_open_path(
        &self,
        base: &Arc<OwnedFd>,
        path: &CStr,
        resolve: ResolveFlags,
    ) -> rustix::io::Result<OwnedFd> {
        let now = |resolve| rustix::fs::openat2(base, path, FLAGS, Mode::empty(), resolve);
        match &self.way {
            Way::Plain => now(resolve),
            // In place while the cache knows every component; only what would wait for a disk goes through the ring.
            Way::Ring { .. } => match now(resolve | ResolveFlags::CACHED) {
                Err(Errno::AGAIN) => op::open_path(base.clone(), path, FLAGS, resolve).await,
                result => result,
            },
        }
    }
}

/// The components of a path that stays beneath its start, `.` and `..` resolved; `None`: it is absolute, or leads out.
/// Where no symlink is followed, a name and the `..` after it cancel out.
pub(crate) fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let mut kept = Vec::new();
    if path.first() == Some(&b'/') {
        return None;
    }
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(kept.pop()?),
            name => kept.push(name),
        }
    }
    Some(kept)
}

/// Holds the directory that `path`, taken from the directory `base`, leads to: beneath it, and never through a symlink. An
/// empty path leads to `base` itself.
pub(crate) fn open_directory(base: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    open_directory_for(OFlags::PATH, base.as_fd(), path)
}

/// The same, to list it.
pub(crate) fn open_to_list(base: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    open_directory_for(OFlags::RDONLY, base.as_fd(), path)
}

fn open_directory_for(access: OFlags, base: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path.is_empty() {
        return rustix::fs::openat(base, c".", flags, Mode::empty());
    }
    if !path.contains(&b'/') {
        return open_stepwise(base, path, flags);
    }
    match rustix::fs::openat2(base, path, flags, Mode::empty(), Scope::Beneath.resolve()) {
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG | Errno::AGAIN) => {
            open_stepwise(base, path, flags)
        }
        result => result,
    }
}

/// Holds the inode that `path`, taken from the directory `base`, leads to, whatever it is: beneath it, and never through a
/// symlink.
pub(crate) fn open_entry(base: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let base = base.as_fd();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat2(base, path, flags, Mode::empty(), Scope::Beneath.resolve()) {
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG | Errno::AGAIN) => {
            open_stepwise(base, path, flags)
        }
        result => result,
    }
}

/// What openat2(2) does with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, one held directory after the other.
fn open_stepwise(base: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let base = base.as_fd();
    let names = components(path).ok_or(Errno::XDEV)?;
    let (last, parents) = names.split_last().ok_or(Errno::ISDIR)?;
    let open = |directory: BorrowedFd<'_>, name: &[u8], flags: OFlags| {
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        rustix::fs::openat(directory, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    };
    let mut within: Option<OwnedFd> = None;
    for name in parents {
        let directory = within.as_ref().map_or(base, |fd| fd.as_fd());
        within = Some(open(directory, name, OFlags::PATH | OFlags::DIRECTORY)?);
    }
    open(within.as_ref().map_or(base, |fd| fd.as_fd()), last, flags)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_that_leads_out_has_no_components() {
        let names = |path: &str| {
            let names = components(path.as_bytes())?;
            Some(names.into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>())
        };
        let expected = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names("a"), expected(&["a"]));
        assert_eq!(names("./a//b/./c/"), expected(&["a", "b", "c"]));
        assert_eq!(names("a/../b"), expected(&["b"]));
        assert_eq!(names("a/.."), expected(&[]));
        assert_eq!(names("..."), expected(&["..."]));
        for path in ["/a", "/", "..", "../a", "a/../../a", "./.."] {
            assert_eq!(names(path), None, "{path}");
        }
    }

    #[test]
    fn stepwise_and_at_once_come_to_the_same() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::create_dir_all(at("root/a/b")).unwrap();
        std::fs::write(at("root/a/b/file"), "x").unwrap();
        std::fs::write(at("outside"), "x").unwrap();
        symlink("a", at("root/link")).unwrap();
        symlink("../outside", at("root/out")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let base = rustix::fs::open(at("root"), flags, Mode::empty()).unwrap();
        for path in
            [c"a/b/file", c"./a//b/../b/file", c"../outside", c"/etc", c"a/../../outside", c"out", c"none"]
        {
            let resolve = Scope::Beneath.resolve();
            let at_once = rustix::fs::openat2(&base, path, FLAGS, Mode::empty(), resolve).map(drop);
            assert_eq!(open_stepwise(&base, path.to_bytes(), FLAGS).map(drop), at_once, "{path:?}");
        }
        // The kernel words this one otherwise.
        assert_eq!(open_stepwise(&base, b"link/b/file", FLAGS).map(drop), Err(Errno::NOTDIR));
    }
}
