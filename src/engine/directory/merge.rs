//! Two runs into one destination: a directory that was provisional finds that another run has given the same name to
//! its own. What is in it is moved there, entry by entry. Both mirror the same source, so that the last name to come is
//! as good as the first; what the options leave alone in a destination is left alone here too.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::engine::backup::Old;
use crate::engine::directory::open::open_destination;
use crate::engine::own::litter;
use crate::engine::run::flushed::flush_directory;
use crate::engine::run::lane::Lane;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::{Origin, Pair, SourceDirectory};
use crate::error::{Cause, Context, Error, NotKept, Operation, Property, Result};
use crate::event::{Event, Kind};
use crate::io::list;
use crate::io::temporary::lock;
use crate::plan::skip::is_left_alone;
use crate::plan::writers::Writers;
use crate::stat::{Stat, stat_open};

/// Moves what is in a provisional directory to the one that has its name by now, and goes on with that one. An entry
/// that can't be moved costs itself.
pub(crate) async fn merge(
    directory: &Directory,
    (pair, parent): (&Pair, &Pair),
    (within, provisional): (&Arc<OwnedFd>, &CStr),
    lane: &Lane,
) -> Result<Arc<Pair>> {
    let run = &lane.run;
    let path = || run.destination_path(&directory.path());
    let from = pair.destination.as_ref().ok_or(Errno::NOENT).at(Operation::Rename, path)?;
    let (to, _) = open_destination(lane, within, &directory.name).await.at(Operation::Rename, path)?;
    let stat = stat_open(&to).at(Operation::StatDestination, path)?;
    let to = Arc::new(to);
    // It may be the other run's, and it may be one that somebody else has put there.
    let (fd, xattrs) = (pair.source.clone(), pair.source_xattrs.clone());
    let source = SourceDirectory { fd, stat: pair.source_stat, writers: Writers::Many, xattrs };
    let mut origin = Origin { existing: Some(stat), ..Origin::default() };
    origin.file_system = run.file_systems.of(&to, &stat);
    origin.names = pair.names.clone();
    source.require_owner((&to, &stat), run, path)?;
    origin.judge(parent, (&source, &to), &stat, run);
    let (narrowed, exposed) = source.narrow(&to, &stat, run, path)?;
    if exposed {
        // What is to be moved there is as open as its source. In the next run, for which it is there already, it is not.
        let wanted = format!(
            "{:04o} of a directory that another run has made meanwhile: what is in it is copied by the next run",
            source.stat.mode
        );
        let lack = NotKept::refused(Property::Mode, wanted, Errno::PERM);
        return Err(Error::new(Operation::SetMode, path(), Cause::from(lack)));
    }
    origin.taken |= narrowed.owner.is_some();
    let mut moved = 0;
    let entries = list::names(from).and_then(Iterator::collect::<rustix::io::Result<Vec<_>>>);
    for entry in entries.at(Operation::ListDestination, path)? {
        match move_entry(directory, pair, (from, &to), entry.file_name(), lane) {
            Ok(()) => moved += 1,
            Err(error) => {
                directory.mark_doubtful();
                run.report(Event::Failed(error)).await;
            }
        }
    }
    litter::remove_directory(within, provisional, run);
    if run.config.fsync {
        run.file_systems.add(&to, &stat);
        flush_directory(&to, lane, path).await?;
    }
    let merged = Pair::new(source, Some(to), origin);
    (0..moved).for_each(|_| merged.count_compared());
    merged.touched.store(true, Ordering::Relaxed);
    pair.broken_off.load(Ordering::Relaxed).then(|| merged.mark_broken_off());
    Ok(Arc::new(merged))
}

/// Locks a provisional directory that was just opened, and returns whether it still has its name.
pub(crate) fn holds(opened: &rustix::io::Result<(OwnedFd, bool)>, within: &OwnedFd, name: &CStr) -> bool {
    let Ok((provisional, _)) = opened else { return !matches!(opened, Err(Errno::NOENT)) };
    lock(provisional);
    let named = rustix::fs::statx(within, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
    let named = named.map(|stat| Stat::from(&stat).inode).ok();
    named.is_some() && named == stat_open(provisional).ok().map(|stat| stat.inode)
}

fn move_entry(
    directory: &Directory,
    pair: &Pair,
    (from, to): (&Arc<OwnedFd>, &Arc<OwnedFd>),
    name: &CStr,
    lane: &Lane,
) -> Result<()> {
    let run = &lane.run;
    let path = || run.destination_path(&directory.path().join(OsStr::from_bytes(name.to_bytes())));
    let stat = |within: &OwnedFd| {
        rustix::fs::statx(within, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS).map(|stat| Stat::from(&stat))
    };
    let ours = stat(from).at(Operation::StatDestination, path)?;
    let theirs = match stat(to) {
        Ok(theirs) => Some(theirs),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(errno).at(Operation::StatDestination, path),
    };
    if let Some(theirs) = &theirs {
        if is_left_alone(&ours, Some(theirs), &run.rules) {
            return Ok(()); // ours goes with the provisional directory
        }
        if theirs.kind == Kind::Directory {
            return Err(Error::new(Operation::Rename, path(), Cause::DirectoryInTheWay));
        }
        if (theirs.size, theirs.modified) != (ours.size, ours.modified) && run.backups.is_some() {
            let below = directory.path();
            let (source, expected, watched) = (Some(&*pair.source), Some(theirs.inode), lane.watched());
            Old { run, within: to, directory: &below, lies_at: &below, source, name, expected, watched }
                .keep()?;
        }
    }
    rustix::fs::renameat(from, name, to, name).at(Operation::Rename, path)
}
