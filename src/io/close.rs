//! What close(2) says. File systems beyond a network, and programs (FUSE), may tell of a write that failed only when the
//! file is closed: NFS sends what it has gathered then, and the answer may be that the disk is full. Who drops a file hears
//! nothing of that.
//!
//! A nameless file has to stay open until it is linked. To close a duplicate of its descriptor asks the file system all the
//! same: it hears of each descriptor that is closed (fuse(4) calls it flush).

use std::os::fd::{AsFd, IntoRawFd};

use rustix::io::Errno;

use crate::io::retry;

/// The types that statfs(2) has (linux/magic.h) for file systems that have nothing to say then: ext2, ext3 and ext4, xfs,
/// btrfs, tmpfs, ramfs, f2fs, vfat, exfat.
const QUIET: [u32; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x8584_58f6, 0xf2f5_2010, 0x4d44, 0x2011_bab0];

/// Whether the file system of an open file may tell then of a write that failed. Those that are not known may.
pub(crate) fn may_tell(file: impl AsFd) -> bool {
    !rustix::fs::fstatfs(file).is_ok_and(|answer| QUIET.contains(&(answer.f_type as u32)))
}

/// Asks what closing a file says, and leaves it open. It may wait for the network.
pub(crate) fn ask(file: impl AsFd) -> rustix::io::Result<()> {
    // The descriptor is gone whatever the answer: another duplicate asks again.
    retry(|| close(rustix::io::fcntl_dupfd_cloexec(&file, 0)?))
}

/// The same where it may tell anything.
pub(crate) fn ask_if_it_may_tell(file: impl AsFd) -> rustix::io::Result<()> {
    if may_tell(&file) { ask(file) } else { Ok(()) }
}

/// Closes a file that has its name and is done.
pub(crate) fn close(file: impl IntoRawFd) -> rustix::io::Result<()> {
    nix::unistd::close(file).map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_open_when_it_is_asked() {
        let file = tempfile::tempfile().unwrap();
        ask(&file).unwrap();
        file.set_len(7).unwrap();
        close(file).unwrap();
        let proc = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(may_tell(&proc), "it is not among those that are known");
    }
}
