//! One segment of a large file: copied, compared and mended where it is, or only hashed. Holes are passed over as the
//! file system tells them, and their zeroes hashed; where its word is not taken all is read, and zeroes are left out.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use blake3::Hasher;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::content::sparse::{self, BLOCK, Layout, Stretch};
use crate::engine::entry::in_place::Guard;
use crate::engine::entry::large_file::{Failure, LARGE_FILE, LargeFile};
use crate::engine::run::lane::Lane;
use crate::error::{Cause, Operation, Result};
use crate::event::metrics::Call;
use crate::io;
use crate::io::buffer::Buffer;
use crate::io::file::{Family, File};

static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

impl LargeFile {
    /// Two buffers for pieces of it; small ones, if it is only cut in segments for its holes, or to be mended where it is.
    async fn take_pair(&self, lane: &Lane) -> [Buffer; 2] {
        match self.size() {
            size if size > LARGE_FILE => lane.buffers.take_pieces(self.source.family).await,
            size => lane.buffers.take_pair_of(size).await,
        }
    }

    /// Copies one segment, reading ahead of the write. Returns the bytes copied, holes not counted.
    pub(crate) async fn copy_segment(
        &self,
        lane: &Lane,
        to: &Arc<OwnedFd>,
        segment: Range<u64>,
        mut hasher: Option<&mut Hasher>,
    ) -> Result<u64, Failure> {
        let mut buffers = Vec::from(self.take_pair(lane).await);
        let piece = buffers.first().map_or(0, Buffer::len);
        let mut read: Option<(Buffer, usize, u64)> = None;
        let (mut at, mut copied) = (segment.start, 0);
        loop {
            let next = self.next_data(&mut at, segment.end, piece, hasher.as_deref_mut())?;
            let write = async {
                match read.take() {
                    Some((buffer, length, offset)) => {
                        lane.doing(Operation::Write);
                        self.write(lane, to, buffer, length, offset).await.map(Some)
                    }
                    None => Ok(None),
                }
            };
            let ahead = async {
                match (next, buffers.pop()) {
                    (Some(data), Some(buffer)) => Some(self.read(lane, buffer, data).await),
                    _ => None,
                }
            };
            let (written, ahead) = tokio::join!(write, ahead);
            buffers.extend(written?);
            let Some(ahead) = ahead else { return Ok(copied) };
            let (buffer, length) = ahead?;
            if let Some(hasher) = hasher.as_deref_mut() {
                lane.hashing();
                hasher.update(&buffer.bytes()[..length]);
            }
            read = Some((buffer, length, at));
            at += length as u64;
            copied += length as u64;
            fail_if_stopped(lane)?;
        }
    }

    /// Makes one segment of `old` equal: writes the blocks that differ, and makes holes where the source has some.
    /// Returns the bytes compared.
    pub(crate) async fn update_segment(
        &self,
        lane: &Lane,
        (old, guard): (&File, Option<&Guard>),
        segment: Range<u64>,
        mut hasher: Option<&mut Hasher>,
    ) -> Result<u64, Failure> {
        let [mut new_data, mut old_data] = self.take_pair(lane).await;
        let (mut at, mut compared) = (segment.start, 0);
        loop {
            let from = at;
            let data = self.next_data(&mut at, segment.end, new_data.len(), hasher.as_deref_mut())?;
            make_hole(old, from..data.as_ref().map_or(segment.end, |data| data.start))
                .map_err(Failure::of(Operation::Write))?;
            let Some(data) = data else { return Ok(compared) };
            let length;
            (new_data, length) = self.read(lane, new_data, data).await?;
            if let Some(hasher) = hasher.as_deref_mut() {
                lane.hashing();
                hasher.update(&new_data.bytes()[..length]);
            }
            if guard.is_some_and(|guard| !guard.holds(&self.source)) {
                return Err(Failure { operation: self.reading, cause: Cause::Changed });
            }
            let had;
            (old_data, had) = read_old(lane, old, old_data, length, at).await?;
            let mut next = 0;
            while let Some(Stretch { range, zero }) = self.next_run(&new_data.bytes()[..length], at, next) {
                next = range.end;
                lane.doing(Operation::Write);
                let have = &old_data.bytes()[..had];
                if zero {
                    clear(old, &new_data.bytes()[..length], have, range, at)?;
                } else {
                    let written;
                    (new_data, written) = mend(lane, old, new_data, have, range, at).await?;
                    self.add_written(written);
                }
            }
            at += length as u64;
            compared += length as u64;
            fail_if_stopped(lane)?;
        }
    }

    /// Hashes one segment. Returns its bytes, holes not counted.
    pub(crate) async fn hash_segment(
        &self,
        lane: &Lane,
        segment: Range<u64>,
        mut hasher: Option<&mut Hasher>,
    ) -> Result<u64, Failure> {
        let mut buffer = match self.size() {
            size if size > LARGE_FILE => lane.buffers.take_piece(self.source.family).await,
            size => lane.buffers.take(size).await,
        };
        let (mut at, mut hashed) = (segment.start, 0);
        while let Some(data) = self.next_data(&mut at, segment.end, buffer.len(), hasher.as_deref_mut())? {
            let length;
            (buffer, length) = self.read(lane, buffer, data).await?;
            if let Some(hasher) = hasher.as_deref_mut() {
                lane.hashing();
                hasher.update(&buffer.bytes()[..length]);
            }
            at += length as u64;
            hashed += length as u64;
            fail_if_stopped(lane)?;
        }
        Ok(hashed)
    }

    /// Writes what was read of `offset`.
    async fn write(
        &self,
        lane: &Lane,
        to: &Arc<OwnedFd>,
        mut buffer: Buffer,
        length: usize,
        offset: u64,
    ) -> Result<Buffer, Failure> {
        let mut next = 0;
        while let Some(Stretch { range, zero }) = self.next_run(&buffer.bytes()[..length], offset, next) {
            next = range.end;
            if !zero {
                let at = offset + range.start as u64;
                let result;
                (result, buffer) = lane.io.write(to, buffer, range, at).await;
                result.map_err(Failure::of(Operation::Write))?;
            }
        }
        Ok(buffer)
    }

    /// What is to be treated alike of bytes that lie at `offset`, starting `from` there in them.
    fn next_run(&self, bytes: &[u8], offset: u64, from: usize) -> Option<Stretch> {
        match self.layout {
            Layout::Doubtful => sparse::next_run(bytes, offset, from),
            _ => (from < bytes.len()).then_some(Stretch { range: from..bytes.len(), zero: false }),
        }
    }

    async fn read(&self, lane: &Lane, buffer: Buffer, data: Range<u64>) -> Result<(Buffer, usize), Failure> {
        lane.doing(self.reading);
        let mut length = (data.end - data.start) as usize;
        if self.is_counted() {
            length = lane.run.piece(length);
            lane.pace(length).await;
        }
        let (result, buffer) = lane.io.read(&self.source, buffer, length, data.start).await;
        match result.map_err(Failure::of(self.reading))? {
            0 => Err(Failure { operation: self.reading, cause: Cause::Changed }), // it was truncated
            read => {
                let doubtful = self.layout == Layout::Doubtful;
                let read = if doubtful { whole_blocks(read, length, data.start) } else { read };
                if self.is_counted() {
                    lane.count(read).await;
                    if lane.run.rate.is_some() {
                        self.add_told(read as u64);
                    }
                }
                Ok((buffer, read))
            }
        }
    }

    /// Moves `at` past a hole, hashing its zeroes, and returns the data there, `most` bytes at most.
    fn next_data(
        &self,
        at: &mut u64,
        end: u64,
        most: usize,
        hasher: Option<&mut Hasher>,
    ) -> Result<Option<Range<u64>>, Failure> {
        let data = match self.layout {
            _ if *at >= end => None,
            Layout::Dense | Layout::Doubtful => Some(*at..end),
            Layout::Sparse => {
                sparse::next_data(&self.source.fd, *at..end).map_err(Failure::of_seek(self.reading))?
            }
        };
        let start = data.as_ref().map_or(end, |data| data.start);
        if let Some(hasher) = hasher {
            hash_zeroes(hasher, start.saturating_sub(*at));
        }
        *at = start.max(*at);
        Ok(data.map(|data| data.start..data.end.min(data.start + most as u64)))
    }
}

/// Reads what the destination has at `offset`: `length` bytes, or fewer where it ends.
async fn read_old(
    lane: &Lane,
    old: &File,
    mut buffer: Buffer,
    length: usize,
    offset: u64,
) -> Result<(Buffer, usize), Failure> {
    lane.doing(Operation::ReadDestination);
    let result;
    (result, buffer) = lane.io.read(old, buffer, length, offset).await;
    let mut had = result.map_err(Failure::of(Operation::ReadDestination))?;
    while had < length {
        // A short read, which is rare, is completed in place.
        let rest = &mut buffer.bytes_mut()[had..length];
        let read = || io::read_now(&old.fd, rest, offset + had as u64);
        match lane.io.transfer_in_place(Call::Read, read) {
            Ok(0) => break,
            Ok(more) => had += more,
            Err(errno) => return Err(Failure::of(Operation::ReadDestination)(errno)),
        }
    }
    Ok((buffer, had))
}

/// How many of the bytes read at `offset` end where a block does, if one ends there: the rest, which is read again, may
/// be a hole together with what comes after it.
fn whole_blocks(read: usize, wanted: usize, offset: u64) -> usize {
    let beyond = ((offset + read as u64) % BLOCK as u64) as usize;
    if read < wanted && beyond < read { read - beyond } else { read }
}

/// Writes what of `range` differs from what the file has there, from `at` on. Returns the bytes of that.
async fn mend(
    lane: &Lane,
    old: &File,
    mut new: Buffer,
    have: &[u8],
    range: Range<usize>,
    at: u64,
) -> Result<(Buffer, u64), Failure> {
    let (mut next, mut written) = (range.start, 0);
    while let Some(run) = next_difference(&new.bytes()[..range.end], have, next) {
        next = run.end;
        written += run.len() as u64;
        let offset = at + run.start as u64;
        let result;
        (result, new) = lane.io.write(&old.fd, new, run, offset).await;
        result.map_err(Failure::of(Operation::Write))?;
    }
    Ok((new, written))
}

/// Makes a hole of `range`, of which the new bytes are all zeroes. What is a hole already can't be asked everywhere: there
/// zeroes are left as they are.
fn clear(old: &File, new: &[u8], have: &[u8], range: Range<usize>, at: u64) -> Result<(), Failure> {
    if old.family == Family::Fuse && next_difference(&new[..range.end], have, range.start).is_none() {
        return Ok(());
    }
    make_hole(old, at + range.start as u64..at + range.end as u64).map_err(Failure::of(Operation::Write))
}

/// The next run of blocks, at or after `from`, in which `new` is not what `old` is. What `old` lacks at its end differs.
fn next_difference(new: &[u8], old: &[u8], from: usize) -> Option<Range<usize>> {
    let differs = |start: usize| {
        let end = (start + BLOCK).min(new.len());
        old.get(start..end) != Some(&new[start..end])
    };
    let start = (from..new.len()).step_by(BLOCK).find(|&start| differs(start))?;
    let end = (start..new.len()).step_by(BLOCK).find(|&start| !differs(start));
    Some(start..end.unwrap_or(new.len()))
}

/// Makes a hole of `range`, where there is data; a file system without holes gets zeroes.
pub(crate) fn make_hole(file: &File, range: Range<u64>) -> rustix::io::Result<()> {
    let is_hole =
        || file.family != Family::Fuse && matches!(sparse::seek_data(&file.fd, range.clone()), Ok(None));
    if range.is_empty() || is_hole() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(&file.fd, flags, range.start, range.end - range.start) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeroes(&file.fd, range),
        other => other,
    }
}

fn write_zeroes(file: &OwnedFd, range: Range<u64>) -> rustix::io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let now = (range.end - at).min(ZEROES.len() as u64) as usize;
        match io::retry(|| rustix::io::pwrite(file, &ZEROES[..now], at)) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => at += written as u64,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn hash_zeroes(hasher: &mut Hasher, mut length: u64) {
    while length > 0 {
        let now = length.min(ZEROES.len() as u64);
        hasher.update(&ZEROES[..now as usize]);
        length -= now;
    }
}

pub(crate) fn fail_if_stopped(lane: &Lane) -> Result<(), Failure> {
    if lane.run.stop.is_stopped() {
        return Err(Failure { operation: Operation::Run, cause: Cause::Interrupted });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_that_differ_are_found() {
        let old = vec![1; 10 * BLOCK];
        let mut new = old.clone();
        assert_eq!(next_difference(&new, &old, 0), None);
        new[3 * BLOCK] = 2;
        new[5 * BLOCK - 1] = 2;
        assert_eq!(next_difference(&new, &old, 0), Some(3 * BLOCK..5 * BLOCK), "neighbours go together");
        assert_eq!(next_difference(&new, &old, 5 * BLOCK), None);
        new[0] = 2;
        assert_eq!(next_difference(&new, &old, 0), Some(0..BLOCK));
        let (short, long) = (&old[..2 * BLOCK + 7], &old[..4 * BLOCK + 9]);
        assert_eq!(
            next_difference(long, short, 0),
            Some(2 * BLOCK..4 * BLOCK + 9),
            "what is missing differs"
        );
        assert_eq!(next_difference(short, long, 0), None);
    }
}
