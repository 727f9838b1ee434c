//! Sources that are written to while they are read. What was read is kept where a second look proves it to be a state that
//! the file had: each byte is read once more and is what it was, so between the two readings the file held just these.
//! That needs no times, which some file systems move with every look.

pub(crate) mod steady;

use blake3::Hash;

use crate::content::hash::SEGMENT;
use crate::engine::entry::item::Item;
use crate::engine::entry::live::steady::{ATTEMPTS, pass_tick};
use crate::engine::entry::{contents, read_back};
use crate::engine::own::new_file::NewFile;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Live;
use crate::io::file::{File, set_size};
use crate::metadata::xattr::Xattrs;
use crate::stat::{Stat, Time, stat_open};

/// Of a file of more bytes that grew, samples are a second look, where it is trusted to be appended to and no more.
const SAMPLED: u64 = 1 << 30;
/// How many samples, evenly spread, and of how many bytes each.
const SAMPLES: u64 = 256;
const SAMPLE: u64 = 64 << 10;
/// Bytes before the old end, which are compared in full.
const TAIL: u64 = 2 * SEGMENT;

/// One reading of a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Its number, from 1.
    pub(crate) attempt: usize,
    /// Whether every change since it began shows in the source's times (steady.rs).
    pub(crate) apart: bool,
    /// Whether the holes that the file system tells of are believed.
    pub(crate) holes: bool,
}

impl Reading {
    /// Whether the source changed since its stat was `before`, or may have.
    pub(crate) fn has_moved(&self, before: &Stat, after: &Stat) -> bool {
        // Files that never have a size (in /proc) have times that move with every look.
        before.size + after.size > 0 && (!self.apart || after.differs_in_time(before))
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
        return Err(Error::new(Operation::ReadSource, item.source_path(), Cause::Changed));
    }
    let now = stat_open(source).at(Operation::StatSource, || item.source_path())?;
    let stat = item.adopt_open(now, source)?;
    let wanted = || item.source_xattrs(&stat, Some(source));
    let xattrs = item.run().rules.keep.xattrs.then(wanted).transpose()?;
    let (live, modified) = match is_state {
        false => (Some(Live::Changing), time_of_mixture(before, &now)),
        true if after.size > before.size => (Some(Live::Grew), before.modified),
        true => (None, after.modified),
    };
    Ok(Seen { stat: Stat { size: before.size, modified, ..stat }, xattrs, live })
}

/// The time of what is no state of the file: the next run has to see that the file has another one.
fn time_of_mixture(before: &Stat, now: &Stat) -> Time {
    match now.modified == before.modified {
        true => Time { seconds: before.modified.seconds.saturating_sub(1), ..before.modified },
        false => before.modified,
    }
}

/// Whether what was read is what the file, or its beginning, held at one time.
async fn is_state(item: &Item<'_>, source: &File, read: &Read<'_>, new: &NewFile) -> Result<bool> {
    let (before, after) = (read.before, read.after);
    if before.size == 0 || after.size < before.size {
        return Ok(false);
    }
    // From here on a write shows in the times: it will not have those of `after`.
    pass_tick(item, source, after).await?;
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
