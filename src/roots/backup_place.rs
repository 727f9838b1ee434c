//! A tree for backups that lies in DST: SRC must have nothing at its path, or what is mirrored there and the backups would
//! take each other's place. The path is judged before anything is written, by its names and by where it leads.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::path::{components, open_entry};
use crate::roots::overlap::{mounts, place};
use crate::roots::{Root, below, nearest_existing};
use crate::text::Escaped;

/// Refuses a tree for backups where `source_has` something at its path in DST, which `path` names: `existing` is there
/// of it, and `missing` is not.
pub(crate) fn refuse_backups_where_source_is(
    config: &Config,
    path: &Path,
    existing: &Root,
    missing: &Path,
    source_has: impl Fn(&Path) -> Option<PathBuf>,
) -> Result<()> {
    let Some(directory) = config.backup.as_ref().and_then(|backup| backup.directory.as_ref()) else {
        return Ok(());
    };
    let fd = existing.fd.clone().filter(|_| missing.as_os_str().is_empty());
    let destination = Root { fd, path: path.to_path_buf() };
    let path = destination.beside(directory);
    let ways = below(&destination, &path).into_iter().chain(way_to(existing, missing, &path)?);
    match ways.filter_map(|way| plain(&way)).find_map(|way| source_has(&way)) {
        None => Ok(()),
        Some(taken) => {
            let why = format!("SRC has {}, which DST is to get there", Escaped::path(&taken));
            Err(Error::new(Operation::Backup, path, Cause::Refused(why)))
        }
    }
}

/// A way that leads down, without `.` and `..`.
fn plain(way: &Path) -> Option<PathBuf> {
    let names = components(way.as_os_str().as_bytes()).filter(|names| !names.is_empty())?;
    Some(names.into_iter().map(OsStr::from_bytes).collect())
}

/// The way from DST to a tree, also where that is reached through a mount or a symlink.
fn way_to(existing: &Root, missing: &Path, path: &Path) -> Result<Option<PathBuf>> {
    let Some(top) = &existing.fd else { return Ok(None) };
    let (nearest, rest) = nearest_existing(path)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let nearest = match rustix::fs::openat(CWD, &nearest, flags, Mode::empty()) {
        Err(Errno::NOTDIR) => return Ok(None),
        opened => opened.at(Operation::Backup, || path)?,
    };
    let mounts = mounts();
    let places = place(top, &mounts).zip(place(&nearest, &mounts));
    Ok(places.and_then(|(top, at)| top.join(missing).way_to(&at.join(rest), &mounts)))
}

/// What SRC has at a path. What can't be looked up may be there.
pub(crate) fn found_in(source: &Root, way: &Path) -> Option<PathBuf> {
    let found = open_entry(source.fd.as_ref()?, way.as_os_str().as_bytes());
    let is_absent = matches!(found, Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG));
    (!is_absent).then(|| source.path.join(way))
}
