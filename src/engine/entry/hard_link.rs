//! Mirroring hard links: the first name of an inode is copied like any file, the others are linked to it. Where the kernel
//! refuses that they become copies.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::engine::entry::earlier::{self, differs};
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::entry::{contents, keep_old, special};
use crate::engine::own::writable::writable;
use crate::engine::run::flushed::flush_file;
use crate::engine::state::copied::Copied;
use crate::engine::state::links::{Claim, Leader};
use crate::error::{Cause, Context, Error, NotKept, Operation, Property, Result};
use crate::event::metrics::Call;
use crate::event::{Action, Changes, Kind, PointsTo, Reused};
use crate::io::file::is_union;
use crate::io::rename::{Taken, take_place};
use crate::metadata::flags::frozen_at;
use crate::options::Reuse;
use crate::plan::compare::changes;
use crate::stat::{Identity, Inode, Stat, stat_open};
use crate::text::Escaped;

/// Mirrors one of several names of an inode.
pub(crate) async fn mirror(item: Item<'_>, source: SourceEntry, destination: Option<Stat>) -> Result<Copied> {
    if item.run().config.reuse == Reuse::Compare
        && !item.run().references.is_empty()
        && let Some(left) = Box::pin(earlier::leave_name(&item, &source, destination.as_ref())).await?
    {
        return Ok(left); // each name for itself
    }
    let identity = born(&item, &source).unwrap_or_else(|| item.identity(&source.stat));
    // What is reached through symlinks has more names here than links.
    let links = if item.run().config.symlinks.may_follow() { u32::MAX } else { source.stat.links };
    let Some(claim) = item.run().links.claim(identity, links, item.lane.watched()).await else {
        let limit = item.run().config.timeout.unwrap_or_default();
        return Err(Error::new(Operation::Link, item.path(), Cause::TimedOut(limit)));
    };
    match claim {
        Claim::Follow(leader) => {
            let (copied, refusal) = follow(item, &leader, source, destination.as_ref()).await?;
            if refusal == Some(Errno::MLINK) {
                // The names to come are linked to this one. Not so with EXDEV: most of them are where the leader is.
                let leader = named_first(&item, &copied, destination.as_ref()).await?;
                item.run().links.replace_leader(identity, leader).await;
            }
            Ok(copied)
        }
        Claim::Lead(mut lead) => {
            let copied = item.mirror_one(source, destination.as_ref()).await?;
            *lead = Some(named_first(&item, &copied, destination.as_ref()).await?);
            Ok(copied)
        }
    }
}

/// Which file a source is by its inode and the time of its birth, where the kernel knows that: a file that grows or changes
/// while its names are mirrored is one file all the same, and a new one that has got the number of one that is gone is another.
fn born(item: &Item<'_>, source: &SourceEntry) -> Option<Identity> {
    if is_union(&item.pair.source) {
        return None;
    }
    let (place, name, follow) = match &source.file {
        Some(file) => (file.as_fd(), c"", AtFlags::EMPTY_PATH),
        None => (item.pair.source.as_fd(), &*item.entry.name, AtFlags::SYMLINK_NOFOLLOW),
    };
    let fields = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let found = rustix::fs::statx(place, name, follow | AtFlags::NO_AUTOMOUNT, fields).ok()?;
    Identity::of_birth(&found).filter(|born| born.inode == source.stat.inode)
}

/// The item as the name that others are linked to.
async fn named_first(item: &Item<'_>, copied: &Copied, before: Option<&Stat>) -> Result<Leader> {
    Ok(Leader {
        directory: item.directory.clone(),
        name: item.target().to_owned(),
        inode: inode_of(item, copied.action, before).await?,
        hash: copied.hash,
        reused: copied.reused.map(|reused| Reused { bytes: 0, ..reused }),
        live: copied.live,
        is_new: !keeps_inode(copied.action),
    })
}

impl Leader {
    /// What is reported of a name that was linked to it already.
    fn unchanged(&self) -> Copied {
        let Leader { hash, reused, live, .. } = *self;
        Copied { hash, reused, live, follows: true, ..Copied::unchanged() }
    }
}

fn keeps_inode(action: Action) -> bool {
    matches!(action, Action::Unchanged | Action::Metadata)
}

/// The inode that the first name has now. A dry run, which makes none, gets one that no file has.
async fn inode_of(item: &Item<'_>, action: Action, before: Option<&Stat>) -> Result<Inode> {
    match before {
        Some(stat) if keeps_inode(action) => Ok(stat.inode),
        _ if !item.run().config.writes() => Ok(Inode { device: u64::MAX, number: 0 }),
        _ => {
            let stat = item.lane.io.stat(item.within()?, item.target()).await;
            let stat = stat.and_then(|stat| stat.ok_or(Errno::NOENT));
            Ok(stat.at(Operation::StatDestination, || item.path())?.inode)
        }
    }
}

/// Links the name to the leader's, or copies it where the kernel refuses that; then also returns why.
async fn follow(
    item: Item<'_>,
    leader: &Leader,
    source: SourceEntry,
    destination: Option<&Stat>,
) -> Result<(Copied, Option<Errno>)> {
    let is_linked = destination.is_some_and(|have| have.inode == leader.inode);
    // What an earlier run has linked is believed as any file is that has its size and time.
    let is_believed = is_linked && !item.run().rules.compares_contents();
    if !is_believed && !is_one_file(&item, leader, &source).await? {
        let copied = match is_linked {
            true => item.make(source, Taken::Entry, Action::Updated).await?,
            false => item.mirror_one(source, destination).await?,
        };
        return Ok((copied, None));
    }
    if is_linked {
        return Ok((leader.unchanged(), None));
    }
    let linked = Box::pin(linked(&item, leader, &source, destination)).await?;
    let taken = match destination {
        None => Taken::Nothing,
        Some(have) if have.kind == Kind::Directory => {
            item.require_empty_directory()?;
            Taken::EmptyDirectory
        }
        Some(_) => Taken::Entry,
    };
    if !item.run().config.writes() {
        return Ok((linked, None));
    }
    if let Some(errno) = item.pair.file_system.refuses_links() {
        let copied = item.mirror_one(source, destination).await?;
        return Ok((refused(&item, leader, errno, copied), None));
    }
    if item.run().config.fsync && source.stat.kind == Kind::File {
        flush(&item, leader).await?;
    }
    item.lane.doing(Operation::Link);
    match link(&item, leader, taken, destination).await {
        Ok(Linked::Anew) => Ok((linked, None)),
        Ok(Linked::Before) => Ok((leader.unchanged(), None)),
        // As many names as the file system allows for one inode (btrfs, within one directory): a copy has to do. One inode
        // became two, which is a lack of each that begins a new one.
        Err(LinkFailure::Os(refusal @ Errno::MLINK)) => {
            let copied = item.mirror_one(source, destination).await?;
            let copied = Copied { link_limit: true, ..copied };
            Ok((copied.lacking(vec![lack(&item, leader, refusal)]), Some(refusal)))
        }
        // The inode is on another file system, since a mount point is in the destination, or in another subvolume or project
        // of one. Others may be linked on both sides.
        Err(LinkFailure::Os(refusal @ Errno::XDEV)) => {
            let copied = item.mirror_one(source, destination).await?;
            Ok((refused(&item, leader, refusal, copied), None))
        }
        Err(LinkFailure::Os(errno)) if item.pair.file_system.is_link_refusal(errno) => {
            let copied = item.mirror_one(source, destination).await?; // where that fails it was not the link
            if errno != Errno::PERM || !is_frozen(&item, leader).await {
                item.pair.file_system.mark_refuses_links(errno);
            }
            Ok((refused(&item, leader, errno, copied), None))
        }
        Err(failed) => Err(failed.error(&item)),
    }
}

/// What is reported of a copy in place of a link. The first one on its file system tells that there are none.
fn refused(item: &Item<'_>, leader: &Leader, errno: Errno, copied: Copied) -> Copied {
    if item.pair.file_system.tells_copies() {
        let lack = lack(item, leader, errno);
        return Copied { link_refused: true, ..copied.lacking(vec![lack]) };
    }
    Copied { link_refused: true, ..copied }
}

/// A name that is missing to the leader's inode.
fn lack(item: &Item<'_>, leader: &Leader, errno: Errno) -> Error {
    let first = leader.directory.path_of(&leader.name);
    let wanted = format!("one more name of {}", Escaped::path(&first));
    let lack = NotKept::refused(Property::HardLink, wanted, errno);
    Error::new(Operation::Link, item.path(), Cause::from(lack))
}

/// What a name lacks that is closed, since its directory stays open: the others of its inode may be open.
pub(crate) fn closed(item: &Item<'_>) -> Error {
    let found = "a file of its own: in a directory that can't be closed it is its owner's alone";
    let lack = NotKept::became(Property::HardLink, "one of several names of a file", found);
    Error::new(Operation::Link, item.path(), Cause::from(lack))
}

/// Whether the inode alone may have no further names: chattr(1) has made it immutable, or append-only.
async fn is_frozen(item: &Item<'_>, leader: &Leader) -> bool {
    let Ok(within) = leader.directory.reopen(item.lane).await else { return false };
    frozen_at(&within, &leader.name).is_some()
}

/// Whether the name is one more of the file that the leader is a copy of. The kernel's own file systems are believed.
/// Union file systems make up the numbers of inodes, and may give one to two files of one size, time, mode and owner.
async fn is_one_file(item: &Item<'_>, leader: &Leader, source: &SourceEntry) -> Result<bool> {
    if !is_union(&item.pair.source) {
        return Ok(true);
    }
    if !item.run().config.writes() {
        if item.run().roots.several.is_some() {
            return Ok(true); // a dry run, which may be wrong
        }
        let [first, this] = [(&leader.directory, &*leader.name), (item.directory, item.target())]
            .map(|(directory, name)| directory.path_of(name));
        return Ok(contents::are_equal(item.lane, source.stat.kind, first, this).await);
    }
    let from = leader.directory.reopen(item.lane).await.at(Operation::Link, || item.path())?;
    match source.stat.kind {
        Kind::Symlink => {
            let target = rustix::fs::readlinkat(&from, &leader.name, Vec::new());
            Ok(target.is_ok_and(|target| special::source_target(item).is_ok_and(|wanted| wanted == target)))
        }
        Kind::File if source.stat.size > 0 => {
            item.lane.doing(Operation::OpenDestination);
            let Ok(file) = item.lane.io.open(&from, &leader.name, OFlags::RDONLY).await else {
                return Ok(false);
            };
            if stat_open(&file).map(|stat| stat.inode) != Ok(leader.inode) {
                return Err(replaced(item));
            }
            match contents::equals(item, source, file).await {
                Err(Error { operation: Operation::ReadDestination, .. }) => Ok(false),
                compared => compared,
            }
        }
        _ => Ok(true),
    }
}

/// What is reported of a link. What it holds comes with the leader's inode; metadata that differ are named with each.
async fn linked(
    item: &Item<'_>,
    leader: &Leader,
    source: &SourceEntry,
    destination: Option<&Stat>,
) -> Result<Copied> {
    let run = item.run();
    let mut changes = changes(&source.stat, destination, &run.rules);
    if destination.is_none() && run.config.details && !run.references.is_empty() {
        if differs::has_inode(item, leader.inode) {
            // All its names lie there as they do here.
            let Leader { hash, reused, live, .. } = *leader;
            return Ok(Copied { action: Action::Linked, hash, reused, live, ..Copied::skipped() });
        }
        let looks = run.config.reuse.copies() && run.config.reuse != Reuse::Relink;
        let found = if looks { differs::differs(item, source).await? } else { None };
        changes = found.unwrap_or(changes);
    }
    let changes = item.with_xattrs(&source.stat, changes);
    let changes = Changes { contents: false, ..changes };
    let name = || PointsTo::Name(leader.directory.path_of(&leader.name));
    let points_to = run.config.details.then(name);
    let Leader { hash, reused, live, .. } = *leader;
    let action = Action::Linked;
    Ok(Copied { action, hash, reused, live, changes, points_to, follows: true, ..Copied::skipped() })
}

/// Puts the contents that get one more name on stable storage: where they were there before this run, nobody has yet.
async fn flush(item: &Item<'_>, leader: &Leader) -> Result<()> {
    item.lane.doing(Operation::Flush);
    let from = leader.directory.reopen(item.lane).await.at(Operation::Link, || item.path())?;
    let opened = item.lane.io.open(&from, &leader.name, OFlags::RDONLY).await;
    let file = Arc::new(opened.at(Operation::OpenDestination, || item.path())?);
    if stat_open(&file).at(Operation::StatDestination, || item.path())?.inode != leader.inode {
        return Err(replaced(item)); // whatever it is, nobody asked for it to be flushed
    }
    flush_file(&file, item.lane, || item.path()).await
}

/// When a name was linked.
enum Linked {
    Anew,
    /// By an earlier run.
    Before,
}

/// Gives the leader's inode the item's name. What has the name is backed up once it is known that there can be a link.
async fn link(
    item: &Item<'_>,
    leader: &Leader,
    taken: Taken,
    destination: Option<&Stat>,
) -> Result<Linked, LinkFailure> {
    let within = item.changing()?;
    let from = leader.directory.reopen(item.lane).await.at(Operation::Link, || item.path())?;
    let link_to = |name: &CStr| {
        let link = || rustix::fs::linkat(&from, &leader.name, within, name, AtFlags::empty());
        let linked = item.lane.io.in_place(Call::Name, || writable(within, item.run(), link));
        linked.map_err(LinkFailure::Os)?;
        require_same_inode((within, name), (&from, leader), item)
    };
    if taken == Taken::Nothing {
        match link_to(item.target()) {
            Err(LinkFailure::Os(Errno::EXIST)) => {}
            linked => return linked.map(|_| Linked::Anew),
        }
    }
    let temporary = item.run().temporary.new_name(within).at(Operation::Link, || item.path())?;
    let one_more = link_to(&temporary)?;
    // Where the first name was made in this run, an old file of one size and, within one second, one time may be there.
    let is_believed = !leader.is_new && !item.run().rules.compares_contents();
    if let (Some(one_more), Some(have), true) = (one_more, destination, is_believed)
        && looks_like(have, &one_more)
    {
        let removed = rustix::fs::unlinkat(within, &temporary, AtFlags::empty());
        removed.at(Operation::Link, || item.path())?;
        return Ok(Linked::Before);
    }
    if taken == Taken::Entry && item.run().backups.is_some() {
        // A copy for a backup may take long: another run would take the name for a killed one's.
        let removed = rustix::fs::unlinkat(within, &temporary, AtFlags::empty());
        removed.at(Operation::Link, || item.path())?;
        keep_old::keep(item).await?;
        link_to(&temporary)?;
    }
    take_place((within, &temporary), (within, item.target()), taken).at(Operation::Rename, || item.path())?;
    // rename(2) does nothing, and says nothing, where both names are the same inode already.
    rustix::fs::unlinkat(within, &temporary, AtFlags::empty()).ok();
    Ok(Linked::Anew)
}

enum LinkFailure {
    /// link(2) gave this errno.
    Os(Errno),
    Other(Error),
}

impl From<Error> for LinkFailure {
    fn from(error: Error) -> Self {
        LinkFailure::Other(error)
    }
}

impl LinkFailure {
    fn error(self, item: &Item<'_>) -> Error {
        match self {
            LinkFailure::Os(errno) => Error::new(Operation::Link, item.path(), errno),
            LinkFailure::Other(error) => error,
        }
    }
}

/// The error of a leader that is another file by now.
fn replaced(item: &Item<'_>) -> Error {
    Error::new(Operation::Link, item.path(), Cause::LinkReplaced)
}

/// What was linked must be what was copied, and not what someone put under its name meanwhile. Programs behind FUSE may
/// give each name a number of its own: then the first name must still have its number, and the new one must look like it.
/// Its stat is returned.
fn require_same_inode(
    (within, name): (&OwnedFd, &CStr),
    (from, leader): (&OwnedFd, &Leader),
    item: &Item<'_>,
) -> Result<Option<Stat>, LinkFailure> {
    let look = |directory: &OwnedFd, name: &CStr| {
        let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
        stat.map(|stat| Stat::from(&stat)).at(Operation::Link, || item.path())
    };
    let stat = look(within, name)?;
    if stat.inode == leader.inode {
        return Ok(None);
    }
    if !item.pair.file_system.is_faithful {
        let first = look(from, &leader.name)?;
        if first.inode == leader.inode && looks_like(&first, &stat) {
            return Ok(Some(stat));
        }
    }
    rustix::fs::unlinkat(within, name, AtFlags::empty()).at(Operation::Link, || item.path())?;
    Err(replaced(item).into())
}

/// Whether all is equal that two names of one inode have in common. The change time and the count of names are not looked
/// at: FUSE answers with older ones.
fn looks_like(one: &Stat, other: &Stat) -> bool {
    let of = |stat: &Stat| (stat.kind, stat.size, stat.modified, stat.mode, stat.uid, stat.gid);
    of(one) == of(other)
}
