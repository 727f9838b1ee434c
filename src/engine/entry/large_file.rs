//! Large files, and files with holes: cut in segments (segment.rs) that tasks of all threads take one after the other. The
//! task that has the file takes segments too, so that the work goes on even if nobody comes to help; an invitation that
//! finds no room on its channel is simply not sent, and nobody waits for anybody to drain one.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use blake3::Hash;
use rustix::io::Errno;

use crate::content::hash::{SEGMENT, SegmentHashes, segment_hasher};
use crate::content::sparse::{self, Layout};
use crate::engine::entry::in_place::Guard;
use crate::engine::entry::item::Item;
use crate::engine::entry::segment;
use crate::engine::own::new_file::NewFile;
use crate::engine::primitives::team::{Failed, Team};
use crate::engine::run::lane::Lane;
use crate::engine::run::offer::{Offer, TeamWork};
use crate::engine::run::streamed::Streamed;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Event;
use crate::io::file::{Family, File, set_size};
use crate::stat::{Stat, stat_open};

/// Holes of more bytes in all are not hashed: hashing zeroes would take longer than copying the file.
const HASHED_HOLES: u64 = 256 << 20;

/// What came of a copy.
pub(crate) struct LargeCopy {
    /// Of the contents, if hashes are wanted and the holes allow it.
    pub(crate) hash: Option<Hash>,
    /// Bytes that were copied, or compared with what the new file had.
    pub(crate) bytes: u64,
    /// Those of them that differed, and were written, where the new file had contents.
    pub(crate) written: u64,
    /// The source's stat when a first segment had been copied.
    pub(crate) begun: Option<Stat>,
}

/// What is done with a file's contents.
#[derive(Clone)]
pub(crate) enum Purpose {
    /// They are written to a file that has none.
    Copy(Arc<OwnedFd>),
    /// They are compared with those of another file, and what differs there is written, while its guard allows it.
    Update(File, Option<Arc<Guard>>),
    /// They are only hashed.
    Hash,
}

impl Purpose {
    /// To give the new file its contents.
    fn on(new: &NewFile, source: &File, item: &Item<'_>) -> Result<Self> {
        if !new.has_contents() {
            return Ok(Purpose::Copy(new.fd.clone()));
        }
        let have = stat_open(&new.fd).at(Operation::StatDestination, || item.path())?;
        let guard = new.is_in_place().then(|| Guard::new(item, source, new)).transpose()?;
        Ok(Purpose::Update(item.lane.io.file(new.fd.clone(), &have), guard.map(Arc::new)))
    }
}

/// A file that several tasks work on.
pub(crate) struct LargeFile {
    pub(crate) source: File,
    purpose: Purpose,
    /// What an error of reading it is called.
    pub(crate) reading: Operation,
    pub(crate) layout: Layout,
    segments: Option<SegmentHashes>,
    team: Team<Failure>,
    /// Bytes, holes that were not read not counted.
    copied: AtomicU64,
    /// Bytes of them that differed from what was there, and were written.
    written: AtomicU64,
    /// Bytes that were reported.
    told: AtomicU64,
    /// The source's stat when a first segment had been copied.
    begun: OnceLock<Option<Stat>>,
    /// Its path below the root, for a trace.
    path: Option<PathBuf>,
}

/// Which side failed; the path is put in by the task that has the file.
pub(crate) struct Failure {
    pub(crate) operation: Operation,
    pub(crate) cause: Cause,
}

impl Failure {
    pub(crate) fn of(operation: Operation) -> impl FnOnce(Errno) -> Failure {
        move |errno| Failure { operation, cause: errno.into() }
    }

    /// Of looking for data: `EILSEQ` is content/sparse.rs's word for a hole that is none.
    pub(crate) fn of_seek(operation: Operation) -> impl FnOnce(Errno) -> Failure {
        move |errno| {
            let cause = if errno == Errno::ILSEQ { Cause::FalseHole } else { errno.into() };
            Failure { operation, cause }
        }
    }
}

impl LargeFile {
    /// Copies the contents of `source`. Where the new file has contents already, only what differs is written.
    pub(crate) async fn copy(
        item: &Item<'_>,
        source: &File,
        new: &NewFile,
        stat: &Stat,
        layout: Layout,
        streamed: &Streamed,
    ) -> Result<LargeCopy> {
        let run = item.run();
        let work = Purpose::on(new, source, item)?;
        let layout = match &work {
            // A destination on FUSE may call data a hole: there the source's holes are read and compared as zeroes.
            Purpose::Update(old, _) if old.family == Family::Fuse && layout == Layout::Sparse => {
                Layout::Doubtful
            }
            _ => layout,
        };
        // The size comes first: segments are written in any order, and a hole at the end is never written.
        set_size(&new.fd, stat.size).at(Operation::Write, || item.path())?;
        let hashed = run.config.hashing.is_some()
            && (holes(stat, layout) <= HASHED_HOLES || run.config.needs_hashes());
        let file = LargeFile::new(item, source, work, Operation::ReadSource, (stat.size, layout), hashed);
        streamed.begin(stat.size - holes(stat, layout), run).await;
        let copied = file.clone().finish(item).await;
        streamed.add(file.told.load(Ordering::Relaxed));
        let (hash, bytes) = copied?;
        let begun = file.begun.get().copied().flatten();
        Ok(LargeCopy { hash, bytes, written: file.written.load(Ordering::Relaxed), begun })
    }

    /// Hashes a whole file. `reading` names it in errors: the source, or the destination.
    pub(crate) async fn hash(
        item: &Item<'_>,
        file: &File,
        size: u64,
        layout: Layout,
        reading: Operation,
    ) -> Result<Hash> {
        let file = LargeFile::new(item, file, Purpose::Hash, reading, (size, layout), true);
        let (hash, _) = file.finish(item).await?;
        // All segments are in, or there was an error.
        hash.ok_or(Errno::IO).at(reading, || item.path())
    }

    fn new(
        item: &Item<'_>,
        source: &File,
        purpose: Purpose,
        reading: Operation,
        (size, layout): (u64, Layout),
        hashed: bool,
    ) -> Arc<Self> {
        let traced = item.run().config.trace.is_some();
        Arc::new(LargeFile {
            source: source.clone(),
            purpose,
            reading,
            layout,
            segments: hashed.then(|| SegmentHashes::new(size)),
            team: Team::new(size),
            copied: AtomicU64::new(0),
            written: AtomicU64::new(0),
            told: AtomicU64::new(0),
            begun: OnceLock::new(),
            path: traced.then(|| item.directory.path_of(&item.entry.name)),
        })
    }

    /// Works through the file, with the tasks that come to help. Returns its hash, if it was to be hashed, and the
    /// bytes that were no holes.
    async fn finish(self: Arc<Self>, item: &Item<'_>) -> Result<(Option<Hash>, u64)> {
        // A thread that is watched does all of its work itself.
        if self.team.size() > 2 * SEGMENT && item.lane.watched().is_none() {
            self.invite(item.lane);
        }
        self.take_segments(item.lane).await;
        self.team.finish().await.map_err(|failed| match failed {
            Failed::Panic => Error::new(Operation::Run, item.source_path(), Cause::Interrupted),
            Failed::Error(Failure { operation, cause }) => {
                let of_destination = matches!(operation, Operation::Write | Operation::ReadDestination);
                let path = if of_destination { item.path() } else { item.source_path() };
                Error { operation, path, cause }
            }
        })?;
        Ok((self.segments.as_ref().and_then(SegmentHashes::finish), self.copied.load(Ordering::Relaxed)))
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.team.size()
    }

    /// Whether what is read of it is told, and limited by `--bwlimit`.
    pub(crate) fn is_counted(&self) -> bool {
        !matches!(self.purpose, Purpose::Hash)
    }

    /// Counts bytes that differed, and were written.
    pub(crate) fn add_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were reported.
    pub(crate) fn add_told(&self, bytes: u64) {
        self.told.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Asks the other threads for a task each.
    fn invite(self: &Arc<Self>, lane: &Lane) {
        for channel in lane.others() {
            channel.sender.try_send(Offer::TeamWork(self.clone())).ok();
        }
    }

    /// Copies segments until there are none left.
    async fn take_segments(&self, lane: &Lane) {
        self.team.help(self.copy_segments(lane)).await;
    }

    async fn copy_segments(&self, lane: &Lane) -> Result<(), Failure> {
        while let Some(segment) = self.next_segment()? {
            // This is asked between reads as well, but a segment that is one hole has none.
            segment::fail_if_stopped(lane)?;
            lane.doing(self.reading);
            let mut hasher = self.segments.as_ref().map(|_| segment_hasher(segment.start));
            let copied = match &self.purpose {
                Purpose::Copy(to) => self.copy_segment(lane, to, segment.clone(), hasher.as_mut()).await?,
                Purpose::Update(old, guard) => {
                    let old = (old, guard.as_deref());
                    self.update_segment(lane, old, segment.clone(), hasher.as_mut()).await?
                }
                Purpose::Hash => self.hash_segment(lane, segment.clone(), hasher.as_mut()).await?,
            };
            if let (Some(segments), Some(hasher)) = (&self.segments, &hasher) {
                segments.put(segment.start, hasher);
            }
            self.copied.fetch_add(copied, Ordering::Relaxed);
            if self.is_counted() {
                self.begun.get_or_init(|| stat_open(&self.source).ok());
            }
            if self.is_counted() && lane.run.rate.is_none() {
                self.add_told(copied);
                lane.run.report(Event::Bytes(copied)).await;
            }
            lane.send_trace(false).await;
        }
        Ok(())
    }

    /// Takes the next segment. Where holes are not hashed, those that are whole segments are leapt over.
    fn next_segment(&self) -> Result<Option<Range<u64>>, Failure> {
        let leaps = self.layout == Layout::Sparse && self.segments.is_none();
        while let Some(segment) = self.team.next_segment() {
            if !leaps {
                return Ok(Some(segment));
            }
            let data = sparse::next_data(&self.source.fd, segment.start..self.team.size());
            let next = match data.map_err(Failure::of_seek(self.reading))? {
                None => self.team.size(),
                Some(data) if data.start < segment.end => return Ok(Some(segment)),
                Some(data) => data.start / SEGMENT * SEGMENT,
            };
            self.team.leap_to(next);
            if let Purpose::Update(old, _) = &self.purpose {
                segment::make_hole(old, segment.start..next).map_err(Failure::of(Operation::Write))?;
            }
        }
        Ok(None)
    }
}

impl TeamWork for LargeFile {
    fn help<'a>(&'a self, lane: &'a Lane) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(self.take_segments(lane))
    }

    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

/// Bytes of a file that are holes and are not read, as far as its stat tells.
fn holes(stat: &Stat, layout: Layout) -> u64 {
    match layout {
        Layout::Sparse => stat.size.saturating_sub(stat.allocated),
        Layout::Dense | Layout::Doubtful => 0,
    }
}

/// Files of more bytes are cut in segments that several threads copy at once.
pub(crate) const LARGE_FILE: u64 = 2 * SEGMENT;
