//! Listing one directory: opened beneath a held one, never through a symlink, and read with getdents64(2) from the very
//! descriptor that is then held. walkdir can't do that: it opens by path, each subdirectory once more before it is known
//! whether it is wanted (docs/performance.md).

use std::ffi::{CStr, CString, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, RawDir, RawDirEntry};
use rustix::io::Errno;

use crate::error::{Cause, Operation};
use crate::event::Kind;
use crate::io::INTERRUPTIONS;
use crate::io::path::{open_directory, open_to_list};
use crate::select::list::ListedName;
use crate::stat::Stat;

/// Bytes that are read of a directory at once, as readdir(3) does: some thousand short names.
const PORTION: usize = 32 << 10;

/// A held directory, and its entries as they are read.
pub(crate) struct Listing {
    pub(crate) fd: Arc<OwnedFd>,
    entries: Entries,
}

enum Entries {
    All {
        /// What was read and is not told yet.
        portion: std::vec::IntoIter<Result<Found, Unlisted>>,
        /// There is no more to be read.
        is_last: bool,
    },
    /// Those of a list.
    Named {
        names: Arc<ListedName>,
        position: usize,
        if_missing: Operation,
        /// Symlinks may stand for directories.
        follows: bool,
        /// To be told next.
        owed: Option<Unlisted>,
    },
}

/// One entry, as the listing tells it.
pub(crate) struct Found {
    pub(crate) name: CString,
    pub(crate) kind: Kind,
}

/// What kept an entry, or the rest of the listing, from being read.
pub(crate) struct Unlisted {
    /// The entry, if it is about one.
    pub(crate) name: Option<OsString>,
    pub(crate) operation: Operation,
    pub(crate) cause: Cause,
}

impl Listing {
    /// Opens what `below` leads to from `base`: that itself, if it is empty. A directory that can't be read is held all the
    /// same, and what kept it from being read is told instead of its entries.
    pub(crate) fn open(base: &OwnedFd, below: &[u8]) -> rustix::io::Result<Self> {
        let (fd, refused) = match open_to_list(base, below) {
            Ok(fd) => (fd, None),
            Err(errno) => (open_directory(base, below)?, Some(errno)),
        };
        let is_last = refused.is_some();
        let portion: Vec<_> = refused.map(|errno| Err(cut_short(errno))).into_iter().collect();
        let entries = Entries::All { portion: portion.into_iter(), is_last };
        Ok(Listing { fd: Arc::new(fd), entries })
    }

    /// Of a directory that is held, these names alone. `if_missing` is what has failed where one is not there.
    pub(crate) fn named(fd: Arc<OwnedFd>, names: Arc<ListedName>, if_missing: Operation) -> Self {
        Listing { fd, entries: Entries::Named { names, position: 0, if_missing, follows: false, owed: None } }
    }

    /// The same, where symlinks may stand for directories.
    pub(crate) fn following(mut self, may_follow: bool) -> Self {
        if let Entries::Named { follows, .. } = &mut self.entries {
            *follows = may_follow;
        }
        self
    }

    /// Looks up the next name of a list.
    fn next_named(&mut self) -> Option<Result<Found, Unlisted>> {
        let Entries::Named { names, position, if_missing, follows, owed } = &mut self.entries else {
            return None;
        };
        if let Some(unlisted) = owed.take() {
            return Some(Err(unlisted));
        }
        let (name, child) = names.children.get(*position)?;
        *position += 1;
        let unlisted = |errno| Unlisted { operation: *if_missing, ..unlisted(name, errno) };
        let kind = match stat(&self.fd, name) {
            Ok(stat) => stat.kind,
            Err(errno) => return Some(Err(unlisted(errno))),
        };
        let is_on_the_way = !child.children.is_empty();
        if is_on_the_way && kind != Kind::Directory && !(*follows && kind == Kind::Symlink) {
            if !child.named {
                return Some(Err(unlisted(Errno::NOTDIR)));
            }
            *owed = Some(unlisted(Errno::NOTDIR)); // what is below it; it is wanted itself, too
        }
        Some(Ok(Found { name: name.clone(), kind }))
    }
}

impl Iterator for Listing {
    type Item = Result<Found, Unlisted>;

    fn next(&mut self) -> Option<Self::Item> {
        let Entries::All { portion, is_last } = &mut self.entries else { return self.next_named() };
        loop {
            match portion.next() {
                None if !*is_last => (*portion, *is_last) = read_portion(&self.fd),
                next => return next,
            }
        }
    }
}

/// Reads on in a directory, and tells whether that was the last of it.
fn read_portion(fd: &OwnedFd) -> (std::vec::IntoIter<Result<Found, Unlisted>>, bool) {
    let mut bytes = [const { MaybeUninit::uninit() }; PORTION];
    let mut directory = RawDir::new(fd, &mut bytes);
    let (mut portion, mut interruptions) = (Vec::new(), 0);
    let is_last = loop {
        match directory.next() {
            Some(Ok(entry)) => {
                if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    portion.push(found(fd, &entry));
                }
            }
            Some(Err(Errno::INTR)) if interruptions < INTERRUPTIONS => {
                interruptions += 1;
                continue;
            }
            None => break true,
            // ENOENT among them: whether the directory was removed or its file system is mistaken, it is not known what
            // it had.
            Some(Err(errno)) => {
                portion.push(Err(cut_short(errno)));
                break true;
            }
        }
        if directory.is_buffer_empty() {
            break false;
        }
    };
    (portion.into_iter(), is_last)
}

/// A name is one component: a file system that lists another must not lead out of the directory. Some file systems don't
/// say of what type an entry is.
fn found(fd: &OwnedFd, entry: &RawDirEntry<'_>) -> Result<Found, Unlisted> {
    let name = entry.file_name();
    if name.is_empty() || name.to_bytes().contains(&b'/') {
        return Err(unlisted(name, Errno::INVAL));
    }
    let kind = match entry.file_type() {
        FileType::Unknown => stat(fd, name).map_err(|errno| unlisted(name, errno))?.kind,
        known => known.into(),
    };
    Ok(Found { name: name.to_owned(), kind })
}

fn stat(fd: &OwnedFd, name: &CStr) -> rustix::io::Result<Stat> {
    rustix::fs::statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS).map(|stat| Stat::from(&stat))
}

/// Of one entry.
fn unlisted(name: &CStr, errno: Errno) -> Unlisted {
    let name = Some(OsStr::from_bytes(name.to_bytes()).into());
    Unlisted { name, operation: Operation::ListSource, cause: errno.into() }
}

/// Of what is left of a directory.
fn cut_short(errno: Errno) -> Unlisted {
    Unlisted { name: None, operation: Operation::ListSource, cause: errno.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;

    use rustix::fs::{Mode, OFlags};

    use super::*;

    fn hold(path: &std::path::Path) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        rustix::fs::open(path, flags, Mode::empty()).unwrap()
    }

    #[test]
    fn a_directory_of_many_portions_is_told_whole_and_each_name_once() {
        let home = tempfile::tempdir().unwrap();
        let names: BTreeSet<String> = (0..2000)
            .map(|number| format!("{number:04}-a-name-of-some-length-so-that-many-fill-a-portion"))
            .collect();
        assert!(names.iter().map(String::len).sum::<usize>() > 3 * PORTION);
        for name in &names {
            std::fs::write(home.path().join(name), "").unwrap();
        }
        let listing = Listing::open(&hold(home.path()), b"").unwrap();
        let told: Vec<String> = listing
            .map(|found| found.map_err(|unlisted| unlisted.cause.to_string()).unwrap())
            .inspect(|found| assert_eq!(found.kind, Kind::File))
            .map(|found| found.name.into_string().unwrap())
            .collect();
        assert_eq!(told.len(), names.len());
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn a_symlink_is_not_followed_to_a_listing() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("root/dir")).unwrap();
        std::fs::create_dir_all(home.path().join("outside/dir")).unwrap();
        symlink("../outside", home.path().join("root/link")).unwrap();
        let root = hold(&home.path().join("root"));
        for (below, refused) in
            [("link", Errno::NOTDIR), ("link/dir", Errno::LOOP), ("../outside", Errno::XDEV)]
        {
            let errno = Listing::open(&root, below.as_bytes()).map(drop).unwrap_err();
            assert_eq!(errno, refused, "{below}");
        }
        assert!(Listing::open(&root, b"dir").is_ok());
    }

    #[test]
    fn a_directory_that_was_removed_is_not_taken_for_empty() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("dir")).unwrap();
        let mut listing = Listing::open(&hold(home.path()), b"dir").unwrap();
        std::fs::remove_dir(home.path().join("dir")).unwrap();
        let unlisted = listing.next().map(|found| found.map(drop)).unwrap().unwrap_err();
        assert!(
            unlisted.name.is_none()
                && matches!(unlisted.cause, Cause::Io(error) if error.kind() == std::io::ErrorKind::NotFound)
        );
        assert!(listing.next().is_none());
    }
}
