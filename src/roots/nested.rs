//! A destination below the source, for example on a disk that is mounted there. It can be mirrored to where it is
//! certain from the beginning that the walk gets nowhere near it: `--one-file-system`, or a rule, keeps it out.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::io::subvolume::is_btrfs;
use crate::roots::overlap::{Location, mounts_below};
use crate::select::Selection;
use crate::stat::stat_open;

/// Whether the walk of `source` is kept out of the directory `fd`, which lies at `to`, below it. Its file system is
/// `fd`'s: the last names of `to` may not exist yet.
pub(crate) fn is_kept_out(
    select: &Selection,
    (source, from): (&OwnedFd, &Location),
    (fd, to): (&OwnedFd, &Location),
    mounts: &[Location],
) -> bool {
    let device = |fd: &OwnedFd| stat_open(fd).ok().map(|stat| stat.inode.device);
    let crosses = select.cross_subvolumes && [source, fd].into_iter().all(is_btrfs);
    let (source, target) = (device(source), device(fd));
    // The walk compares the same numbers, of each directory that it opens: a bind mount has that of its file system.
    if select.one_file_system && !crosses && source.is_some() && target.is_some() && source != target {
        return true;
    }
    let ways = ways(from, to, mounts);
    // Rules say nothing of the directories on the way to what a list names.
    select.paths.is_none()
        && !ways.is_empty()
        && ways.iter().all(|way| select.certainly_hides(from.seen_at(), way))
}

/// All ways from one directory down to another, or to a part of it: each mount may show it once more.
pub(super) fn ways(from: &Location, to: &Location, mounts: &[Location]) -> Vec<PathBuf> {
    let direct = from.way_within(to).into_iter();
    let mounted = mounts_below(from, mounts).filter_map(|mount| {
        let point = mount.seen_at().strip_prefix(from.seen_at()).ok()?;
        match mount.way_within(to) {
            Some(below) => Some(point.join(below)),
            None => to.way_within(mount).map(|_| point.to_path_buf()),
        }
    });
    direct.chain(mounted).collect()
}
