//! Holding what a path of many components leads to: beneath a held directory and never through a symlink, or wherever it
//! leads; and opening a directory, beneath.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::event::Kind;
use crate::event::metrics::{Call, Means};
use crate::io::{Backend, Io, op};
use crate::stat::{proc_path, stat_open};

/// What is held is not opened: to open a device would already do something to it.
const FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// Where a path has `..` and something is renamed at this moment, the kernel asks to try again (openat2(2)).
const ATTEMPTS: usize = 16;
/// Bytes of a path that the kernel takes at once, with the NUL after it (`PATH_MAX`).
const LONGEST: usize = 4096;

/// Where a path may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Beneath the directory, symlinks not followed: `EXDEV` and `ELOOP` tell of others.
    Beneath,
    /// Anywhere, as with open(2).
    Anywhere,
}

impl Reach {
    /// How a path is resolved (openat2(2)).
    pub(crate) fn resolve(self) -> ResolveFlags {
        match self {
            Reach::Beneath => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            Reach::Anywhere => ResolveFlags::empty(),
        }
    }
}

impl Io {
    /// Opens a regular file that is held.
    pub(crate) async fn reopen(&self, held: &Arc<OwnedFd>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let path = CString::new(proc_path(held)).map_err(|_| Errno::INVAL)?;
        let now =
            || self.in_place(Call::Open, || rustix::fs::openat(CWD, path.as_c_str(), flags, Mode::empty()));
        match &self.backend {
            Backend::Ring { lookups, .. } if self.has_ring() && lookups.next_through_ring() => {
                // The path is absolute: it does not begin at the file.
                let open = op::open(held.clone(), &path, flags);
                let opened = self.hand_over(Call::Open, Means::Ring, open, |_| 0).await;
                if self.note_refusal(&opened) { now() } else { opened }
            }
            Backend::Ring { lookups, .. } => lookups.in_place(now),
            Backend::Plain => now(),
        }
    }

    /// Holds what `path`, taken from the directory `base`, leads to.
    pub(crate) async fn hold_path(
        &self,
        base: &Arc<OwnedFd>,
        path: &CStr,
        reach: Reach,
    ) -> rustix::io::Result<OwnedFd> {
        if !self.has_ring() {
            return hold_now(base, path, reach);
        }
        // In place while the cache knows every component; only what would wait for a disk goes through the ring.
        match hold_cached(base, path, reach) {
            Err(Errno::AGAIN) => {}
            held => return held,
        }
        let opened = op::open_path(base.clone(), path, FLAGS, reach.resolve()).await;
        if self.note_refusal(&opened) || matches!(opened, Err(Errno::INTR)) {
            return hold_now(base, path, reach);
        }
        or_stepwise(opened, base, path, reach)
    }
}

/// The same, as far as the cache knows every component; otherwise `EAGAIN`.
pub(crate) fn hold_cached(base: &OwnedFd, path: &CStr, reach: Reach) -> rustix::io::Result<OwnedFd> {
    let resolve = reach.resolve() | ResolveFlags::CACHED;
    match rustix::fs::openat2(base, path, FLAGS, Mode::empty(), resolve) {
        // Not known to Linux before 5.12.
        Err(Errno::INVAL) => Err(Errno::AGAIN),
        result => or_stepwise(result, base, path, reach),
    }
}

/// The same, however long it takes.
pub(crate) fn hold_now(base: &OwnedFd, path: &CStr, reach: Reach) -> rustix::io::Result<OwnedFd> {
    let mut result = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        result = rustix::fs::openat2(base, path, FLAGS, Mode::empty(), reach.resolve());
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    or_stepwise(result, base, path, reach)
}

/// Whether there may be no openat2(2): the kernel does not know it or one of its flags, or a sandbox forbids it.
fn lacks_resolution(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP)
}

/// Whether a path is to be resolved step by step: there may be no openat2(2), or something was
/// renamed at this moment.
fn asks_for_steps(errno: Errno) -> bool {
    lacks_resolution(errno) || errno == Errno::AGAIN
}

/// Where there is no openat2(2), or a sandbox that forbids it, or more than PATH_MAX bytes.
fn or_stepwise(
    result: rustix::io::Result<OwnedFd>,
    base: &OwnedFd,
    path: &CStr,
    reach: Reach,
) -> rustix::io::Result<OwnedFd> {
    match (result, reach) {
        (Err(errno), Reach::Beneath) if lacks_resolution(errno) || errno == Errno::NAMETOOLONG => {
            let held = open_long(base, path.to_bytes(), FLAGS)?;
            // Held it can be; openat2(2) would have refused it.
            match stat_open(&held)?.kind {
                Kind::Symlink => Err(Errno::LOOP),
                _ => Ok(held),
            }
        }
        (Err(errno), Reach::Anywhere) if lacks_resolution(errno) => {
            rustix::fs::openat(base, path, FLAGS, Mode::empty())
        }
        (result, _) => result,
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
    match rustix::fs::openat2(base, path, flags, Mode::empty(), Reach::Beneath.resolve()) {
        Err(Errno::NAMETOOLONG) => open_long(base, path, flags),
        Err(errno) if asks_for_steps(errno) => open_stepwise(base, path, flags),
        result => result,
    }
}

/// Holds the inode that `path`, taken from the directory `base`, leads to, whatever it is: beneath it, and never through a
/// symlink.
pub(crate) fn open_entry(base: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let base = base.as_fd();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat2(base, path, flags, Mode::empty(), Reach::Beneath.resolve()) {
        Err(Errno::NAMETOOLONG) => open_long(base, path, flags),
        Err(errno) if asks_for_steps(errno) => open_stepwise(base, path, flags),
        result => result,
    }
}

/// What openat2(2) does for a path of any length: as many components at once as it takes.
fn open_long(base: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let names = components(path).ok_or(Errno::XDEV)?;
    let mut within: Option<OwnedFd> = None;
    let mut rest = &names[..];
    while !rest.is_empty() {
        let mut length = 0;
        let fits = |name: &&&[u8]| {
            length += name.len() + 1;
            length < LONGEST
        };
        // A name that is longer than any can be is refused by the kernel.
        let count = rest.iter().take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = if later.is_empty() { flags } else { directory };
        let from = within.as_ref().map_or(base.as_fd(), |fd| fd.as_fd());
        let opened =
            rustix::fs::openat2(from, now.join(&b'/'), flags, Mode::empty(), Reach::Beneath.resolve());
        match opened {
            Err(errno) if asks_for_steps(errno) => return open_stepwise(base, path, flags),
            opened => within = Some(opened?),
        }
        rest = later;
    }
    within.ok_or(Errno::ISDIR)
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

    const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

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
            let resolve = Reach::Beneath.resolve();
            let at_once = rustix::fs::openat2(&base, path, READ, Mode::empty(), resolve).map(drop);
            assert_eq!(open_stepwise(&base, path.to_bytes(), READ).map(drop), at_once, "{path:?}");
            // A `..` cancels the name before it, whatever that is: what is refused here is refused there.
            let long = open_long(&base, path.to_bytes(), READ).map(drop);
            assert_eq!(long, at_once, "{path:?}");
        }
        // The kernel words this one otherwise.
        assert_eq!(open_stepwise(&base, b"link/b/file", READ).map(drop), Err(Errno::NOTDIR));
    }
}
