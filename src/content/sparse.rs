//! Holes: where a file has none of its bytes on the disk (lseek(2), `SEEK_DATA` and `SEEK_HOLE`).
//!
//! A file system's word on holes is taken only as far as it holds: what it calls a hole is sampled, and where it is
//! not all zeroes, or the answers make no sense, the whole file is read instead.

use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::plan::entry::Stat;

/// How a file's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All of them are read.
    Dense,
    /// There are holes, which are skipped.
    Sparse,
}

/// So many holes of a file are sampled.
const SAMPLED_HOLES: usize = 16;
/// Bytes of one sample.
const SAMPLE: usize = 4096;

/// Looks for holes in a file whose stat shows fewer bytes on the disk than it holds.
pub(crate) fn layout(file: &OwnedFd, stat: &Stat) -> Layout {
    if stat.allocated >= stat.size {
        return Layout::Dense;
    }
    match first_holes_are_true(file, stat) {
        Ok(true) => Layout::Sparse,
        _ => Layout::Dense,
    }
}

/// Whether there is a hole, and the first ones hold nothing but zeroes.
fn first_holes_are_true(file: &OwnedFd, stat: &Stat) -> rustix::io::Result<bool> {
    let (mut at, mut holes, mut data) = (0, 0, 0);
    while at < stat.size && holes < SAMPLED_HOLES {
        let next = next_data(file, at..stat.size)?;
        let hole = at..next.as_ref().map_or(stat.size, |range| range.start);
        if !hole.is_empty() {
            holes += 1;
            if !is_zero(file, hole)? {
                return Ok(false);
            }
        }
        let Some(range) = next else { break };
        data += range.end - range.start;
        at = range.end;
    }
    // All hole, but with bytes on the disk: only a file system that does not know says that.
    let contradiction = data == 0 && holes < SAMPLED_HOLES && stat.allocated > SAMPLE as u64 * 16;
    Ok(holes > 0 && !contradiction)
}

/// The first stretch of data within `range`, or `None` where only a hole is left.
pub(crate) fn next_data(file: &OwnedFd, range: Range<u64>) -> rustix::io::Result<Option<Range<u64>>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(range.start)) {
        Ok(start) if start >= range.end => return Ok(None),
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(range.end);
    if start < range.start || end <= start {
        return Err(Errno::INVAL); // an answer that would never come to an end
    }
    Ok(Some(start..end))
}

/// Samples the first and last bytes of an alleged hole.
fn is_zero(file: &OwnedFd, hole: Range<u64>) -> rustix::io::Result<bool> {
    let mut sample = [0_u8; SAMPLE];
    let last = hole.end.saturating_sub(SAMPLE as u64).max(hole.start);
    for at in [hole.start, last] {
        let length = (hole.end - at).min(SAMPLE as u64) as usize;
        let read = rustix::io::pread(file, &mut sample[..length], at)?;
        if sample[..read].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}
