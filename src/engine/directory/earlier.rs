//! `--link-dest`: in what a new directory differs from an earlier tree's. Directories can't be linked, but one that is the same
//! there is no news.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::engine::Run;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::Pair;
use crate::error::{Context, Operation, Result};
use crate::event::Changes;
use crate::io::path::open_directory;
use crate::metadata::xattr;
use crate::metadata::{HeldInode, flags};
use crate::plan::compare::differences;
use crate::stat::stat_open;

/// In what a directory that was made differs from the first earlier tree's that has one at its path: in nothing, if any of them
/// has the same. It is new if none has one, or can be compared.
pub(crate) fn changes(directory: &Directory, pair: &Pair, run: &Run) -> Changes {
    let path = directory.path();
    let trees = run.references.trees.iter();
    let opened = trees.filter_map(|tree| open_directory(&tree.fd, path.as_os_str().as_bytes()).ok());
    let mut found = opened.filter_map(|earlier| compare(&earlier, directory, pair, run).ok()).peekable();
    let first = found.peek().copied().unwrap_or(Changes::NEW);
    found.find(Changes::is_empty).unwrap_or(first)
}

fn compare(earlier: &OwnedFd, directory: &Directory, pair: &Pair, run: &Run) -> Result<Changes> {
    let path = || run.destination_path(&directory.path());
    let have = stat_open(earlier).at(Operation::UseReference, path)?;
    let of_stat = differences(&pair.source_stat, &have, &run.rules).changes(&have);
    let of_xattrs = match &pair.source_xattrs {
        Some(want) => {
            let reach = run.rules.reach();
            xattr::changes(want, &xattr::read(&HeldInode::Handle(earlier.as_fd()).into(), reach, path)?)
        }
        None => Changes::NONE,
    };
    let flags = run.rules.keep.flags && {
        let source = flags::open_directory(&pair.source).at(Operation::OpenSource, path)?;
        let earlier = flags::open_directory(earlier).at(Operation::UseReference, path)?;
        flags::is_nocow(source) != flags::is_nocow(earlier)
    };
    Ok(Changes { acl: of_xattrs.acl, xattrs: of_xattrs.xattrs, flags, ..of_stat })
}
