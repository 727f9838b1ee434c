//! Copying one regular file: a new one is made, filled (fill.rs) and given its name. What stands in the way of that, and
//! may pass, is tried again here.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::engine::entry::earlier::clone::Base;
use crate::engine::entry::fill::{Filled, fill};
use crate::engine::entry::item::Item;
use crate::engine::entry::large_file::LARGE_FILE;
use crate::engine::entry::live::Reading;
use crate::engine::entry::live::steady::{ATTEMPTS, settle};
use crate::engine::entry::new_file::room::Shortage;
use crate::engine::entry::{flags, in_place, keep_old};
use crate::engine::own::new_file::{NewFile, Unpublished, WriteMethod};
use crate::engine::own::refused;
use crate::engine::run::streamed::Streamed;
use crate::engine::state::copied::Copied;
use crate::engine::state::file_systems::keeps_nameless;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::metrics::Call;
use crate::io::file::File;
use crate::io::rename::Taken;
use crate::metadata::xattr::Xattrs;
use crate::metadata::{self, Applied, HeldInode, Target, Wanted};
use crate::plan::times::{Match, match_times, may_be_rounded};
use crate::stat::{Inode, Stat, Time, stat_open};

/// Copies `source` to the item's name; `taken` says that something has it. A source that changes while it is read is
/// read again, and in the end left as an error, with what the destination had before untouched.
pub(crate) async fn copy(
    item: Item<'_>,
    source: &File,
    before: Stat,
    (taken, base): (Taken, Option<Base>),
) -> Result<Copied> {
    let streamed = Streamed::default();
    let copied = copy_streamed(&item, source, before, (taken, base.as_ref()), &streamed).await;
    if copied.is_err() {
        streamed.end(item.run()).await;
    }
    copied
}

async fn copy_streamed(
    item: &Item<'_>,
    source: &File,
    mut before: Stat,
    (taken, base): (Taken, Option<&Base>),
    streamed: &Streamed,
) -> Result<Copied> {
    let within = item.changing()?;
    let try_name = || match taken {
        Taken::Nothing => refused::try_name(item.pair, item.target(), before.size, item.run()),
        _ => refused::try_to_replace(within, item.target(), before.size),
    };
    item.lane.io.in_place(Call::Create, try_name).at(Operation::Create, || item.path())?;
    item.lane.io.in_place(Call::Create, || refused::try_nameless(item.pair, before.size, item.run()));
    let mut patience = Patience::new(item);
    let mut old = true; // what is there has not been written over yet, and has no backup yet
    let mut shortage = Shortage::default();
    loop {
        let settled = settle(item, source, before).await?;
        before = settled.stat;
        patience.reading.apart = settled.apart && settled.shows_stores;
        shortage.begin(item);
        item.lane.doing(Operation::Create);
        let xattrs = source_xattrs(item, source, &before)?;
        let wanted = Wanted { stat: &before, xattrs: xattrs.as_ref() };
        let (new, flags) = match new_file_with_flags(item, source, wanted, (taken, patience.reading)) {
            Ok(made) => made,
            Err(error) => {
                shortage.wait(item, None, error).await?;
                continue;
            }
        };
        if new.is_in_place() && std::mem::take(&mut old) {
            Box::pin(in_place::keep_old(item, &new)).await?; // what is written over is not there any more
        }
        let filled = fill(item, source, wanted, (patience.reading, base), &new, streamed).await;
        let error = match filled {
            Ok(Filled { contents, mut applied, modified, live }) => {
                if taken == Taken::Entry
                    && !new.is_in_place()
                    && std::mem::take(&mut old)
                    && let Err(error) = keep_old::keep(item).await
                {
                    new.remove(within, item.target());
                    return Err(error);
                }
                applied.lacks.extend(flags);
                let named = match give_name(item, new, modified, taken, applied) {
                    Err(error) => shortage.wait(item, None, error).await.map(|()| None),
                    named => named,
                };
                if let Some(applied) = named? {
                    return Ok(contents.copied(live).with(applied));
                }
                streamed.end(item.run()).await;
                before = stat_again(item, source)?;
                continue; // under a temporary name, or once there is room for a name
            }
            Err(error) => error,
        };
        if !patience.bears(&error, item)
            && let Err(error) = shortage.wait(item, Some(&new), error).await
        {
            give_up(item, within, new, &error);
            return Err(error);
        }
        streamed.end(item.run()).await;
        new.remove(within, item.target());
        before = stat_again(item, source)?;
    }
}

/// What is tried again, and how many times.
struct Patience {
    reading: Reading,
    /// As many readings at most.
    readings: usize,
    /// What was read back may differ from what was written once.
    compares_again: bool,
}

impl Patience {
    fn new(item: &Item<'_>) -> Self {
        let reading = Reading { attempt: 1, apart: true, holes: true };
        // What is taken as it comes is read once more if it became shorter each time.
        let readings = ATTEMPTS + usize::from(item.run().config.take_changing);
        Patience { reading, readings, compares_again: true }
    }

    /// Whether a copy that failed is tried again.
    fn bears(&mut self, error: &Error, item: &Item<'_>) -> bool {
        match error.cause {
            Cause::Changed if self.reading.attempt < self.readings => {
                self.reading.attempt += 1;
                true
            }
            Cause::FalseHole => std::mem::take(&mut self.reading.holes),
            Cause::Mismatch | Cause::MismatchInPlace => std::mem::take(&mut self.compares_again),
            // Some programs behind FUSE take no bytes beyond a file's end, as a part of a large file is: FAT's.
            Cause::Io(_)
                if error.operation == Operation::Write && error.errno().is_some_and(refuses_place) =>
            {
                item.pair.file_system.begin_writing_in_order()
            }
            _ => false,
        }
    }
}

/// Leaves what there is of a new file to the next run, if that can go on there, and else nothing.
fn give_up(item: &Item<'_>, within: &OwnedFd, new: NewFile, error: &Error) {
    if matches!(error.cause, Cause::NoRoom { .. }) && new.is_empty() {
        new.remove(within, item.target());
    } else if new.discard(within, item.target()) {
        item.pair.mark_broken_off();
    }
}

/// Gives a new file its name. `None`: a nameless one gets none on this file system.
fn give_name(
    item: &Item<'_>,
    new: NewFile,
    modified: Time,
    taken: Taken,
    mut applied: Applied,
) -> Result<Option<Applied>> {
    let within = item.changing()?;
    let written = item.pair.inode_to_look_at(&new.fd);
    item.lane.doing(Operation::Rename);
    let publish = || new.publish(within, item.target(), taken, item.run());
    match item.lane.io.in_place(Call::Name, publish) {
        Ok(()) => {}
        Err(Unpublished::NoName(errno)) if keeps_nameless(errno) => {
            item.pair.file_system.mark_refuses_nameless();
            return Ok(None);
        }
        Err(Unpublished::NoName(errno) | Unpublished::NotThere(errno)) => {
            return Err(errno).at(Operation::Create, || item.path());
        }
    }
    if let Some(written) = written {
        look_after_close(item, written, modified, &mut applied)?;
    }
    Ok(Some(applied))
}

/// Whether an errno of write(2) may be about where in the file it was, and not about room or the disk.
fn refuses_place(errno: Errno) -> bool {
    let is_of_size = matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG);
    metadata::is_refusal(errno) && !is_of_size
}

/// The source's stat before it is read once more.
fn stat_again(item: &Item<'_>, source: &File) -> Result<Stat> {
    let stat = stat_open(source).at(Operation::StatSource, || item.source_path())?;
    item.adopt_open(stat, source)
}

/// Makes, or opens, the file to write to, with the flags that it has to have before its first byte; what it lacks of them.
fn new_file_with_flags(
    item: &Item<'_>,
    file: &File,
    wanted: Wanted<'_>,
    (taken, reading): (Taken, Reading),
) -> Result<(NewFile, Option<Error>)> {
    let new = new_file(item, file, wanted, (taken, reading))?;
    match flags::give(item, file, &new) {
        Ok(lack) => Ok((new, lack)),
        Err(error) => {
            new.remove(item.changing()?, item.target());
            Err(error)
        }
    }
}

/// The attributes that the file is to have, if any are kept.
fn source_xattrs(item: &Item<'_>, source: &File, stat: &Stat) -> Result<Option<Xattrs>> {
    if !item.run().rules.keep.xattrs {
        return Ok(None);
    }
    item.source_xattrs(stat, Some(source)).map(Some)
}

/// Makes, or opens, the file to write to.
fn new_file(
    item: &Item<'_>,
    file: &File,
    wanted: Wanted<'_>,
    (taken, reading): (Taken, Reading),
) -> Result<NewFile> {
    let (run, source) = (item.run(), wanted.stat);
    let config = &run.config;
    // A file without a size may have contents all the same, whose length is not known: it is made anew.
    if config.in_place
        && taken == Taken::Entry
        && source.size > 0
        && !reading.takes_less()
        && let Some(existing) = in_place::open(item, file, source)
    {
        return Ok(NewFile::existing(existing));
    }
    let method = match taken {
        _ if config.partial && source.size > LARGE_FILE => WriteMethod::Partial,
        Taken::Nothing if !config.atomic => WriteMethod::Named,
        _ => WriteMethod::Atomic,
    };
    let mode = metadata::mode_at_first(wanted, item.pair.group_of_new(run), &run.rules);
    let create = || NewFile::create(item.pair, item.target(), (method, taken), mode, run);
    item.lane.io.in_place(Call::Create, create).at(Operation::Create, || item.path())
}

/// Some file systems set the time once more when a file that was written is closed. It gets its own again.
fn look_after_close(item: &Item<'_>, written: Inode, modified: Time, applied: &mut Applied) -> Result<()> {
    let run = item.run();
    if !run.rules.keep.times || !applied.lacks.is_empty() {
        return Ok(());
    }
    let handle = item.handle(item.target())?;
    let now = stat_open(&handle).at(Operation::StatDestination, || item.path())?;
    let is_other = match_times(modified, &now) == Match::Other && may_be_rounded(modified, &now).is_none();
    if now.inode == written && is_other {
        let inode = HeldInode::Handle(handle.as_fd());
        let program = item.pair.file_system.is_program;
        let target = Target { inode, have: &now, bare: false, sure: false, program };
        let want = Stat { modified, ..now };
        applied.add(metadata::apply_time(&want, target, &run.rules, || item.path())?);
    }
    Ok(())
}
