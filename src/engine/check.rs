//! Comparing two trees: each entry of the source with what the destination has under its name, and nothing written.
//! What the destination has beyond the source is the business of engine/delete/extras.rs.

use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::engine::Run;
use crate::engine::delete::extras;
use crate::engine::entry::contents::{self, Compared};
use crate::engine::entry::flags::{self, Found};
use crate::engine::entry::follow;
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::entry::special;
use crate::engine::run::lane::Lane;
use crate::engine::state::twins::{self, Twin};
use crate::error::Result;
use crate::event::{Action, Changes, Entries, EntryEvent, Event, Kind, PointsTo};
use crate::io::file::is_union;
use crate::metadata::xattr;
use crate::options::CompareBy;
use crate::plan::compare;
use crate::plan::rules::Rules;
use crate::plan::skip::is_left_alone;
use crate::stat::Stat;

/// Compares an entry. `None`: it has other names, and is reported with them.
pub(crate) async fn check(item: Item<'_>) -> Option<EntryEvent> {
    let mut kind = item.entry.kind;
    check_entry(item, &mut kind).await.unwrap_or_else(|error| Some(EntryEvent::failed(kind, error)))
}

async fn check_entry(item: Item<'_>, kind: &mut Kind) -> Result<Option<EntryEvent>> {
    let led = item.entry.followed.then(|| follow::follow(&item)).transpose()?;
    let item = Item { led: led.as_ref(), ..item };
    let run = item.run();
    let mut opened = item.open_source().await?;
    let mut source = opened.stat;
    *kind = source.kind;
    if !run.rules.keep.takes(source.kind) {
        return Ok(Some(EntryEvent::done(source.kind, Action::Skipped)));
    }
    let _turn = item.directory.take_turn(item.pair, item.target(), item.lane).await?;
    let have = item.stat_destination().await?;
    if let Some(mode) = item.kept_mode(&source, have.as_ref()) {
        source.mode = mode.as_it_is;
    }
    opened.stat = source;
    if source.kind == Kind::File && !run.config.select.takes_size(source.size) {
        return Ok(Some(EntryEvent::done(source.kind, Action::Skipped)));
    }
    if is_left_alone(&source, have.as_ref(), &run.rules) {
        return Ok(Some(EntryEvent::done(source.kind, Action::Skipped)));
    }
    if run.config.shares_inodes && is_one_inode(&item, &source, have.as_ref()) {
        if source.links > 1 {
            run.twins.note_shared(source.inode);
        }
        return Ok(Some(EntryEvent::done(source.kind, Action::Unchanged).of(&source)));
    }
    if let Some(Stat { kind: Kind::Directory, .. }) = have {
        extras::report_in_the_way(&item).await?;
    }
    let (changes, compared) = changes(&item, &opened, have.as_ref()).await?;
    let action = action(&source, have.as_ref(), &changes, &run.rules);
    let joined =
        action != Action::Created && action != Action::Updated && is_joined(&item, &source, have.as_ref());
    let action = if joined { Action::Updated } else { action };
    let target = if action == Action::Unchanged { None } else { target(&item, source.kind)? };
    let shares = run.config.shares_inodes;
    let had_links = shares && source.kind != Kind::Directory && have.is_some_and(|have| have.links > 1);
    let links = names_of(run, &source);
    if (source.links > 1 || had_links) && run.rules.keep.hard_links {
        let name = Twin {
            directory: item.directory.clone(),
            name: item.target().to_owned(),
            kind: source.kind,
            source: (&source).into(),
            source_inode: source.inode,
            action,
            changes,
            target,
            inode: have.filter(|_| !changes.new && !joined).map(|have| have.inode),
            doubtful: is_union(&item.pair.source),
        };
        if let Some(Compared { bytes, expected, .. }) = compared {
            report_bytes(run, bytes, expected).await;
        }
        if let Some(names) = run.twins.arrive(item.identity(&source), links, name) {
            report_names(names, item.lane).await;
        }
        return Ok(None);
    }
    let (bytes, expected) = compared.map_or((0, None), |compared| (compared.bytes, compared.expected));
    let points_to = target.map(PointsTo::Target);
    let event = EntryEvent::changed(source.kind, action, changes).of(&source);
    Ok(Some(EntryEvent { bytes, expected, points_to, ..event }))
}

/// Whether both sides are one inode, of which nothing is to be changed by options. A union file system may make one number up
/// for two.
fn is_one_inode(item: &Item<'_>, source: &Stat, have: Option<&Stat>) -> bool {
    source.kind != Kind::Directory
        && have.is_some_and(|have| have.inode == source.inode)
        && !is_union(&item.pair.source)
}

/// Reports the bytes that were compared of an inode with several names, which are no single entry's.
async fn report_bytes(run: &Run, bytes: u64, expected: Option<NonZeroU64>) {
    if expected.is_none() && bytes > 0 {
        run.report(Event::Expected(bytes)).await;
        run.report(Event::Bytes(bytes)).await;
    }
    let expected = expected.map_or(bytes, NonZeroU64::get);
    if expected > 0 {
        run.report(Event::Ended { expected, copied: bytes }).await;
    }
}

/// Whether the destination's inode stands for another source inode already: names that are apart in the source are one
/// file there. Of two such names the second to come up is the one that is reported.
fn is_joined(item: &Item<'_>, source: &Stat, have: Option<&Stat>) -> bool {
    let run = item.run();
    let shared = have.filter(|have| have.links > 1 && run.rules.keep.hard_links);
    shared.is_some_and(|have| !run.links.may_share(have.inode, item.identity(source)))
}

/// All that differs, and what reading the contents came to, if they were read.
async fn changes(
    item: &Item<'_>,
    opened: &SourceEntry,
    have: Option<&Stat>,
) -> Result<(Changes, Option<Compared>)> {
    let (rules, source) = (&item.run().rules, &opened.stat);
    let mut changes = compare::changes(source, have, rules);
    let Some(have) = have.filter(|_| !changes.new) else { return Ok((changes, None)) };
    let mut compared = None;
    match source.kind {
        Kind::Symlink => changes.contents = !special::same_target(item),
        Kind::File if rules.compares_contents() && !changes.size => {
            let found = compare_contents(item, opened, have).await?;
            changes.contents = !found.same;
            compared = Some(found);
        }
        _ => {}
    }
    if rules.keep.attributes() {
        let theirs = compared.as_ref().and_then(|compared: &Compared| compared.theirs.as_ref());
        let want = item.source_xattrs(source, opened.file.as_ref())?;
        if let Some(unread) = want.lacks().into_iter().next() {
            return Err(unread); // what is not known is not the same
        }
        let of_xattrs = xattr::changes(&want, &item.destination_xattrs(theirs)?);
        (changes.acl, changes.xattrs) = (of_xattrs.acl, of_xattrs.xattrs);
    }
    let mut opened = SourceEntry { stat: *source, file: opened.file.clone() };
    changes.flags = !matches!(flags::compare(item, &mut opened).await?, Found::Same);
    Ok((changes, compared))
}

/// Reads both files, unless their inodes have been compared already, under other names.
async fn compare_contents(item: &Item<'_>, source: &SourceEntry, have: &Stat) -> Result<Compared> {
    if source.stat.links == 1 || !item.run().rules.keep.hard_links {
        return contents::compare(item, source, have).await;
    }
    let identity = item.identity(&source.stat);
    let verdicts = item.run().twins.verdicts(identity, names_of(item.run(), &source.stat));
    let mut verdicts = verdicts.lock().await;
    // Where a union makes up the numbers of inodes, another name may be another file.
    let is_known = !is_union(&item.pair.source);
    if let Some(&same) = verdicts.get(&have.inode).filter(|_| is_known) {
        return Ok(Compared { same, bytes: 0, expected: None, theirs: None });
    }
    let compared = contents::compare(item, source, have).await?;
    verdicts.insert(have.inode, compared.same);
    Ok(compared)
}

/// How many names of an inode are to come up. Where trees share inodes, some may never: all are held to the end.
fn names_of(run: &Run, source: &Stat) -> u32 {
    if run.config.shares_inodes { u32::MAX } else { source.links }
}

/// What a sync would do about it.
fn action(source: &Stat, have: Option<&Stat>, changes: &Changes, rules: &Rules) -> Action {
    let timely = changes.times || rules.compare.by == CompareBy::Nothing;
    let of_time = |have: &Stat| timely && rules.copies_for_time(source.modified, have);
    let copied = source.kind == Kind::File && have.is_some_and(of_time);
    match changes {
        Changes { new: true, .. } if have.is_none() => Action::Created,
        Changes { new: true, .. } | Changes { contents: true, .. } | Changes { size: true, .. } => {
            Action::Updated
        }
        _ if copied => Action::Updated,
        _ if changes.is_empty() => Action::Unchanged,
        _ => Action::Metadata,
    }
}

/// Where a symlink points to.
fn target(item: &Item<'_>, kind: Kind) -> Result<Option<PathBuf>> {
    if kind != Kind::Symlink {
        return Ok(None);
    }
    let target = special::source_target(item)?;
    Ok(Some(OsStr::from_bytes(target.to_bytes()).into()))
}

/// Reports the names whose inodes have others outside the tree: at the end of the run.
pub(crate) async fn report_rest(lane: &Lane) {
    for names in lane.run.twins.take_rest() {
        if lane.run.stop.is_stopped() {
            return; // names that nobody got to may be missing: another one would lead
        }
        report_names(names, lane).await;
    }
}

/// Reports all names of one inode: the leader as any other entry, the rest by whether they are links to it.
async fn report_names(names: Vec<Twin>, lane: &Lane) {
    let mut names: Vec<(PathBuf, Twin)> =
        names.into_iter().map(|name| (name.directory.path_of(&name.name), name)).collect();
    names.sort_by(|one, other| twins::order(&one.0, &other.0));
    let leader = twins::leader(names.iter().map(|(_, name)| name.inode));
    let Some((path, inode)) = names.get(leader).map(|(path, name)| (path.clone(), name.inode)) else {
        return;
    };
    for (index, (own_path, name)) in names.into_iter().enumerate() {
        let (directory, source) = (name.directory.path(), Some(name.source));
        let is_linked = inode.is_some() && name.inode == inode;
        let is_alone = index == leader
            || name.doubtful
                && !is_linked
                && !contents::are_equal(lane, name.kind, path.clone(), own_path).await;
        let joined = lane.run.config.shares_inodes
            && !matches!(name.action, Action::Created | Action::Updated)
            && lane.run.twins.is_joined(&name);
        let action = if joined { Action::Updated } else { name.action };
        let event = match is_alone {
            true => EntryEvent {
                points_to: name.target.map(PointsTo::Target),
                ..EntryEvent::changed(name.kind, action, name.changes)
            },
            false => follower(&name, &path, is_linked),
        };
        let event = EntryEvent { source, ..event };
        let entries = Entries { directory, events: vec![event.named(name.name)] };
        lane.outbox.put(entries, &lane.run).await;
    }
}

/// A name beside the leader. What it holds comes with the leader's inode; metadata that differ are named with each.
fn follower(name: &Twin, leader: &std::path::Path, linked: bool) -> EntryEvent {
    let changes = Changes { contents: false, ..name.changes };
    let action = if linked && changes.is_empty() { Action::Unchanged } else { Action::Linked };
    let points_to = match linked {
        true => name.target.clone().map(PointsTo::Target),
        false => Some(PointsTo::Name(leader.to_path_buf())),
    };
    EntryEvent { points_to, follows: true, ..EntryEvent::changed(name.kind, action, changes) }
}
