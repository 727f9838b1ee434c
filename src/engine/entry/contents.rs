//! Comparing what two files hold, byte by byte: both are read side by side, and the first difference ends it. That
//! takes less than hashing both, and tells as much.

use std::ffi::CStr;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::content::hash::SEGMENT;
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::entry::large_file::LARGE_FILE;
use crate::engine::entry::steady::settle;
use crate::engine::run::lane::Lane;
use crate::engine::run::regular;
use crate::engine::run::streamed::Streamed;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Event;
use crate::io::file::{Family, File};
use crate::plan::writers::Writers;
use crate::stat::{Stat, stat_open};

/// What a comparison came to.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) same: bool,
    /// Bytes read of each side.
    pub(crate) bytes: u64,
    /// How many bytes were expected of it, if its bytes were counted as they were read.
    pub(crate) expected: Option<NonZeroU64>,
    /// The destination's file, if it is the one that was asked for.
    pub(crate) theirs: Option<File>,
}

/// Compares the item's file with the destination's, both of one size.
pub(crate) async fn compare(item: &Item<'_>, source: &SourceEntry, destination: &Stat) -> Result<Compared> {
    let SourceEntry { stat: source, file } = source;
    if source.inode == destination.inode {
        return Ok(Compared { same: true, bytes: 0, expected: None, theirs: None });
    }
    let ours = open_source(item, file.as_ref()).await?;
    if !is_settled(item, &ours, source).await? {
        return Ok(Compared { same: false, bytes: 0, expected: None, theirs: None });
    }
    item.lane.doing(Operation::OpenDestination);
    let theirs = open(item.lane, item.destination_side()?, item.target()).await;
    let (theirs, opened) = theirs.at(Operation::OpenDestination, || item.path())?;
    let streamed = Streamed::default();
    if source.size > LARGE_FILE && item.run().config.checks() {
        streamed.begin(source.size, item.run()).await;
    }
    let compared = compare_open(item, &ours, &theirs, source.size, &streamed).await;
    if compared.is_err() {
        streamed.end(item.run()).await;
    }
    let (same, bytes) = compared?;
    let expected = streamed.expected();
    if expected.is_some() {
        item.run().report(Event::Bytes(bytes % SEGMENT)).await;
    }
    let theirs = (opened.inode == destination.inode).then_some(theirs);
    Ok(Compared { same, bytes, expected, theirs })
}

/// Whether a file elsewhere holds what the item's does; both are of one size.
pub(crate) async fn equals(item: &Item<'_>, source: &SourceEntry, other: OwnedFd) -> Result<bool> {
    let stat = stat_open(&other).at(Operation::StatDestination, || item.path())?;
    let SourceEntry { stat: source, file } = source;
    if source.inode == stat.inode {
        return Ok(true);
    }
    let ours = open_source(item, file.as_ref()).await?;
    if !is_settled(item, &ours, source).await? {
        return Ok(false);
    }
    let theirs = item.lane.io.file(Arc::new(other), &stat);
    Ok(compare_open(item, &ours, &theirs, source.size, &Streamed::default()).await?.0)
}

/// Whether the item's file is in the state that it was found in, and every change from now on can be told: the time that
/// the destination may be given is to stand for what is compared. A run that changes nothing need not know.
async fn is_settled(item: &Item<'_>, ours: &File, source: &Stat) -> Result<bool> {
    if !item.run().config.writes() {
        return Ok(true);
    }
    let found = settle(item, ours, *source, &mut 1).await?;
    Ok(!found.differs_in_time(source))
}

/// The item's file, which may be open already.
async fn open_source(item: &Item<'_>, file: Option<&File>) -> Result<File> {
    if let Some(file) = file {
        return Ok(file.clone());
    }
    item.lane.doing(Operation::OpenSource);
    let opened = open(item.lane, item.source_side(), &item.entry.name).await;
    Ok(opened.at(Operation::OpenSource, || item.source_path())?.0)
}

async fn compare_open(
    item: &Item<'_>,
    ours: &File,
    theirs: &File,
    size: u64,
    streamed: &Streamed,
) -> Result<(bool, u64)> {
    let buffers = &item.lane.buffers;
    // The slower side decides how much is read at once.
    let family = if theirs.family == Family::Fuse { theirs.family } else { ours.family };
    let [mut one, mut other] = match size > LARGE_FILE {
        true => buffers.take_pieces(family).await,
        false => buffers.take_pair_of(size).await,
    };
    let mut at = 0;
    loop {
        if item.run().stop.is_stopped() {
            return Err(Error::new(Operation::Run, item.source_path(), Cause::Interrupted));
        }
        item.lane.doing(Operation::ReadSource);
        // Both reads are in flight at once: the trees may well be on two disks.
        let (length, io) = (one.len(), &item.lane.io);
        let (from_source, from_destination);
        ((from_source, one), (from_destination, other)) =
            tokio::join!(io.read(ours, one, length, at), io.read(theirs, other, length, at));
        let read = from_source.at(Operation::ReadSource, || item.source_path())?;
        let have = from_destination.at(Operation::ReadDestination, || item.path())?;
        // Either may have been given fewer bytes than there are, but none only at its end.
        let both = read.min(have);
        if read.max(have) > 0 && both == 0 || one.bytes()[..both] != other.bytes()[..both] {
            return Ok((false, at));
        }
        let before = at / SEGMENT;
        at += both as u64;
        if streamed.expected().is_some() && at / SEGMENT > before {
            streamed.add(SEGMENT);
            item.run().report(Event::Bytes(SEGMENT)).await;
        }
        if both == 0 || at == size {
            return Ok((true, at));
        }
    }
}

/// Opens a regular file for reading, without moving its time of access where that is allowed (open(2), `O_NOATIME`).
pub(crate) async fn open(
    lane: &Lane,
    side: (&Arc<OwnedFd>, Writers),
    name: &CStr,
) -> Result<(File, Stat), Cause> {
    match regular::open(lane, side, name, OFlags::RDONLY | OFlags::NOATIME).await {
        Err(Cause::Io(error)) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
            regular::open(lane, side, name, OFlags::RDONLY).await
        }
        opened => opened,
    }
}
