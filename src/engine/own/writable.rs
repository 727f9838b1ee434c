//! Making something in a directory that forbids it to its own owner.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode};
use rustix::io::Errno;

use crate::engine::Run;
use crate::stat::{proc_path, stat_open};

/// Runs `create`; where the directory forbids it to its own owner, who is not root, opens it to the owner first. Its
/// mode is set when the directory is done.
pub(crate) fn writable<T>(
    within: &OwnedFd,
    run: &Run,
    create: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match create() {
        Err(Errno::ACCESS) if !run.rules.privileges.root => {
            let mode = Mode::from_raw_mode(stat_open(within)?.mode);
            // By its link in /proc: it may be held without being open.
            let opened = rustix::fs::chmodat(CWD, proc_path(within), mode | Mode::RWXU, AtFlags::empty());
            opened.map_err(|_| Errno::ACCESS)?;
            create()
        }
        other => other,
    }
}
