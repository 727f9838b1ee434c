//! Large files: cut in segments that tasks of all threads take one after the other. As in a mirror, the task that has
//! the file takes segments too, and an invitation that finds no room on its channel is simply not sent.

use std::ops::Range;
use std::sync::Arc;

use blake3::Hash;

use crate::content::hash::{SEGMENT, SegmentHashes, segment_hasher};
use crate::engine::primitives::team::{Failed, Team};
use crate::error::{Cause, Result};
use crate::io::file::File;
use crate::stat::stat_open;
use crate::verify::lane::{HELPERS, VerifyLane};
use crate::verify::report::News;

/// Whether a file of this size is read by several tasks.
pub(super) fn is_worth_cutting(size: u64) -> bool {
    size > 2 * SEGMENT
}

/// A file that several tasks read.
pub(crate) struct HashedFile {
    file: File,
    segments: SegmentHashes,
    team: Team<Cause>,
}

impl HashedFile {
    /// The hash of `file`, which has `size` bytes.
    pub(super) async fn hash(lane: &VerifyLane, file: File, size: u64) -> Result<Hash, Cause> {
        let file = Arc::new(HashedFile { file, segments: SegmentHashes::new(size), team: Team::new(size) });
        for channel in &lane.verification.offers {
            for _ in 0..HELPERS {
                channel.sender.try_send(file.clone()).ok();
            }
        }
        file.help(lane).await;
        file.team.finish().await.map_err(|failed| match failed {
            Failed::Error(cause) => cause,
            Failed::Panic => Cause::Interrupted,
        })?;
        // What was appended meanwhile belongs to the file as well.
        if stat_open(&file.file)?.size != size {
            return Err(Cause::Changed);
        }
        // All segments are in, or there was an error.
        file.segments.finish().ok_or(Cause::Interrupted)
    }

    /// Reads segments until there are none left.
    pub(super) async fn help(&self, lane: &VerifyLane) {
        self.team.help(self.hash_segments(lane)).await;
    }

    async fn hash_segments(&self, lane: &VerifyLane) -> Result<(), Cause> {
        while let Some(segment) = self.team.next_segment() {
            self.hash_segment(lane, segment).await?;
        }
        Ok(())
    }

    async fn hash_segment(&self, lane: &VerifyLane, segment: Range<u64>) -> Result<(), Cause> {
        let mut hasher = segment_hasher(segment.start);
        let mut buffer = lane.buffers.take_piece(self.file.family).await;
        let mut at = segment.start;
        while at < segment.end {
            if lane.verification.stop.is_stopped() {
                return Err(Cause::Interrupted);
            }
            let length = buffer.len().min((segment.end - at) as usize);
            let (result, returned) = lane.io.read(&self.file, buffer, length, at).await;
            buffer = returned;
            let read = result?;
            if read == 0 {
                return Err(Cause::Changed); // it was truncated
            }
            hasher.update(&buffer.bytes()[..read]);
            at += read as u64;
        }
        self.segments.put(segment.start, &hasher);
        drop(buffer);
        lane.tell(vec![News::Bytes(segment.end - segment.start)]).await;
        Ok(())
    }
}
