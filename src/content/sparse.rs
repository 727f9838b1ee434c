//! Holes: where a file has none of its bytes on the disk (lseek(2), `SEEK_DATA` and `SEEK_HOLE`).
//!
//! A file system's word on holes is taken only as far as it holds: each one is sampled as it is passed, and where it is
//! not all zeroes, or the answers make no sense, the whole file is read again without them. Samples would not find all
//! that a program may have got wrong: on FUSE a file is read in full, and what is all zeroes becomes its holes.

use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::io::file::Family;
use crate::stat::Stat;

/// How a file's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All of them are read.
    Dense,
    /// There are holes, which are skipped.
    Sparse,
    /// There are said to be holes. All bytes are read, and those of blocks that are all zeroes not written.
    Doubtful,
}

/// Bytes of a block, in most file systems: what differs is written, and what is all zeroes left out, in whole ones.
pub(crate) const BLOCK: usize = 4096;

static ZEROES: [u8; BLOCK] = [0; BLOCK];

/// Bytes of one sample.
const SAMPLE: usize = 4096;

/// A file of a page that takes no room may well be one of /sys, whose size is made up: it is simply read.
const PAGE: u64 = 4096;

/// Files of more bytes are asked for holes in any case: by measurement lseek(2) takes 1 % of the time of reading and writing
/// 70 KB on ext4, and 0.1 % and less of more. tmpfs looks at page after page, which is 1 to 3 % whatever the size: there,
/// and of small files, only those are asked that have more room than they fill.
const ALWAYS_ASKED: u64 = 64 << 10;

/// Whether to look for holes: where a file has fewer bytes on the disk than it holds, or its file system shows one. Room
/// beyond its end (fallocate(2) with `FALLOC_FL_KEEP_SIZE`) may be as much as its holes, or more, and hide them. A program's
/// word (FUSE) is not asked for.
pub(crate) fn layout(file: &OwnedFd, stat: &Stat, family: Family) -> Layout {
    let pretends = stat.allocated == 0 && stat.size <= PAGE;
    let is_short = stat.allocated < stat.size;
    let asks = stat.allocated > stat.size.next_multiple_of(PAGE)
        || stat.size > ALWAYS_ASKED && family != Family::Memory;
    match family {
        _ if pretends => Layout::Dense,
        Family::Fuse if !is_short => Layout::Dense,
        _ if !(is_short || asks && shows_hole(file, stat.size)) => Layout::Dense,
        Family::Kernel | Family::Memory | Family::Overlay => Layout::Sparse,
        Family::Fuse => Layout::Doubtful,
    }
}

/// Whether the file system shows a hole before the end. One that has no answer shows none.
fn shows_hole(file: &OwnedFd, size: u64) -> bool {
    rustix::fs::seek(file, SeekFrom::Hole(0)).is_ok_and(|hole| hole < size)
}

/// Neighbouring blocks that are all zeroes, or of which none is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) range: Range<usize>,
    pub(crate) zero: bool,
}

/// The run that starts `from` there in `bytes`, which lie at `offset` of their file. A block of which they hold but a
/// part is judged by that part.
pub(crate) fn next_run(bytes: &[u8], offset: u64, from: usize) -> Option<Stretch> {
    let end_of_block = |at: usize| {
        let into = (offset + at as u64) % BLOCK as u64;
        (at + BLOCK - into as usize).min(bytes.len())
    };
    let is_zero = |at: usize| bytes[at..end_of_block(at)] == ZEROES[..end_of_block(at) - at];
    if from >= bytes.len() {
        return None;
    }
    let zero = is_zero(from);
    let mut end = end_of_block(from);
    while end < bytes.len() && is_zero(end) == zero {
        end = end_of_block(end);
    }
    Some(Stretch { range: from..end, zero })
}

/// The first stretch of data within `range`, or `None` where only a hole is left. What is passed over is sampled:
/// `EILSEQ` tells that it is no hole, that the answers make no sense, or that there are none.
pub(crate) fn next_data(file: &OwnedFd, range: Range<u64>) -> rustix::io::Result<Option<Range<u64>>> {
    let data = match seek_data(file, range.clone()) {
        Err(errno) if has_no_answer(errno) => return Err(Errno::ILSEQ),
        other => other?,
    };
    let hole = range.start..data.as_ref().map_or(range.end, |data| data.start);
    if hole.is_empty() || is_zero(file, hole)? { Ok(data) } else { Err(Errno::ILSEQ) }
}

pub(crate) fn seek_data(file: &OwnedFd, range: Range<u64>) -> rustix::io::Result<Option<Range<u64>>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(range.start)) {
        Ok(start) if start >= range.end => return Ok(None),
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) => end.min(range.end),
        Err(Errno::NXIO) => return Ok(None), // it was cut off in between, which its size tells
        Err(errno) => return Err(errno),
    };
    if start < range.start || end <= start {
        return Err(Errno::ILSEQ); // an answer that would never come to an end
    }
    Ok(Some(start..end))
}

/// Whether an errno says that the file system has no answer, or that a sandbox lets nobody ask.
pub(crate) fn has_no_answer(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn data_is_found_and_holes_are_passed() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(&[1; 5000], 1 << 19).unwrap();
        let fd = OwnedFd::from(file);
        let data = next_data(&fd, 0..1 << 20).unwrap().unwrap();
        assert!(data.start <= 1 << 19 && data.end >= (1 << 19) + 5000);
        assert_eq!(next_data(&fd, data.end..1 << 20).unwrap(), None);
    }

    #[test]
    fn runs_of_zeroes_end_where_blocks_of_the_file_do() {
        let mut bytes = vec![0; 5 * BLOCK];
        bytes[2 * BLOCK] = 1;
        let all = |bytes: &[u8], offset| {
            let mut runs = Vec::new();
            while let Some(run) =
                next_run(bytes, offset, runs.last().map_or(0, |run: &Stretch| run.range.end))
            {
                runs.push(run);
            }
            runs
        };
        let run = |range, zero| Stretch { range, zero };
        let (two, three) = (2 * BLOCK, 3 * BLOCK);
        let whole = [run(0..two, true), run(two..three, false), run(three..5 * BLOCK, true)];
        assert_eq!(all(&bytes, 1 << 20), whole);
        let moved =
            [run(0..BLOCK + 96, true), run(BLOCK + 96..two + 96, false), run(two + 96..5 * BLOCK, true)];
        assert_eq!(all(&bytes, 4000)[0], moved[0]);
        assert_eq!(all(&bytes, 4000).len(), 3);
        assert_eq!(all(&bytes[..10], 7), [run(0..10, true)]);
        assert_eq!(all(&[], 0), []);
    }

    #[test]
    fn what_is_not_zero_is_no_hole() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[0; 20_000], 0).unwrap();
        file.write_all_at(b"!", 19_999).unwrap();
        let fd = OwnedFd::from(file);
        assert!(is_zero(&fd, 0..19_999).unwrap());
        assert!(!is_zero(&fd, 0..20_000).unwrap());
        assert!(!is_zero(&fd, 19_000..20_000).unwrap());
    }
}
