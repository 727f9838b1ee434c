//! `--link-dest`: trees of earlier runs. What is the same there, with all metadata that are kept, becomes one more name
//! of it, and is not copied.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::config::Config;
use crate::engine::copy_file::Copied;
use crate::engine::item::{Item, Source};
use crate::engine::temporary::{Taken, link_nameless, take_place, writable};
use crate::engine::{backup, contents, extra, special};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Action, Kind, Missing};
use crate::files::named;
use crate::io::path::{open_directory, open_entry};
use crate::metadata::Target;
use crate::metadata::xattr::{self, Holder};
use crate::plan::compare::{Decision, decide, keep};
use crate::plan::writers::Writers;
use crate::roots::{self, Root, Roots};
use crate::stat::{Stat, proc_path, stat_open};

/// The trees, held open.
#[derive(Default)]
pub(crate) struct References {
    trees: Vec<Arc<OwnedFd>>,
}

impl References {
    /// Opens the trees. One that does not exist is left out, and returned: the first run of a series has none. So is
    /// whether others lie beside it, so that the name is more likely wrong.
    ///
    /// # Errors
    /// When one can't be opened.
    pub(crate) fn open(config: &Config, roots: &Roots) -> Result<(Self, Vec<Missing>)> {
        let destination = &roots.destination;
        let inode = |root: &Root| root.fd.as_ref().and_then(|fd| stat_open(fd).ok()).map(|stat| stat.inode);
        let (mut trees, mut missing) = (Vec::new(), Vec::new());
        let beside = config.trees();
        for named in &config.link_dest {
            let path = destination.beside(named);
            let start = destination.fd.as_deref();
            let (way, start) = if start.is_some() { (named, start) } else { (&path, None) };
            let held = named::directory(way, start, &beside, Operation::UseReference, false);
            match held.map(|fd| Root { fd: Some(Arc::new(fd)), path: path.clone() }) {
                Ok(tree) if roots.single.is_none() && inode(&tree) == inode(&roots.source) => {
                    // What is written to SRC later would be written to the mirror.
                    let cause = Cause::Refused("it is SRC".into());
                    return Err(Error::new(Operation::UseReference, path, cause));
                }
                Ok(tree) => trees.extend(tree.fd),
                Err(error) if error.errno() == Some(Errno::NOENT) => {
                    missing.push(Missing { has_others: has_others(&path, roots), path })
                }
                Err(error) => return Err(Error { path, ..error }),
            }
        }
        Ok((References { trees }, missing))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }
}

/// Whether the directory that a tree should lie in holds others than the two of this run.
fn has_others(path: &Path, roots: &Roots) -> bool {
    let inode = |root: &Root| root.fd.as_ref().and_then(|fd| stat_open(fd).ok()).map(|stat| stat.inode);
    let own = [inode(&roots.source), inode(&roots.destination)];
    let Some(parent) = path.parent() else { return false };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Ok(around) = roots::open_directory(parent, Operation::UseReference) else { return false };
    let Some(around) = around.fd else { return false };
    let Ok(names) = extra::names(&around) else { return false };
    let mut directories = names.flatten().filter_map(|entry| {
        let is_directory = extra::kind_of(around.as_fd(), &entry) == Kind::Directory;
        let stat = rustix::fs::statx(&around, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
        stat.ok().filter(|_| is_directory && entry.file_name() != c"lost+found")
    });
    directories.any(|stat| !own.contains(&Some(Stat::from(&stat).inode)))
}

/// Makes the item's name one more name of what an earlier tree has. `None`: none has the same, or it can't be linked to.
pub(super) async fn link(item: &Item<'_>, source: &Source, taken: Taken) -> Result<Option<Copied>> {
    let run = item.run();
    for (number, tree) in run.references.trees.iter().enumerate() {
        let path = item.directory.path_of(item.target());
        item.lane.doing(Operation::OpenDestination);
        let Ok(handle) = open_entry(tree, path.as_os_str().as_bytes()) else { continue };
        let Ok(have) = stat_open(&handle) else { continue };
        if !is_same(item, source, tree, &handle, &have).await? {
            continue;
        }
        // What others could have put there may be a secret that only the directories on the way keep.
        if item.pair.reference_writers(number, || writers_above(tree, item)).could_plant(&have)
            && !holds_the_same(item, source, &handle, &have).await?
        {
            continue;
        }
        // Names that are apart in the source must not become one file.
        if have.links > 1 && run.rules.keep.hard_links && !run.links.may_share(have.inode, source.stat.inode)
        {
            continue;
        }
        let linked = Copied { action: Action::Linked, ..Copied::skipped() };
        if run.config.dry_run || give_name(item, &handle, &have, taken).await? {
            return Ok(Some(linked));
        }
    }
    Ok(None)
}

/// Who else could have put what an earlier tree has in the item's directory.
fn writers_above(tree: &OwnedFd, item: &Item<'_>) -> Writers {
    let user = item.run().rules.privileges.user;
    let of = |fd: &OwnedFd| stat_open(fd).map_or(Writers::Many, |stat| Writers::of(&stat, user));
    let mut writers = of(tree);
    let mut path = PathBuf::new();
    for component in item.directory.path().components() {
        path.push(component);
        let directory = open_directory(tree, path.as_os_str().as_bytes());
        writers = writers.below(directory.as_ref().map_or(Writers::Many, of));
    }
    writers
}

/// Whether a file of an earlier tree holds what the source does. What has no contents gives nothing away.
async fn holds_the_same(item: &Item<'_>, source: &Source, handle: &OwnedFd, have: &Stat) -> Result<bool> {
    if have.kind != Kind::File {
        return Ok(have.kind == Kind::Symlink);
    }
    let opened = rustix::fs::open(proc_path(handle), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let Ok(file) = opened else { return Ok(false) };
    match contents::equals(item, source, file).await {
        Err(Error { operation: Operation::ReadDestination, .. }) => Ok(false),
        compared => compared,
    }
}

/// Whether an entry of an earlier tree has all that the source's has and is kept. One that can't be read has not.
async fn is_same(
    item: &Item<'_>,
    source: &Source,
    tree: &OwnedFd,
    handle: &OwnedFd,
    have: &Stat,
) -> Result<bool> {
    let rules = &item.run().rules;
    let same_target = || {
        let target = rustix::fs::readlinkat(handle, c"", Vec::with_capacity(256));
        special::source_target(item).ok().is_some_and(|wanted| Ok(wanted) == target)
    };
    let mut decision = decide(&source.stat, Some(have), rules, same_target);
    if decision == Decision::CompareContents {
        let Ok(file) = rustix::fs::open(proc_path(handle), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        else {
            return Ok(false);
        };
        match contents::equals(item, source, file).await {
            Ok(true) => {}
            // What of it can't be read is not the same.
            Ok(false) | Err(Error { operation: Operation::ReadDestination, .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        decision = keep(&source.stat, have, rules);
    }
    let Decision::Keep(difference) = decision else { return Ok(false) };
    if !difference.is_empty() {
        return Ok(false);
    }
    if !rules.keep.xattrs {
        return Ok(true);
    }
    let wanted = item.source_xattrs(&source.stat, source.file.as_ref())?;
    let found = xattrs(item, tree, handle, have);
    Ok(found.is_ok_and(|found| xattr::changes(&wanted, &found).is_empty()))
}

fn xattrs(item: &Item<'_>, tree: &OwnedFd, handle: &OwnedFd, have: &Stat) -> Result<xattr::Xattrs> {
    let root = item.run().rules.privileges.root;
    if have.kind != Kind::Symlink {
        return xattr::read(&Target::Handle(handle.as_fd()).into(), root, || item.path());
    }
    // A symlink's own attributes are read by its name.
    let directory = item.directory.path();
    let within = open_directory(tree, directory.as_os_str().as_bytes());
    let within = within.at(Operation::UseReference, || item.path())?;
    xattr::read(&Holder::Name(within.as_fd(), item.target()), root, || item.path())
}

/// Gives an inode the item's name. Returns whether it could be done.
async fn give_name(item: &Item<'_>, handle: &OwnedFd, have: &Stat, taken: Taken) -> Result<bool> {
    let within = item.changing()?;
    if item.run().config.fsync && have.kind == Kind::File {
        item.lane.doing(Operation::Flush);
        let file = rustix::fs::open(proc_path(handle), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let file = Arc::new(file.at(Operation::OpenDestination, || item.path())?);
        item.lane.io.flush(&file).await.at(Operation::Flush, || item.path())?;
    }
    item.lane.doing(Operation::Link);
    let link_to = |name: &CStr| writable(within, item.run(), || link_nameless(handle, within, name));
    let linked = match taken {
        Taken::Nothing => link_to(item.target()),
        _ => Err(Errno::EXIST),
    };
    let linked = match linked {
        Err(Errno::EXIST) => {
            if taken == Taken::Entry {
                backup::keep(item).await?;
            }
            let temporary = item.run().temporary.new_name(within).at(Operation::Link, || item.path())?;
            match link_to(&temporary) {
                Ok(()) => {
                    let placed = take_place((within, &temporary), (within, item.target()), taken);
                    placed.at(Operation::Rename, || item.path())?;
                    // rename(2) does nothing where both names are the same inode already.
                    rustix::fs::unlinkat(within, &temporary, rustix::fs::AtFlags::empty()).ok();
                    Ok(())
                }
                refused => refused,
            }
        }
        linked => linked,
    };
    match linked {
        Ok(()) => Ok(true),
        // Another file system, all the names an inode can have, somebody else's file, or one that was removed meanwhile: a
        // copy has to do.
        Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOENT | Errno::STALE) => {
            Ok(false)
        }
        Err(errno) => Err(errno).at(Operation::Link, || item.path()),
    }
}
