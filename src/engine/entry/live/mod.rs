//! Sources that are written to while they are read. What was read is kept where a second look proves it to be a state that
//! the file had: each byte is read once more and is what it was, so between the two readings the file held just these.
//! That needs no times, which some file systems move with every look.

pub(crate) mod mapped;
mod metadata;
pub(crate) mod steady;

use blake3::Hash;
use rustix::fs::Advice;

use crate::content::hash::SEGMENT;
use crate::engine::entry::item::Item;
use crate::engine::entry::live::mapped::may_hide_stores;
use crate::engine::entry::live::metadata::Metadata;
use crate::engine::entry::live::steady::{ATTEMPTS, pass_tick};
use crate::engine::entry::{contents, read_back};
use crate::engine::own::new_file::NewFile;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Live;
use crate::io::file::{File, has_real_sizes, is_faithful, set_size, tells_writes};
use crate::metadata::xattr::Xattrs;
use crate::stat::{Stat, Time, stat_open};

/// Of a file of more bytes that grew, samples are a second look, where it is trusted to be appended to and no more.
const SAMPLED: u64 = 1 << 30;
/// How many samples, evenly spread, and of how many bytes each.
const SAMPLES: u64 = 256;
const SAMPLE: u64 = 64 << 10;
/// Bytes before the old end, which are compared in full.
const TAIL: u64 = 4 * SEGMENT;

/// Seconds: twice as many as any file system rounds times by.
const ROUNDED: i64 = 4;

/// One reading of a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Its number, from 1.
    pub(crate) attempt: usize,
    /// Whether every change since it began shows in the source's times (steady.rs, mapped.rs).
    pub(crate) apart: bool,
    /// Whether the holes that the file system tells of are believed.
    pub(crate) holes: bool,
}

impl Reading {
    /// Whether the source, of which this number of bytes were read, changed since its stat was `before`, or may have.
    pub(crate) fn has_moved(&self, source: &File, bytes: u64, (before, after): (&Stat, &Stat)) -> bool {
        if before.size + after.size == 0 {
            // Files that never have a size (in /proc) have contents all the same, and times that move with every look.
            return bytes > 0 && has_real_sizes(&source.fd, before);
        }
        !self.apart || after.differs_in_time(before) || may_hide_stores(source, after)
    }

    /// Whether the file is read in order up to its end, wherever that is by then: parts of it were cut off each time.
    pub(crate) fn takes_less(&self) -> bool {
        self.attempt > ATTEMPTS
    }
}

/// What was read of a source that changed meanwhile.
pub(crate) struct Read<'a> {
    /// The source's stat at the beginning.
    pub(crate) before: &'a Stat,
    /// And its attributes, if they are kept.
    pub(crate) xattrs: Option<&'a Xattrs>,
    /// Once the first bytes had been read. `None`: that was the end.
    pub(crate) begun: Option<&'a Stat>,
    /// The source's stat at the end.
    pub(crate) after: &'a Stat,
    /// Of the bytes that were read and written. `None`: they came another way, or were not hashed.
    pub(crate) hash: Option<Hash>,
    /// The copy shares the source's extents, as they were at one time.
    pub(crate) is_clone: bool,
}

/// What a copy is made to be, though its source changed.
pub(crate) struct Seen {
    pub(crate) stat: Stat,
    pub(crate) xattrs: Option<Xattrs>,
    pub(crate) live: Option<Live>,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// What the file was, from the first reading to the second.
    State,
    /// What it was at the beginning, or at least what it begins with.
    Beginning,
    /// What it was at some moment, by its file system's word.
    Clone,
    /// Perhaps never what it was.
    Mixture,
}

/// Looks a second time at a source that changed while it was read. Its metadata is read anew, between the two readings. The
/// time is that between them, and of what grew that of the beginning, so that the next run takes what came after.
///
/// # Errors
/// When what was read is no state that the file had, and is not to be taken either.
pub(crate) async fn look_again(
    item: &Item<'_>,
    source: &File,
    reading: Reading,
    read: Read<'_>,
    new: &NewFile,
) -> Result<Seen> {
    let Read { before, after, .. } = read;
    // From here on a write shows in the times: it will not have those of `after`.
    pass_tick(item, source, after).await?;
    let metadata = Metadata::of_now(item, source)?;
    let is_state = is_state(item, source, &read, new).await?;
    let last = stat_open(source).at(Operation::StatSource, || item.source_path())?;
    let is_steady = [metadata.stat, last].iter().all(|look| is_unwritten(after, look));
    let grew = last.size.max(after.size) > before.size;
    let found = match is_state {
        true if grew => Found::Beginning,
        true if is_steady || !tells_writes(&source.fd) => Found::State,
        _ if read.is_clone => Found::Clone,
        _ if item.run().config.take_changing && reading.attempt >= ATTEMPTS => Found::Mixture,
        _ => {
            forget_pages(source);
            return Err(Error::new(Operation::ReadSource, item.source_path(), Cause::Changed));
        }
    };
    let metadata = match is_steady && matches!(found, Found::State | Found::Beginning) {
        true => metadata,
        false => {
            let [after, last] = [after, &last].map(|look| item.adopt_open(*look, source));
            metadata.narrowed(item, [before, &after?, &last?], read.xattrs)?
        }
    };
    let metadata = if found == Found::Mixture { metadata.without_privileges() } else { metadata };
    let window = item.run().rules.compare.window;
    let (live, size, modified) = match found {
        Found::State => (None, before.size, after.modified),
        Found::Beginning => (Some(Live::Grew), before.size, time_of_beginning(&read)),
        Found::Mixture => (Some(Live::Changing), before.size, earlier_time(before, &last, window)),
        Found::Clone => {
            let size = stat_open(&new.fd).at(Operation::StatDestination, || item.path())?.size;
            // Who sets the time back must not make it look like what the source is now.
            let is_back = last.modified == before.modified;
            (None, size, if is_back { earlier_time(before, &last, window) } else { before.modified })
        }
    };
    Ok(Seen { stat: Stat { size, modified, ..metadata.stat }, xattrs: metadata.xattrs, live })
}

/// Whether nobody wrote to a file between two looks, as far as its times tell.
fn is_unwritten(one: &Stat, other: &Stat) -> bool {
    (one.modified, one.size) == (other.modified, other.size)
}

/// A time for what a file begins with that grew: that of the beginning. Where the file had changed when the first bytes were read
/// it may have been written anew, and the time is one that it never had.
fn time_of_beginning(read: &Read<'_>) -> Time {
    let Time { seconds, nanoseconds } = read.before.modified;
    match read.begun {
        Some(begun) if !begun.differs_in_time(read.before) => read.before.modified,
        _ if nanoseconds == 0 => Time { seconds: seconds.saturating_sub(1), nanoseconds: 999_999_999 },
        _ => Time { seconds, nanoseconds: nanoseconds - 1 },
    }
}

/// Has the kernel read anew what it keeps of a file on a network, or behind a program: that may be older than what is there,
/// and a second look at it would be the first one once more.
fn forget_pages(source: &File) {
    if !is_faithful(&source.fd) {
        rustix::fs::fadvise(&source.fd, 0, None, Advice::DontNeed).ok();
    }
}

/// A time for what the file is not any more, or never was: it is none that the file has, also where times are rounded, or
/// compared with a `window` of seconds, so that the next run copies it again.
fn earlier_time(before: &Stat, now: &Stat, window: Option<u64>) -> Time {
    let earlier = before.modified.min(now.modified);
    let apart =
        ROUNDED.saturating_add(window.unwrap_or_default().saturating_mul(2).min(i64::MAX as u64) as i64);
    Time { seconds: earlier.seconds.saturating_sub(apart), ..earlier }
}

/// Whether what was read is what the file, or its beginning, held at one time.
async fn is_state(item: &Item<'_>, source: &File, read: &Read<'_>, new: &NewFile) -> Result<bool> {
    let (before, after) = (read.before, read.after);
    if before.size == 0 || after.size < before.size {
        return Ok(false);
    }
    forget_pages(source);
    let looked = async {
        if item.run().config.trust_append && before.size > SAMPLED && after.size > before.size {
            return is_sampled(item, source, before.size, new).await;
        }
        match read.hash {
            Some(hash) => {
                let stat = Stat { size: before.size, ..*after };
                Ok(read_back::hash(item, source, &stat, Operation::ReadSource).await? == hash)
            }
            None => is_in(item, source, before.size, new).await,
        }
    };
    match looked.await {
        Err(Error { cause: Cause::Changed, .. }) => Ok(false), // it became shorter meanwhile
        looked => looked,
    }
}

/// Whether the new file holds the first `size` bytes of the source. If so it has no more from now on: a clone may have got them.
async fn is_in(item: &Item<'_>, source: &File, size: u64, new: &NewFile) -> Result<bool> {
    let Some(theirs) = of_size(item, size, new)? else { return Ok(false) };
    Ok(contents::is_same(item, source, &theirs, 0..size).await? && cut(item, size, new)?)
}

/// The same by samples, and by all of what lies before the end.
async fn is_sampled(item: &Item<'_>, source: &File, size: u64, new: &NewFile) -> Result<bool> {
    let Some(theirs) = of_size(item, size, new)? else { return Ok(false) };
    for sample in 0..SAMPLES {
        let start = size / SAMPLES * sample;
        if !contents::is_same(item, source, &theirs, start..(start + SAMPLE).min(size)).await? {
            return Ok(false);
        }
    }
    let end = size.saturating_sub(TAIL)..size;
    Ok(contents::is_same(item, source, &theirs, end).await? && cut(item, size, new)?)
}

/// The new file, to be read. `None`: it is shorter than `size` bytes.
fn of_size(item: &Item<'_>, size: u64, new: &NewFile) -> Result<Option<File>> {
    let have = stat_open(&new.fd).at(Operation::StatDestination, || item.path())?;
    Ok((have.size >= size).then(|| item.lane.io.file(new.fd.clone(), &have)))
}

/// Takes what the new file has beyond `size` bytes away.
fn cut(item: &Item<'_>, size: u64, new: &NewFile) -> Result<bool> {
    if stat_open(&new.fd).at(Operation::StatDestination, || item.path())?.size > size {
        set_size(&new.fd, size).at(Operation::Write, || item.path())?;
    }
    Ok(true)
}
