//! Counting what a directory of the destination has.

use std::os::fd::OwnedFd;

use crate::engine::Run;
use crate::io::list::names;
use crate::stat::stat_open;

/// Names in it, without the temporary ones of other runs at work.
pub(crate) fn count_done(directory: &OwnedFd, run: &Run) -> rustix::io::Result<usize> {
    let inode = stat_open(directory)?.inode;
    names(directory)?.try_fold(0, |count, entry| {
        let is_temporary = run.temporary.is_ours(entry?.file_name().to_bytes(), inode);
        Ok(count + usize::from(!is_temporary))
    })
}
