//! The lock that a run may have on its destination. It is one of flock(2) on the directory itself, through the descriptor that
//! the run holds: nothing is made for it that could be mirrored, deleted or left behind, it needs no permission to write, and
//! it ends with the process, however that ends.
//!
//! A file system that has no locks of its own for directories, as NFS, has the kernel keep them: then runs on other machines
//! do not see them.

use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::config::Config;
use crate::error::{Cause, Error, Operation, Result};
use crate::options::Lock;
use crate::roots::Root;
use crate::stop::Stop;

/// How long to wait before a lock that is taken is tried again.
const PATIENCE: Duration = Duration::from_millis(100);

/// What came of asking for the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locking {
    /// The run has it, for as long as it holds the directory, or did not ask for it.
    Had,
    /// Another run had it, and has let go of it since: what was found out about the directory may be wrong by now.
    Waited,
}

/// Locks the destination, if the run is to have it alone. With [`Lock::Wait`] that takes as long as another run has it: `waits` is
/// called when that begins.
///
/// # Errors
/// `Locked`, `Interrupted` while it waits, or what the kernel says of a directory that can't be locked.
pub(crate) fn lock(
    destination: &Root,
    config: &Config,
    stop: &Stop,
    mut waits: impl FnMut(),
) -> Result<Locking> {
    let (Some(mode), Some(fd)) = (config.lock.filter(|_| config.writes()), &destination.fd) else {
        return Ok(Locking::Had);
    };
    let refuse = |cause: Cause| Err(Error::new(Operation::UseDestination, &config.destination, cause));
    let mut locking = Locking::Had;
    loop {
        match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(locking),
            Err(Errno::WOULDBLOCK) if mode == Lock::Refuse => return refuse(Cause::Locked),
            Err(Errno::WOULDBLOCK) if stop.is_stopped() => return refuse(Cause::Interrupted),
            Err(Errno::WOULDBLOCK) => {
                if locking == Locking::Had {
                    waits();
                }
                locking = Locking::Waited;
                std::thread::sleep(PATIENCE);
            }
            // It is only held: open(2), O_PATH.
            Err(Errno::BADF) => {
                return refuse(Cause::Refused("it can't be locked, since it can't be listed".into()));
            }
            Err(errno) => return refuse(Cause::Refused(format!("it can't be locked: {errno}"))),
        }
    }
}
