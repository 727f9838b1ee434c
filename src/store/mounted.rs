//! Which mount a directory lies in. As long as it is the same, what a killed process has written is there; after a crash a file may
//! have its size and time, and not all of its contents.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};

/// Has the kernel tell a number that no other mount has had since it was started (statx(2), since Linux 6.8).
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The kernel's start and its mount. `None`: the kernel does not tell.
pub(super) fn identity(path: &Path) -> Option<String> {
    let boot = boot()?;
    let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), MNT_ID_UNIQUE).ok()?;
    let is_told = stat.stx_mask & MNT_ID_UNIQUE.bits() != 0;
    is_told.then(|| format!("{boot} {}", stat.stx_mnt_id))
}

/// Which start of the kernel this is. `None`: it does not tell.
pub(super) fn boot() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(boot.trim().to_owned())
}
