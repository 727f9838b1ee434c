//! What the destination makes of metadata, tried on a file of the run's own that nobody sees. Where an entry has all that a
//! new copy of it would have, since the rest is refused or has no effect, it is not copied again for that, and a later
//! tree is linked to it.

use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::engine::Run;
use crate::engine::own::new_file::NewFile;
use crate::engine::state::pair::Pair;
use crate::error::{Context, Error, Operation, Result};
use crate::metadata::flags::set_nocow;
use crate::metadata::xattr::{self, Xattrs};
use crate::metadata::{self, Applied, HeldInode, Target, Wanted};
use crate::plan::times::{Match, match_times};
use crate::stat::{Stat, Time, stat_open};

/// Where something is tried: in the directory of an entry with this path, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a, F> {
    pub(crate) pair: &'a Pair,
    pub(crate) run: &'a Run,
    pub(crate) path: F,
}

/// What a copy would have.
struct Outcome {
    stat: Stat,
    xattrs: Xattrs,
    lacks: Vec<Error>,
}

/// Whether a copy of an entry, whose contents are right, would have no other metadata than `have` and its attributes show.
/// What both lack is returned. A dry run tries nothing.
pub(crate) fn is_as_a_copy(
    place: Place<'_, impl Fn() -> PathBuf + Copy>,
    want: Wanted<'_>,
    (have, have_xattrs): (&Stat, &Xattrs),
) -> Result<Option<Vec<Error>>> {
    let Place { run, pair, .. } = place;
    let file_system = &pair.file_system;
    let differs_in_xattrs = want.xattrs.is_some_and(|want| !xattr::changes(want, have_xattrs).is_empty());
    if !run.config.writes() || file_system.keeps_all() && !differs_in_xattrs {
        return Ok(None);
    }
    let outcome = try_out(place, want)?;
    if outcome.lacks.is_empty() && !differs_in_xattrs {
        file_system.mark_keeps_all();
    }
    Ok(is_alike(&outcome, want.stat, (have, have_xattrs), run).then_some(outcome.lacks))
}

fn is_alike(outcome: &Outcome, want: &Stat, (have, xattrs): (&Stat, &Xattrs), run: &Run) -> bool {
    let keep = &run.rules.keep;
    let owner = |stat: &Stat| (stat.uid, stat.gid);
    // A time that a copy would not have says nothing of this one.
    let same_time = !keep.times_of(want.kind)
        || match_times(want.modified, &outcome.stat) == Match::Other
        || run.rules.same_time(want.modified, have)
        || match_times(want.modified, have) == Match::Clamped;
    let same_xattrs = !keep.xattrs || xattr::changes(&outcome.xattrs, xattrs).is_empty();
    let same_owner = !keep.owner || owner(&outcome.stat) == owner(have);
    same_time && same_xattrs && same_owner && outcome.stat.mode == have.mode
}

/// Whether a file of the destination can have this time, as far as its file system rounds and clamps it. Known once for each
/// file system, but for times that few of them have.
pub(crate) fn keeps_time(place: Place<'_, impl Fn() -> PathBuf + Copy>, time: Time) -> Result<bool> {
    let file_system = &place.pair.file_system;
    if !place.run.config.writes() {
        return Ok(true);
    }
    if let Some(known) = file_system.keeps_time(time) {
        return Ok(known);
    }
    let keeps = with_scratch(place, 0o600, |new| {
        let inode = HeldInode::Open(new.fd.as_fd());
        let set = metadata::set_mtime(inode, time);
        let stat = stat_open(&new.fd).at(Operation::StatDestination, place.path)?;
        Ok(set.is_ok() && match_times(time, &stat) != Match::Other)
    })?;
    file_system.set_keeps_time(time, keeps);
    Ok(keeps)
}

/// Whether a new file of the destination can do without copy on write. Known once for each file system; a dry run tries
/// nothing.
pub(crate) fn keeps_nocow(place: Place<'_, impl Fn() -> PathBuf + Copy>) -> Result<rustix::io::Result<()>> {
    let known = &place.pair.file_system.keeps_nocow;
    if !place.run.config.writes() {
        return Ok(Ok(()));
    }
    if let Some(known) = known.get() {
        return Ok(*known);
    }
    let keeps = with_scratch(place, 0o600, |new| Ok(set_nocow(&new.fd, true)))?;
    Ok(*known.get_or_init(|| keeps))
}

fn try_out(place: Place<'_, impl Fn() -> PathBuf + Copy>, want: Wanted<'_>) -> Result<Outcome> {
    let rules = &place.run.rules;
    with_scratch(place, want.stat.mode, |new| {
        let inode = HeldInode::Open(new.fd.as_fd());
        let have = stat_open(&new.fd).at(Operation::StatDestination, place.path)?;
        let have = Stat { modified: Time::NEVER, ..have };
        let target = Target { inode, have: &have, bare: !place.pair.inherits_acl(), sure: false };
        let Applied { lacks, .. } = metadata::apply(want, target, rules, place.path)?;
        let stat = stat_open(&new.fd).at(Operation::StatDestination, place.path)?;
        let xattrs = match rules.keep.xattrs {
            true => xattr::read(&inode.into(), rules.privileges.root, place.path)?,
            false => Xattrs::new(),
        };
        Ok(Outcome { stat, xattrs, lacks })
    })
}

/// Calls `work` with an empty file beside the item's place, which is gone afterwards.
fn with_scratch<T>(
    place: Place<'_, impl Fn() -> PathBuf + Copy>,
    mode: u32,
    work: impl FnOnce(&NewFile) -> Result<T>,
) -> Result<T> {
    let within = place.pair.changing().at(Operation::Create, place.path)?;
    let new = NewFile::scratch(place.pair, mode, place.run).at(Operation::Create, place.path)?;
    let done = work(&new);
    new.remove(within, c""); // it has no name of its own
    done
}
