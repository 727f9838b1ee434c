//! Sources that are written to while they are read. What was read is kept where a second look proves it to be a state that
//! the file had: each byte is read once more and is what it was, so between the two readings the file held just these.
//! That needs no times, which some file systems move with every look.

pub(crate) mod mapped;
pub(crate) mod steady;

use blake3::Hash;
use rustix::fs::Advice;

use crate::content::hash::SEGMENT;
use crate::engine::entry::item::Item;
use crate::engine::entry::live::mapped::may_hide_stores;
use crate::engine::entry::live::steady::{ATTEMPTS, pass_tick};
use crate::engine::entry::{contents, read_back};
use crate::engine::own::new_file::NewFile;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Live;
use crate::io::file::{File, is_faithful, set_size};
use crate::metadata::xattr::Xattrs;
use crate::stat::{Stat, Time, stat_open};

/// Of a file of more bytes that grew, samples are a second look, where it is trusted to be appended to and no more.
const SAMPLED: u64 = 1 << 30;
/// How many samples, evenly spread, and of how many bytes each.
const SAMPLES: u64 = 256;
const SAMPLE: u64 = 64 << 10;
/// Bytes before the old end, which are compared in full.
const TAIL: u64 = 4 * SEGMENT;

/// How many times metadata that change are looked at.
const LOOKS: usize = 8;
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
    /// Whether the source changed since its stat was `before`, or may have.
    pub(crate) fn has_moved(&self, source: &File, before: &Stat, after: &Stat) -> bool {
        // Files that never have a size (in /proc) have times that move with every look.
        before.size + after.size > 0
            && (!self.apart || after.differs_in_time(before) || may_hide_stores(source, after))
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
    /// And at the end.
    pub(crate) after: &'a Stat,
    /// Of the bytes that were read and written. `None`: they came another way, or were not hashed.
    pub(crate) hash: Option<Hash>,
}

/// What a copy is made to be, though its source changed.
pub(crate) struct Seen {
    pub(crate) stat: Stat,
    pub(crate) xattrs: Option<Xattrs>,
    pub(crate) live: Option<Live>,
}

/// Looks a second time at a source that changed while it was read. Its metadata is read anew. The time is that between the two
/// looks, and of what grew that of the beginning, so that the next run takes what came after.
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
    let is_state = is_state(item, source, &read, new).await?;
    let takes_all = item.run().config.take_changing && reading.attempt >= ATTEMPTS;
    if !is_state && !takes_all {
        forget_pages(source);
        return Err(Error::new(Operation::ReadSource, item.source_path(), Cause::Changed));
    }
    let (stat, xattrs) = metadata_of_now(item, source)?;
    let (live, modified) = match is_state {
        false => (Some(Live::Changing), time_of_mixture(before, &stat, item.run().rules.compare.window)),
        true if after.size > before.size => (Some(Live::Grew), before.modified),
        true => (None, after.modified),
    };
    Ok(Seen { stat: Stat { size: before.size, modified, ..stat }, xattrs, live })
}

/// Has the kernel read anew what it keeps of a file on a network, or behind a program: that may be older than what is there,
/// and a second look at it would be the first one once more.
fn forget_pages(source: &File) {
    if !is_faithful(&source.fd) {
        rustix::fs::fadvise(&source.fd, 0, None, Advice::DontNeed).ok();
    }
}

/// The source's metadata, which belong together: nothing changed between the looks at its mode and at its ACL. Where that never
/// comes about the mode is what it was each time.
fn metadata_of_now(item: &Item<'_>, source: &File) -> Result<(Stat, Option<Xattrs>)> {
    let look = || stat_open(source).at(Operation::StatSource, || item.source_path());
    let mut now = look()?;
    for left in (0..LOOKS).rev() {
        let stat = item.adopt_open(now, source)?;
        let wanted = || item.source_xattrs(&stat, Some(source));
        let xattrs = item.run().rules.keep.attributes().then(wanted).transpose()?;
        let then = look()?;
        if then.changed == now.changed {
            return Ok((stat, xattrs));
        }
        if left == 0 {
            return Ok((Stat { mode: stat.mode & then.mode, ..stat }, xattrs));
        }
        now = then;
    }
    Err(Error::new(Operation::StatSource, item.source_path(), Cause::Changed))
}

/// A time for what is no state of the file: it is none that the file has, also where times are rounded, or compared with a
/// `window` of seconds, so that the next run copies it again.
fn time_of_mixture(before: &Stat, now: &Stat, window: Option<u64>) -> Time {
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
    // From here on a write shows in the times: it will not have those of `after`.
    pass_tick(item, source, after).await?;
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

/// Whether the new file holds the first `size` bytes of the source. A clone may have got more.
async fn is_in(item: &Item<'_>, source: &File, size: u64, new: &NewFile) -> Result<bool> {
    let Some(theirs) = cut(item, size, new)? else { return Ok(false) };
    contents::is_same(item, source, &theirs, 0..size).await
}

/// The same by samples, and by all of what lies before the end.
async fn is_sampled(item: &Item<'_>, source: &File, size: u64, new: &NewFile) -> Result<bool> {
    let Some(theirs) = cut(item, size, new)? else { return Ok(false) };
    for sample in 0..SAMPLES {
        let start = size / SAMPLES * sample;
        if !contents::is_same(item, source, &theirs, start..(start + SAMPLE).min(size)).await? {
            return Ok(false);
        }
    }
    contents::is_same(item, source, &theirs, size.saturating_sub(TAIL)..size).await
}

/// The new file, no longer than `size` bytes. `None`: it is shorter.
fn cut(item: &Item<'_>, size: u64, new: &NewFile) -> Result<Option<File>> {
    let at = || item.path();
    let have = stat_open(&new.fd).at(Operation::StatDestination, at)?;
    if have.size > size {
        set_size(&new.fd, size).at(Operation::Write, at)?;
    }
    Ok((have.size >= size).then(|| item.lane.io.file(new.fd.clone(), &have)))
}
