//! `--ignore-errors`, as in rsync: the mirror of a directory that can't be listed is emptied, but for what is known to be in the
//! source and what rules protect.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::state::deletions::Doomed;
use crate::error::{Context, Operation, Result};
use crate::event::{Event, Kind};
use crate::io::list::{kind_of, names};
use crate::io::path::{open_entry, open_to_list};
use crate::select::Scope;
use crate::stat::{Stat, proc_path, stat_open};

/// Takes note of what goes from the mirrors of all such directories.
pub(super) fn collect(run: &Run) {
    for directory in run.deletions.take_unread() {
        // Its own rules are not known: those of the directory above hold in it.
        let above = directory.parent().map(|above| above.scopes()).unwrap_or_default();
        let scopes = above.iter().map(|scope| Arc::new(scope.below(&directory.name))).collect();
        add_extras(run, directory.path(), scopes);
    }
}

/// Takes note of what goes from one of them, which is found at this path.
pub(super) fn add_extras(run: &Run, path: PathBuf, scopes: Vec<Arc<Scope>>) {
    match extras(run, path, scopes) {
        Ok(Some(doomed)) => run.deletions.add(doomed),
        Ok(None) => {}
        Err(error) => run.report_blocking(Event::Failed(error)),
    }
}

fn extras(run: &Run, path: PathBuf, scopes: Vec<Arc<Scope>>) -> Result<Option<Doomed>> {
    let at = || run.destination_path(&path);
    let Some(root) = &run.roots.destination.fd else { return Ok(None) };
    let (mirror, stat) = match open_mirror(run, root, path.as_os_str().as_bytes()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        opened => opened.at(Operation::OpenDestination, at)?,
    };
    if run.is_elsewhere((&mirror, c""), &stat) {
        return Ok(None);
    }
    let mut doomed = Doomed::new(path.clone(), stat, scopes);
    for entry in names(&mirror).at(Operation::ListDestination, at)? {
        let entry = entry.at(Operation::ListDestination, at)?;
        let (name, kind) = (entry.file_name(), kind_of(mirror.as_fd(), &entry));
        if goes(run, &doomed, (name, kind)) {
            doomed.add(name);
        }
    }
    Ok((!doomed.is_empty()).then_some(doomed))
}

/// Opens a mirror to list it. One that has its source's mode, which keeps its owner out as well, is opened to its owner until
/// the removal gives it the mode back.
fn open_mirror(run: &Run, root: &OwnedFd, path: &[u8]) -> rustix::io::Result<(OwnedFd, Stat)> {
    let held = open_entry(root, path)?;
    let stat = stat_open(&held)?;
    let opened = open_to_list(root, path);
    let mirror = match opened {
        Err(Errno::ACCESS) if run.config.writes() && stat.uid == run.rules.privileges.user => {
            let mode = Mode::from_raw_mode(stat.mode) | Mode::RWXU;
            rustix::fs::chmodat(CWD, proc_path(&held), mode, AtFlags::empty())?;
            open_to_list(root, path)?
        }
        opened => opened?,
    };
    Ok((mirror, stat))
}

fn goes(run: &Run, doomed: &Doomed, (name, kind): (&CStr, Kind)) -> bool {
    let below = doomed.path.join(OsStr::from_bytes(name.to_bytes()));
    let is_directory = kind == Kind::Directory;
    let is_own = run.temporary.is_ours(name.to_bytes(), doomed.inode) || run.is_own_path(&below);
    let is_backup = run.backups.as_ref().is_some_and(|backups| !is_directory && backups.is_backup(name));
    let is_protected = || doomed.scopes.iter().any(|scope| scope.protects(name, is_directory, false));
    let source = || run.roots.source.fd.as_ref().map(|root| open_entry(root, below.as_os_str().as_bytes()));
    let is_known = || matches!(source(), Some(Ok(_)));
    !is_own && !is_backup && !is_protected() && !is_known()
}
