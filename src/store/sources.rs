//! What a snapshot is taken of: that the store does not lie in it, nor it in the store, and that it is still there at the end.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::roots::nearest_existing;
use crate::roots::nested::is_kept_out;
use crate::roots::overlap::{mounts, place};
use crate::text::Escaped;

/// All that are named.
fn named(run: &Config) -> &[PathBuf] {
    run.sources.as_deref().unwrap_or(std::slice::from_ref(&run.source))
}

fn hold(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Refuses a store from which snapshots would be taken into snapshots: one in a source, where no rule keeps the run out of
/// all of it; and a source in the store.
pub(super) fn refuse_overlap(run: &Config, store: &Path) -> Result<()> {
    let (existing, missing) = nearest_existing(store)?;
    let held = hold(&existing).at(Operation::UseStore, || store)?;
    let mounts = mounts();
    let Some(to) = place(&held, &mounts) else { return Ok(()) }; // no /proc
    let to = if missing.as_os_str().is_empty() { to } else { to.join(&missing) };
    let refused = |why: String| Err(Error::new(Operation::UseStore, store, Cause::Refused(why)));
    for path in named(run) {
        // A file lies in the store if its directory does.
        let (source, is_directory) = match (hold(path), path.parent()) {
            (Ok(source), _) => (source, true),
            (_, Some(around)) if !around.as_os_str().is_empty() => match hold(around) {
                Ok(source) => (source, false),
                Err(_) => continue, // the engine says so
            },
            _ => (hold(Path::new(".")).at(Operation::UseSource, || path)?, false),
        };
        let Some(from) = place(&source, &mounts) else { continue };
        let named = Escaped::path(path);
        if to.has(&from, &mounts) {
            return refused(format!(
                "SRC lies in it ({named}): snapshots would be taken of snapshots. Name another STORE"
            ));
        }
        if is_directory
            && from.has(&to, &mounts)
            && !is_kept_out(&run.select, (&source, &from), (&held, &to), &mounts)
        {
            return refused(format!(
                "it lies in SRC ({named}), and snapshots would be taken into snapshots. Leave all of it out with \
                 --exclude, or, on another disk, with --one-file-system"
            ));
        }
    }
    Ok(())
}
