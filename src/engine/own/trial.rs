//! What the destination makes of metadata, tried on a file of the run's own that nobody sees. Where an entry has all that a
//! new copy of it would have, since the rest is refused or has no effect, it is not copied again for that, and a later
//! tree is linked to it.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::own::new_file::NewFile;
use crate::engine::own::writable::writable;
use crate::engine::state::pair::Pair;
use crate::error::{Cause, Context, Error, NotKept, Operation, Property, Result};
use crate::event::Kind;
use crate::metadata::flags::set_nocow;
use crate::metadata::xattr::{self, Xattrs};
use crate::metadata::{self, Applied, HeldInode, Target, Wanted};
use crate::plan::times::{Match, match_times, may_be_rounded};
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
    /// `None`: they can't be read.
    xattrs: Option<Xattrs>,
    lacks: Vec<Error>,
    /// It got all that it was to have.
    is_whole: bool,
}

/// Whether a copy of an entry, whose contents are right, would have no other metadata than `have` and its attributes show, as
/// far as they can be read. What both lack is returned. A dry run tries nothing.
pub(crate) fn is_as_a_copy(
    place: Place<'_, impl Fn() -> PathBuf + Copy>,
    want: Wanted<'_>,
    (have, have_xattrs): (&Stat, Option<&Xattrs>),
) -> Result<Option<Vec<Error>>> {
    let Place { run, pair, .. } = place;
    let file_system = &pair.file_system;
    let differs = |want| have_xattrs.is_none_or(|have| !xattr::changes(want, have).is_empty());
    let differs_in_xattrs = want.xattrs.is_some_and(differs);
    let is_known = want.xattrs.is_none_or(Xattrs::is_complete);
    if !run.config.writes() || file_system.keeps_all() && !differs_in_xattrs && is_known {
        return Ok(None);
    }
    let outcome = try_out(place, want)?;
    if outcome.is_whole && !differs_in_xattrs {
        file_system.mark_keeps_all();
    }
    Ok(is_alike(&outcome, want.stat, (have, have_xattrs), run).then_some(outcome.lacks))
}

fn is_alike(outcome: &Outcome, want: &Stat, (have, xattrs): (&Stat, Option<&Xattrs>), run: &Run) -> bool {
    let keep = &run.rules.keep;
    // A time that a copy would not have says nothing of this one.
    let becomes = &outcome.stat;
    let is_rounded = may_be_rounded(want.modified, becomes).is_some();
    let matched = match_times(want.modified, becomes);
    let same_time = !keep.times_of(want.kind)
        || matched == Match::Other && !is_rounded
        || (is_rounded || matched == Match::Clamped) && becomes.modified == have.modified
        || run.rules.same_time(want.modified, have);
    let same_xattrs = !keep.attributes()
        || match (&outcome.xattrs, xattrs) {
            (Some(becomes), Some(have)) => xattr::changes(becomes, have).is_empty(),
            (becomes, have) => becomes.is_none() && have.is_none(),
        };
    let same_user = !keep.owner || outcome.stat.uid == have.uid;
    let same_group = !keep.group || outcome.stat.gid == have.gid;
    // No mode of a symlink can be set, and what is tried is a file.
    let same_mode = want.kind == Kind::Symlink || outcome.stat.mode == have.mode;
    same_time && same_xattrs && same_user && same_group && same_mode
}

/// What another time than the source's says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeTells {
    /// It was not copied since the source got its time.
    Older,
    /// It is what the file system makes of the source's time.
    Same,
    /// Nothing: no file has the time that it is given.
    Nothing,
}

/// What the time of a file tells that has its source's size. What is tried once for each file system is known afterwards,
/// but for times that few of them have.
pub(crate) fn time_tells(
    place: Place<'_, impl Fn() -> PathBuf + Copy>,
    want: Time,
    have: &Stat,
) -> Result<TimeTells> {
    let file_system = &place.pair.file_system;
    if match_times(want, have) == Match::Clamped && !file_system.keeps_ordinary(want) {
        // All times beyond the limit become this one. A dry run tries nothing, and reads.
        let is_tried = place.run.config.writes();
        let is_clamped = !is_tried || time_of_copy(place, want)? == Some(have.modified);
        return Ok(if is_clamped { TimeTells::Nothing } else { TimeTells::Older });
    }
    if !place.run.config.writes() {
        return Ok(TimeTells::Older);
    }
    if let Some(step) = may_be_rounded(want, have).and_then(|step| file_system.rounds_to.get(step)) {
        let rounds = match step.get() {
            Some(known) => *known,
            None => {
                let becomes = time_of_copy(place, want)?;
                *step.get_or_init(|| becomes == Some(have.modified))
            }
        };
        if rounds {
            return Ok(TimeTells::Same);
        }
    }
    let keeps = match file_system.keeps_time(want) {
        Some(known) => known,
        None => {
            let keeps = time_of_copy(place, want)?.is_some();
            file_system.set_keeps_time(want, keeps);
            keeps
        }
    };
    Ok(if keeps { TimeTells::Older } else { TimeTells::Nothing })
}

/// What a symlink is to have, `now` being its time, and what it lacks then: where the time of a symlink can't be set without
/// setting that of what it points to, as on sshfs, it stays as it is.
pub(crate) fn spare_target(
    place: Place<'_, impl Fn() -> PathBuf + Copy>,
    want: &Stat,
    now: Time,
) -> Result<(Stat, Option<Error>)> {
    let (run, file_system) = (place.run, &place.pair.file_system);
    let is_set = run.rules.keep.times_of(want.kind) && want.modified != now;
    if want.kind != Kind::Symlink || file_system.is_faithful || !is_set || !follows_symlinks(place)? {
        return Ok((*want, None));
    }
    let lack = NotKept::refused(Property::SymlinkTimes, want.modified.to_string(), Errno::OPNOTSUPP);
    let lack = Error::new(Operation::SetTimes, (place.path)(), Cause::from(lack));
    Ok((Stat { modified: now, ..*want }, Some(lack)))
}

/// Whether the time of a symlink that points nowhere can't be set, since what it points to is missing.
fn follows_symlinks(place: Place<'_, impl Fn() -> PathBuf + Copy>) -> Result<bool> {
    let known = &place.pair.file_system.follows_symlinks;
    if let Some(known) = known.get() {
        return Ok(*known);
    }
    let within = place.pair.changing().at(Operation::Create, place.path)?;
    let name = || place.run.temporary.new_name(within).at(Operation::Create, place.path);
    let (symlink, nowhere) = (name()?, name()?);
    let make = || rustix::fs::symlinkat(&nowhere, within, &symlink);
    writable(within, place.run, make).at(Operation::Create, place.path)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(within, &symlink, flags, Mode::empty());
    let now = Time { seconds: 1_000_000_000, nanoseconds: 0 };
    let set = handle.and_then(|handle| metadata::set_mtime(HeldInode::Handle(handle.as_fd()), now));
    rustix::fs::unlinkat(within, &symlink, AtFlags::empty()).ok();
    Ok(*known.get_or_init(|| set == Err(Errno::NOENT)))
}

/// What becomes of a time, if anything does that has to do with it.
fn time_of_copy(place: Place<'_, impl Fn() -> PathBuf + Copy>, want: Time) -> Result<Option<Time>> {
    with_scratch(place, 0o600, |new| {
        let inode = HeldInode::Open(new.fd.as_fd());
        let stat = || stat_open(&new.fd).at(Operation::StatDestination, place.path);
        let before = stat()?;
        let set = metadata::set_mtime(inode, want);
        let now = stat()?;
        let is_kept = match_times(want, &now) != Match::Other || may_be_rounded(want, &now).is_some();
        Ok((set.is_ok() && is_kept && now.modified != before.modified).then_some(now.modified))
    })
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
    let mode = match want.stat.kind {
        Kind::File => metadata::mode_at_first(want, place.pair.group_of_new(place.run), rules),
        _ => 0o600,
    };
    with_scratch(place, mode, |new| {
        let inode = HeldInode::Open(new.fd.as_fd());
        let have = stat_open(&new.fd).at(Operation::StatDestination, place.path)?;
        let have = Stat { modified: Time::NEVER, ..have };
        let (bare, program) = (!place.pair.inherits_acl(), place.pair.file_system.is_program);
        let target = Target { inode, have: &have, bare, sure: false, program };
        let Applied { mut lacks, squashed, .. } = metadata::apply(want, target, rules, place.path)?;
        let stat = stat_open(&new.fd).at(Operation::StatDestination, place.path)?;
        let xattrs = match rules.keep.attributes() {
            true => {
                let read = xattr::read(&inode.into(), rules.reach(), place.path);
                match place.pair.file_system.attributes(read) {
                    Err(error) if error.errno().is_some_and(metadata::is_refusal) => {
                        // What was there before would have been said.
                        lacks.extend(bare.then(|| metadata::lack_of_unlisted(error)));
                        None
                    }
                    read => Some(read?),
                }
            }
            false => Some(Xattrs::new()),
        };
        let is_whole = lacks.is_empty() && !squashed;
        Ok(Outcome { stat, xattrs, lacks, is_whole })
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
