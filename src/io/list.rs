//! What a directory holds, listed by its descriptor.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags};

use crate::event::Kind;
use crate::stat::Stat;

pub(crate) const LIST: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a directory holds, in the directory's order. The descriptor may be one that only holds it (`O_PATH`), or one that
/// something was listed by before.
pub(crate) fn names(
    directory: impl AsFd,
) -> rustix::io::Result<impl Iterator<Item = rustix::io::Result<DirEntry>>> {
    let is_itself = |entry: &DirEntry| entry.file_name() == c"." || entry.file_name() == c"..";
    let directory = rustix::fs::openat(directory, c".", LIST, Mode::empty())?;
    Ok(Dir::new(directory)?.filter(move |entry| !entry.as_ref().is_ok_and(is_itself)))
}

/// Names in a directory.
pub(crate) fn count(directory: &OwnedFd) -> rustix::io::Result<usize> {
    names(directory)?.try_fold(0, |count, entry| entry.map(|_| count + 1))
}

/// What the listing says it is, or where that says nothing, its stat.
pub(crate) fn kind_of(directory: BorrowedFd<'_>, entry: &DirEntry) -> Kind {
    match entry.file_type() {
        FileType::Unknown => kind_of_name(directory, entry.file_name()),
        kind => Kind::from(kind),
    }
}

pub(crate) fn kind_of_name(directory: BorrowedFd<'_>, name: &CStr) -> Kind {
    let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
    stat.map_or(Kind::File, |stat| Stat::from(&stat).kind)
}
