//! Comparing what two files hold, byte by byte: both are read side by side, and the first difference ends it. That
//! takes less than hashing both, and tells as much.

use std::ffi::CStr;
use std::io::Read;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::content::hash::SEGMENT;
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::entry::large_file::LARGE_FILE;
use crate::engine::entry::live::steady::settle;
use crate::engine::run::blocking::in_thread;
use crate::engine::run::lane::Lane;
use crate::engine::run::regular;
use crate::engine::run::streamed::Streamed;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Event, Kind};
use crate::io::file::{Family, File};
use crate::io::path::open_entry;
use crate::plan::writers::Writers;
use crate::stat::{Stat, proc_path, stat_open};

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
    let compared = compare_open(item, &ours, &theirs, 0..source.size, &streamed).await;
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
    is_same(item, &ours, &theirs, 0..source.size).await
}

/// Whether two files that are open hold the same in `range`.
pub(crate) async fn is_same(item: &Item<'_>, ours: &File, theirs: &File, range: Range<u64>) -> Result<bool> {
    Ok(compare_open(item, ours, theirs, range, &Streamed::default()).await?.0)
}

/// Whether two entries of the source, at these paths below its root, hold the same. What can't be read does not.
pub(crate) async fn are_equal(lane: &Lane, kind: Kind, one: PathBuf, other: PathBuf) -> bool {
    let compared = in_thread(lane, move |run| {
        let root = run.roots.source.fd.as_ref().filter(|_| run.roots.several.is_none());
        let hold = |path: &Path| open_entry(root.ok_or(Errno::NOENT)?, path.as_os_str().as_bytes());
        let target = |path| rustix::fs::readlinkat(hold(path)?, c"", Vec::new());
        // A FIFO may have taken its place, which nobody is to wait for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |path| -> io::Result<_> {
            Ok(fs::File::from(rustix::fs::open(proc_path(&hold(path)?), flags, Mode::empty())?))
        };
        let are_equal = || match kind {
            Kind::Symlink => Ok(target(&one)? == target(&other)?),
            Kind::File => read_both(open(&one)?, open(&other)?),
            _ => Ok(true),
        };
        Ok(are_equal().unwrap_or(false))
    });
    compared.await.unwrap_or(false)
}

fn read_both(one: fs::File, other: fs::File) -> io::Result<bool> {
    const PIECE: u64 = 1 << 17;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    loop {
        for (file, buffer) in [(&one, &mut ours), (&other, &mut theirs)] {
            buffer.clear();
            file.take(PIECE).read_to_end(buffer)?;
        }
        if ours != theirs || ours.is_empty() {
            return Ok(ours == theirs);
        }
    }
}

/// Whether the item's file is in the state that it was found in, and every change from now on can be told: the time that
/// the destination may be given is to stand for what is compared. A run that changes nothing need not know.
async fn is_settled(item: &Item<'_>, ours: &File, source: &Stat) -> Result<bool> {
    if !item.run().config.writes() {
        return Ok(true);
    }
    let found = settle(item, ours, *source).await?;
    Ok(found.apart && !found.stat.differs_in_time(source))
}

/// The item's file, which may be open already.
async fn open_source(item: &Item<'_>, file: Option<&File>) -> Result<File> {
    if let Some(file) = file {
        return Ok(file.clone());
    }
    item.lane.doing(Operation::OpenSource);
    let opened = open_source_of(item).await;
    Ok(opened.at(Operation::OpenSource, || item.source_path())?.0)
}

async fn compare_open(
    item: &Item<'_>,
    ours: &File,
    theirs: &File,
    range: Range<u64>,
    streamed: &Streamed,
) -> Result<(bool, u64)> {
    let buffers = &item.lane.buffers;
    // The slower side decides how much is read at once.
    let family = if theirs.family == Family::Fuse { theirs.family } else { ours.family };
    let size = range.end - range.start;
    let [mut one, mut other] = match size > LARGE_FILE {
        true => buffers.take_pieces(family).await,
        false => buffers.take_pair_of(size).await,
    };
    let mut at = range.start;
    loop {
        if item.run().stop.is_stopped() {
            return Err(Error::new(Operation::Run, item.source_path(), Cause::Interrupted));
        }
        item.lane.doing(Operation::ReadSource);
        // Both reads are in flight at once: the trees may well be on two disks.
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let (length, io) = (one.len().min(left.max(1)), &item.lane.io);
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
        if both == 0 || at == range.end {
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

/// The same of an item's source.
pub(crate) async fn open_source_of(item: &Item<'_>) -> Result<(File, Stat), Cause> {
    match item.open_regular(OFlags::RDONLY | OFlags::NOATIME).await {
        Err(Cause::Io(error)) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
            item.open_regular(OFlags::RDONLY).await
        }
        opened => opened,
    }
}
