//! Copying one regular file: contents, then metadata, then the name. Files that are large or have holes are cut in
//! segments (large_file.rs); the others are read, hashed and written here.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use blake3::{Hash, Hasher};
use rustix::io::Errno;

use crate::content::sparse::{self, Layout};
use crate::engine::entry::earlier::clone::Base;
use crate::engine::entry::item::Item;
use crate::engine::entry::large_file::{LARGE_FILE, LargeFile};
use crate::engine::entry::new_file::closing;
use crate::engine::entry::new_file::room::Shortage;
use crate::engine::entry::steady::{ATTEMPTS, settle};
use crate::engine::entry::{flags, in_place, keep_old, read_back};
use crate::engine::own::new_file::{NewFile, Unpublished, WriteMethod};
use crate::engine::own::{refused, shed};
use crate::engine::run::flushed::flush_file;
use crate::engine::run::streamed::Streamed;
use crate::engine::state::copied::Copied;
use crate::engine::state::file_systems::keeps_nameless;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::metrics::{Call, Stage};
use crate::event::{Action, Reused};
use crate::io::file::File;
use crate::io::rename::Taken;
use crate::metadata::xattr::{self, Xattrs};
use crate::metadata::{self, Applied, HeldInode, Target, Wanted};
use crate::options::Reflink;
use crate::plan::times::{Match, match_times, may_be_rounded};
use crate::stat::{Inode, Stat, stat_open};

/// What the contents came to.
struct Contents {
    hash: Option<Hash>,
    /// Bytes copied or cloned, holes not counted.
    bytes: u64,
    expected: Option<NonZeroU64>,
    reused: Option<Reused>,
}

/// A new file that has everything but its name: its contents, and what came of its metadata.
type Filled = (Contents, Applied);

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
    let (mut holes, mut again, mut attempts) = (true, true, 1);
    let mut old = true; // what is there has not been written over yet, and has no backup yet
    let mut shortage = Shortage::default();
    loop {
        before = settle(item, source, before, &mut attempts).await?;
        shortage.begin(item);
        item.lane.doing(Operation::Create);
        let xattrs = source_xattrs(item, source, &before)?;
        let wanted = Wanted { stat: &before, xattrs: xattrs.as_ref() };
        let (new, flags) = match new_file_with_flags(item, source, wanted, taken) {
            Ok(made) => made,
            Err(error) => {
                shortage.wait(item, None, error).await?;
                continue;
            }
        };
        if new.is_in_place() && std::mem::take(&mut old) {
            Box::pin(in_place::keep_old(item, &new)).await?; // what is written over is not there any more
        }
        let error = match fill(item, source, wanted, (holes, base), &new, streamed).await {
            Ok((Contents { hash, bytes, expected, reused }, mut applied)) => {
                if taken == Taken::Entry && !new.is_in_place() && std::mem::take(&mut old) {
                    keep_old::keep(item).await?;
                }
                applied.lacks.extend(flags);
                let named = match give_name(item, new, &before, taken, applied) {
                    Err(error) => shortage.wait(item, None, error).await.map(|()| None),
                    named => named,
                };
                if let Some(applied) = named? {
                    let copied = Copied {
                        action: Action::Created,
                        bytes,
                        expected,
                        hash,
                        reused,
                        ..Copied::skipped()
                    };
                    return Ok(copied.with(applied));
                }
                streamed.end(item.run()).await;
                before = stat_again(item, source)?;
                continue; // under a temporary name, or once there is room for a name
            }
            Err(error) => error,
        };
        let tried_again = match error.cause {
            Cause::Changed if attempts < ATTEMPTS => {
                attempts += 1;
                true
            }
            Cause::FalseHole => std::mem::take(&mut holes),
            Cause::Mismatch | Cause::MismatchInPlace => std::mem::take(&mut again),
            // Some programs behind FUSE take no bytes beyond a file's end, as a part of a large file is: FAT's.
            Cause::Io(_)
                if error.operation == Operation::Write && error.errno().is_some_and(refuses_place) =>
            {
                item.pair.file_system.begin_writing_in_order()
            }
            _ => false,
        };
        let error = match tried_again {
            true => None,
            false => shortage.wait(item, Some(&new), error).await.err(),
        };
        let Some(error) = error else {
            streamed.end(item.run()).await;
            new.remove(within, item.target());
            before = stat_again(item, source)?;
            continue;
        };
        if matches!(error.cause, Cause::NoRoom { .. }) && new.is_empty() {
            new.remove(within, item.target());
        } else if new.discard(within, item.target()) {
            item.pair.mark_broken_off();
        }
        return Err(error);
    }
}

/// Gives a new file its name. `None`: a nameless one gets none on this file system.
fn give_name(
    item: &Item<'_>,
    new: NewFile,
    want: &Stat,
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
        look_after_close(item, written, want, &mut applied)?;
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
    taken: Taken,
) -> Result<(NewFile, Option<Error>)> {
    let new = new_file(item, file, wanted, taken)?;
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
fn new_file(item: &Item<'_>, file: &File, wanted: Wanted<'_>, taken: Taken) -> Result<NewFile> {
    let (run, source) = (item.run(), wanted.stat);
    let config = &run.config;
    // A file without a size may have contents all the same, whose length is not known: it is made anew.
    if config.in_place
        && taken == Taken::Entry
        && source.size > 0
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

/// Gives the new file everything but its name: contents, metadata, and, where that is asked for, a place on stable
/// storage and a look at what is there.
async fn fill(
    item: &Item<'_>,
    source: &File,
    wanted: Wanted<'_>,
    (holes, base): (bool, Option<&Base>),
    new: &NewFile,
    streamed: &Streamed,
) -> Result<Filled> {
    let Wanted { stat: before, xattrs } = wanted;
    let contents = copy_contents(item, source, before, (holes, base), new, streamed).await?;
    item.lane.doing_as(Operation::StatSource, Stage::Finish);
    let after = stat_open(source).at(Operation::StatSource, || item.source_path())?;
    // Files that never have a size (in /proc) have times that move with every look.
    if before.size + after.size > 0 && after.differs_in_time(before) {
        return Err(Error::new(Operation::ReadSource, item.source_path(), Cause::Changed));
    }
    let run = item.run();
    let have = match new.has_contents() {
        true => stat_open(&new.fd),
        false => item.pair.stat_of_new(&new.fd, new.mode, run),
    };
    let have = have.at(Operation::StatDestination, || item.path())?;
    if new.is_kept() {
        // With its metadata the next run may not know it for its own: what can take long comes first.
        flush(item, new).await?;
    }
    let has_capability = xattrs.is_some_and(|want| xattr::grants(want, &Xattrs::new()));
    if has_capability && !item.pair.file_system.is_faithful {
        // What is written takes a capability away, and may be written to what lies below only when it is flushed. What
        // fails now fails again when it is closed.
        item.lane.io.flush(&new.fd).await.ok();
    }
    item.lane.doing(Operation::SetTimes);
    let inode = HeldInode::Open(new.fd.as_fd());
    let sheds_acl = item.pair.sheds_inherited_acl(run) && !new.is_in_place();
    let acl = match sheds_acl {
        true => shed::acls(inode, &item.pair.file_system, || item.path())?,
        false => None,
    };
    if new.is_in_place() {
        in_place::mark_done(new).at(Operation::SetXattr, || item.path())?;
    }
    let bare = !new.has_contents() && !item.pair.inherits_acl();
    let sure = item.pair.file_system.is_sure(before);
    // What has its name already must not look right before it is.
    let modified = if new.is_in_place() { have.modified } else { before.modified };
    let want = Stat { modified, ..shed::tight(*before, acl.as_ref()) };
    let wanted = Wanted { stat: &want, xattrs };
    let target = Target { inode, have: &have, bare, sure, program: item.pair.file_system.is_program };
    let apply = || metadata::apply(wanted, target, &run.rules, || item.path());
    let mut applied = item.lane.io.in_place(Call::Metadata, apply)?;
    applied.lacks.extend(acl);
    make_safe(item, new, &contents).await?;
    if new.is_in_place() && run.rules.keep.times {
        applied.add(metadata::apply_time(before, target, &run.rules, || item.path())?);
        flush(item, new).await?;
    }
    Ok((contents, applied))
}

/// Some file systems set the time once more when a file that was written is closed. It gets its own again.
fn look_after_close(item: &Item<'_>, written: Inode, want: &Stat, applied: &mut Applied) -> Result<()> {
    let run = item.run();
    if !run.rules.keep.times || !applied.lacks.is_empty() {
        return Ok(());
    }
    let handle = item.handle(item.target())?;
    let now = stat_open(&handle).at(Operation::StatDestination, || item.path())?;
    let is_other =
        match_times(want.modified, &now) == Match::Other && may_be_rounded(want.modified, &now).is_none();
    if now.inode == written && is_other {
        let inode = HeldInode::Handle(handle.as_fd());
        let program = item.pair.file_system.is_program;
        let target = Target { inode, have: &now, bare: false, sure: false, program };
        applied.add(metadata::apply_time(want, target, &run.rules, || item.path())?);
    }
    Ok(())
}

/// Puts the file on stable storage, and looks at what is there, as far as either is asked for. What the file system tells
/// of writes that failed is heard in any case.
async fn make_safe(item: &Item<'_>, new: &NewFile, contents: &Contents) -> Result<()> {
    let Some(hash) = contents.hash.filter(|_| item.run().config.reads_back()) else {
        flush(item, new).await?;
        return closing::ask(item, new).await;
    };
    closing::ask(item, new).await?;
    match Box::pin(read_back::is_intact(item, new, hash)).await? {
        true => Ok(()),
        false if new.is_in_place() => Err(Error::new(Operation::Verify, item.path(), Cause::MismatchInPlace)),
        false => Err(Error::new(Operation::Verify, item.path(), Cause::Mismatch)),
    }
}

async fn flush(item: &Item<'_>, new: &NewFile) -> Result<()> {
    if !item.run().config.fsync {
        return Ok(());
    }
    item.lane.doing(Operation::Flush);
    flush_file(&new.fd, item.lane, || item.path()).await
}

async fn copy_contents(
    item: &Item<'_>,
    source: &File,
    stat: &Stat,
    (holes, base): (bool, Option<&Base>),
    new: &NewFile,
    streamed: &Streamed,
) -> Result<Contents> {
    if let Some(base) = base.filter(|base| base.has_all(stat))
        && share_extents(&base.file, base.size, new).await.is_ok()
    {
        let reused = Some(base.reused(stat.size));
        return Ok(Contents { hash: None, bytes: 0, expected: None, reused });
    }
    if stat.size > 0 && !new.has_contents() && clone(item, source, stat, new).await? {
        let hash = match item.run().config.needs_hashes() {
            true => Some(Box::pin(read_back::hash(item, source, stat, Operation::ReadSource)).await?),
            false => None,
        };
        return Ok(Contents { hash, bytes: stat.data(), expected: None, reused: None });
    }
    if let Some(base) = base.filter(|_| stat.size > LARGE_FILE && !new.has_contents())
        && share_extents(&base.file, base.size, new).await.is_ok()
    {
        new.mark_cloned();
        return mend_clone(item, source, stat, base, new, streamed).await;
    }
    let in_order = item.pair.file_system.is_written_in_order() && !new.has_contents();
    let layout =
        if holes && !in_order { sparse::layout(&source.fd, stat, source.family) } else { Layout::Dense };
    // With room beyond its end its stat does not tell how much of a file is data.
    let hides_holes = layout == Layout::Sparse && stat.allocated >= stat.size;
    item.take_room(stat.size, if hides_holes { 0 } else { stat.data() }, new).await?;
    let limited = item.run().rate.is_some();
    let _admission = item.lane.admission().await;
    let is_large = stat.size > LARGE_FILE;
    if is_large && !in_order || layout != Layout::Dense || new.has_contents() {
        let (hash, bytes, _) = Box::pin(LargeFile::copy(item, source, new, stat, layout, streamed)).await?;
        return Ok(Contents { hash, bytes, expected: streamed.expected(), reused: None });
    }
    if limited || is_large {
        streamed.begin(stat.size, item.run()).await;
    }
    let (hash, bytes) = copy_small(item, source, stat.size, new, streamed).await?;
    Ok(Contents { hash, bytes, expected: streamed.expected(), reused: None })
}

/// Has the clone of an older state hold what the source does: only blocks that differ are written.
async fn mend_clone(
    item: &Item<'_>,
    source: &File,
    stat: &Stat,
    base: &Base,
    new: &NewFile,
    streamed: &Streamed,
) -> Result<Contents> {
    let layout = sparse::layout(&source.fd, stat, source.family);
    let _admission = item.lane.admission().await;
    let copied = Box::pin(LargeFile::copy(item, source, new, stat, layout, streamed)).await?;
    let (hash, bytes, written) = copied;
    let reused = Some(base.reused(bytes.saturating_sub(written)));
    Ok(Contents { hash, bytes, expected: streamed.expected(), reused })
}

/// Shares the source's extents, where that is wanted and the file systems can (ioctl_ficlone(2)).
async fn clone(item: &Item<'_>, source: &File, stat: &Stat, new: &NewFile) -> Result<bool> {
    let always = match item.run().config.reflink {
        Reflink::Never => return Ok(false),
        Reflink::Auto if !item.pair.clones.load(Ordering::Relaxed) => return Ok(false),
        choice => choice == Reflink::Always,
    };
    match share_extents(&source.fd, stat.size, new).await {
        Ok(()) => Ok(true),
        Err(errno) if always => Err(errno).at(Operation::Clone, || item.path()),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => {
            item.pair.clones.store(false, Ordering::Relaxed);
            Ok(false)
        }
        Err(_) => Ok(false), // of this file only, for example a swap file
    }
}

/// Has a new file share the extents of another one, which has `size` bytes (ioctl_ficlone(2)).
pub(crate) async fn share_extents(from: &Arc<OwnedFd>, size: u64, new: &NewFile) -> rustix::io::Result<()> {
    let (from, to) = (from.clone(), new.fd.clone());
    if size <= LARGE_FILE {
        return rustix::fs::ioctl_ficlone(to, from);
    }
    // The kernel writes dirty pages first: that can take a while, and goes to a thread.
    let cloned = tokio::task::spawn_blocking(move || rustix::fs::ioctl_ficlone(to, from)).await;
    cloned.unwrap_or(Err(Errno::IO))
}

/// Copies in order through one buffer: for nearly all files a single read and a single write.
async fn copy_small(
    item: &Item<'_>,
    source: &File,
    size: u64,
    new: &NewFile,
    streamed: &Streamed,
) -> Result<(Option<Hash>, u64)> {
    let io = &item.lane.io;
    let mut hasher = item.run().config.hashing.is_some().then(Hasher::new);
    let mut whole = None;
    let mut buffer = item.lane.buffers.take(size).await;
    let mut offset = 0;
    // A size of 0 is not believed: files in /proc have contents all the same.
    while offset < size || size == 0 {
        item.fail_if_stopped()?;
        let length = if size == 0 { buffer.len() } else { buffer.len().min((size - offset) as usize) };
        let length = item.run().piece(length);
        if size > 0 {
            item.lane.pace(length).await;
        }
        item.lane.doing(Operation::ReadSource);
        let read;
        (read, buffer) = io.read(source, buffer, length, offset).await;
        let read = read.at(Operation::ReadSource, || item.source_path())?;
        if read == 0 {
            break;
        }
        let bytes = &buffer.bytes()[..read];
        if hasher.is_some() {
            item.lane.hashing();
        }
        if read as u64 == size {
            // All in one piece, as nearly always: hashed whole it makes better use of the processor's vectors.
            whole = hasher.take().map(|_| blake3::hash(bytes));
        } else if let Some(hasher) = &mut hasher {
            hasher.update(bytes);
        }
        item.lane.doing(Operation::Write);
        let written;
        (written, buffer) = io.write(&new.fd, buffer, 0..read, offset).await;
        written.at(Operation::Write, || item.path())?;
        offset += read as u64;
        if size == 0 {
            item.lane.pace(read).await;
        }
        item.lane.count_in_order(read, streamed).await;
    }
    // Fewer bytes than its size: it shrank, which the caller's second stat tells, or its size is made up (in /sys).
    Ok((whole.or_else(|| hasher.map(|hasher| hasher.finalize())), offset))
}
