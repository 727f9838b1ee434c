//! What a new file gets before its name: contents, metadata, and a place on stable storage. Files that are large or have
//! holes are cut in segments (large_file.rs); the others are read, hashed and written here.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use blake3::{Hash, Hasher};
use rustix::io::Errno;

use crate::content::sparse::{self, Layout};
use crate::engine::entry::earlier::clone::Base;
use crate::engine::entry::item::Item;
use crate::engine::entry::large_file::{LARGE_FILE, LargeCopy, LargeFile};
use crate::engine::entry::live::{Read, Reading, Seen, look_again};
use crate::engine::entry::new_file::closing;
use crate::engine::entry::{in_place, read_back};
use crate::engine::own::new_file::NewFile;
use crate::engine::own::shed;
use crate::engine::run::flushed::flush_file;
use crate::engine::run::streamed::Streamed;
use crate::engine::state::copied::Copied;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::metrics::{Call, Stage};
use crate::event::{Action, Live, Reused};
use crate::io::file::{File, clones_at_once};
use crate::metadata::xattr::{self, Xattrs};
use crate::metadata::{self, Applied, HeldInode, Target, Wanted};
use crate::options::Reflink;
use crate::stat::{Stat, Time, stat_open};

/// What the contents came to.
pub(crate) struct Contents {
    pub(crate) hash: Option<Hash>,
    /// Bytes copied or cloned, holes not counted.
    pub(crate) bytes: u64,
    pub(crate) expected: Option<NonZeroU64>,
    pub(crate) reused: Option<Reused>,
    /// They came as extents, not as bytes: a hash was taken of another reading.
    pub(crate) cloned: bool,
    /// The source's stat when the first of several pieces had been read.
    begun: Option<Stat>,
}

impl Contents {
    const NONE: Contents =
        Contents { hash: None, bytes: 0, expected: None, reused: None, cloned: false, begun: None };

    /// What is reported of a file that has them.
    pub(crate) fn copied(self, live: Option<Live>) -> Copied {
        let Contents { hash, bytes, expected, reused, .. } = self;
        Copied { action: Action::Created, bytes, expected, hash, reused, live, ..Copied::skipped() }
    }
}

/// A new file that has everything but its name.
pub(crate) struct Filled {
    pub(crate) contents: Contents,
    /// What came of its metadata.
    pub(crate) applied: Applied,
    /// The time that it was to get.
    pub(crate) modified: Time,
    /// What its source did meanwhile.
    pub(crate) live: Option<Live>,
}

/// Gives the new file everything but its name: contents, metadata, and, where that is asked for, a place on stable
/// storage and a look at what is there.
pub(crate) async fn fill(
    item: &Item<'_>,
    source: &File,
    wanted: Wanted<'_>,
    (reading, base): (Reading, Option<&Base>),
    new: &NewFile,
    streamed: &Streamed,
) -> Result<Filled> {
    let before = wanted.stat;
    let mut contents = copy_contents(item, source, before, (reading, base), new, streamed).await?;
    item.lane.doing_as(Operation::StatSource, Stage::Finish);
    let after = stat_open(source).at(Operation::StatSource, || item.source_path())?;
    if !reading.has_moved(source, contents.bytes, (before, &after)) {
        let applied = finish(item, wanted, &contents, new).await?;
        return Ok(Filled { contents, applied, modified: before.modified, live: None });
    }
    let hash = contents.hash.filter(|_| !contents.cloned);
    let is_clone = contents.cloned && contents.reused.is_none() && clones_at_once(&source.fd);
    let begun = contents.begun.as_ref();
    let read = Read { before, xattrs: wanted.xattrs, begun, after: &after, hash, is_clone };
    let Seen { stat, xattrs, live } = Box::pin(look_again(item, source, reading, read, new)).await?;
    if contents.cloned && contents.hash.is_some() {
        contents.hash = Some(Box::pin(read_back::hash_new(item, new)).await?);
    }
    let wanted = Wanted { stat: &stat, xattrs: xattrs.as_ref() };
    let applied = finish(item, wanted, &contents, new).await?;
    Ok(Filled { contents, applied, modified: stat.modified, live })
}

/// Gives a new file that has its contents all else but its name. What came of its metadata.
async fn finish(
    item: &Item<'_>,
    Wanted { stat: source, xattrs }: Wanted<'_>,
    contents: &Contents,
    new: &NewFile,
) -> Result<Applied> {
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
    let sure = item.pair.file_system.is_sure(source);
    // What has its name already must not look right before it is.
    let modified = if new.is_in_place() { have.modified } else { source.modified };
    let want = Stat { modified, ..shed::tight(*source, acl.as_ref()) };
    let wanted = Wanted { stat: &want, xattrs };
    let target = Target { inode, have: &have, bare, sure, program: item.pair.file_system.is_program };
    let apply = || metadata::apply(wanted, target, &run.rules, || item.path());
    let mut applied = item.lane.io.in_place(Call::Metadata, apply)?;
    applied.lacks.extend(acl);
    make_safe(item, new, contents).await?;
    if new.is_in_place() && run.rules.keep.times {
        applied.add(metadata::apply_time(source, target, &run.rules, || item.path())?);
        flush(item, new).await?;
    }
    Ok(applied)
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
    (reading, base): (Reading, Option<&Base>),
    new: &NewFile,
    streamed: &Streamed,
) -> Result<Contents> {
    if let Some(base) = base.filter(|base| base.has_all(stat))
        && let Some(contents) = Box::pin(take_all(item, base, reading, new, streamed)).await?
    {
        return Ok(contents);
    }
    if stat.size > 0 && !new.has_contents() && clone(item, source, stat, new).await? {
        let hash = match item.run().config.needs_hashes() {
            true => Some(Box::pin(read_back::hash(item, source, stat, Operation::ReadSource)).await?),
            false => None,
        };
        return Ok(Contents { hash, bytes: stat.data(), cloned: true, ..Contents::NONE });
    }
    if let Some(base) =
        base.filter(|_| stat.size > LARGE_FILE && !new.has_contents() && !reading.takes_less())
        && share_extents(&base.file, base.size(), new).await.is_ok()
    {
        new.mark_cloned();
        return mend_clone(item, source, stat, (reading, base), new, streamed).await;
    }
    copy_bytes(item, source, stat, reading, new, streamed).await
}

/// Takes all from an earlier tree's file, which has the same: its extents, or else its bytes if these are wanted. `None`: the
/// source's are to be copied.
async fn take_all(
    item: &Item<'_>,
    base: &Base,
    reading: Reading,
    new: &NewFile,
    streamed: &Streamed,
) -> Result<Option<Contents>> {
    let reused = Some(base.reused(base.size(), true));
    let config = &item.run().config;
    let shares = config.reflink != Reflink::Never || !config.reuse.copies();
    if shares && base.size() > 0 && share_extents(&base.file, base.size(), new).await.is_ok() {
        return Ok(Some(Contents { reused, cloned: true, ..Contents::NONE }));
    }
    let Some((file, stat)) = base.to_read().filter(|_| !new.has_contents()) else { return Ok(None) };
    let copied = copy_bytes(item, file, stat, reading, new, streamed).await;
    if copied.as_ref().is_err_and(|error| error.operation.reads_source()) {
        base.spoil();
    }
    match copied {
        Ok(contents) if base.is_steady() => Ok(Some(Contents { reused, ..contents })),
        Err(error) if !error.operation.reads_source() => Err(error),
        // The source is read when it is tried again.
        _ => Err(Error::new(Operation::ReadSource, item.source_path(), Cause::Changed)),
    }
}

async fn copy_bytes(
    item: &Item<'_>,
    source: &File,
    stat: &Stat,
    reading: Reading,
    new: &NewFile,
    streamed: &Streamed,
) -> Result<Contents> {
    let in_order =
        (item.pair.file_system.is_written_in_order() || reading.takes_less()) && !new.has_contents();
    let layout = if in_order { Layout::Dense } else { layout_of(source, stat, reading) };
    // With room beyond its end its stat does not tell how much of a file is data.
    let hides_holes = layout == Layout::Sparse && stat.allocated >= stat.size;
    item.take_room(stat.size, if hides_holes { 0 } else { stat.data() }, new).await?;
    let limited = item.run().rate.is_some();
    let _admission = item.lane.admission().await;
    let is_large = stat.size > LARGE_FILE;
    if is_large && !in_order || layout != Layout::Dense || new.has_contents() {
        let LargeCopy { hash, bytes, begun, .. } =
            Box::pin(LargeFile::copy(item, source, new, stat, layout, streamed)).await?;
        return Ok(Contents { hash, bytes, expected: streamed.expected(), begun, ..Contents::NONE });
    }
    if limited || is_large {
        streamed.begin(stat.size, item.run()).await;
    }
    let (hash, bytes, begun) = copy_small(item, source, stat.size, new, streamed).await?;
    Ok(Contents { hash, bytes, expected: streamed.expected(), begun, ..Contents::NONE })
}

/// How the source's bytes lie. Where a hole was found to be none, for the file system errs or somebody filled it, all is read, and
/// what is all zeroes left out.
fn layout_of(source: &File, stat: &Stat, reading: Reading) -> Layout {
    match reading.holes {
        true => sparse::layout(&source.fd, stat, source.family),
        false => Layout::Doubtful,
    }
}

/// Has the clone of an older state hold what the source does: only blocks that differ are written.
async fn mend_clone(
    item: &Item<'_>,
    source: &File,
    stat: &Stat,
    (reading, base): (Reading, &Base),
    new: &NewFile,
    streamed: &Streamed,
) -> Result<Contents> {
    let layout = layout_of(source, stat, reading);
    let _admission = item.lane.admission().await;
    let copied = Box::pin(LargeFile::copy(item, source, new, stat, layout, streamed)).await?;
    let LargeCopy { hash, bytes, written, begun } = copied;
    let reused = Some(base.reused(bytes.saturating_sub(written), false));
    Ok(Contents { hash, bytes, expected: streamed.expected(), reused, cloned: false, begun })
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

/// Copies in order through one buffer: for nearly all files a single read and a single write. Returns the hash, the bytes, and
/// the source's stat after the first of several reads.
async fn copy_small(
    item: &Item<'_>,
    source: &File,
    size: u64,
    new: &NewFile,
    streamed: &Streamed,
) -> Result<(Option<Hash>, u64, Option<Stat>)> {
    let io = &item.lane.io;
    let mut hasher = item.run().config.hashing.is_some().then(Hasher::new);
    let (mut whole, mut begun) = (None, None);
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
        if offset == 0 && (read as u64) < size {
            begun = stat_open(source).ok();
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
    Ok((whole.or_else(|| hasher.map(|hasher| hasher.finalize())), offset, begun))
}
