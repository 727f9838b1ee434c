//! Counts while a run goes on, and how it ended.

use std::time::Duration;

use crate::error::{Error, Outcome};
use crate::event::metrics::Ring;
use crate::event::{Action, EntryEvent, Incomplete, Kind};
use crate::options::Reuse;

/// Counts while a run goes on, and at its end.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Entries the walk has found.
    pub found: u64,
    /// The walk is over: `found` is all there is.
    pub complete: bool,
    /// Entries that are done, whatever became of them.
    pub done: u64,
    /// Directories among the entries created, where a run links to earlier trees: these can't share them. Elsewhere none is
    /// counted here.
    pub directories_apart: u64,
    /// Bytes known to be copied: those done, and the rest of the large files begun.
    pub bytes_expected: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Bytes of the source's files, holes included; each name of a file counts.
    pub source_bytes: u64,
    /// Bytes that were hashed.
    pub bytes_hashed: u64,
    /// Bytes that files lacked for which there was no room in the destination, while there was for smaller ones.
    pub bytes_missing: u64,
    /// Errors, those of directories' listings among them. What vanished is none, and counts as [`Action::Vanished`].
    pub errors: u64,
    /// All of the destination is on stable storage: `--fsync`, and no error in flushing.
    pub durable: bool,
    /// Hard links that had to become copies, since an inode had all the names that it can have.
    pub link_limits: u64,
    /// Hard links that had to become copies, or were copies already, since their file system has none, or they
    /// are on two.
    pub links_refused: u64,
    /// Files that grew while they were read: their copies have the bytes of before.
    pub grew: u64,
    /// Files that changed while they were read, and were taken all the same: their copies may be mixtures.
    pub changing: u64,
    /// How much trees of earlier runs had, if there were any to link to.
    pub shared: Option<Shared>,
    /// Since the run began.
    pub elapsed: Duration,
    counts: [u64; Action::ALL.len()],
    /// Directories among those found, and among those done.
    pub(crate) directories: (u64, u64),
    /// Large files at work: how many there are, their bytes, and how many of these are copied.
    pub(crate) at_work: AtWork,
}

/// How many files trees of earlier runs had ([`Config::link_dest`](crate::Config::link_dest)). Each name of a file counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shared {
    /// How they come from there.
    pub reuse: Reuse,
    /// Regular files whose contents come from such a tree, or that were left out since it has them.
    pub files: u64,
    /// Regular files that the destination did not have as they are, so that each could have been one.
    pub of: u64,
}

impl Shared {
    /// Of a run with trees to link to.
    pub(crate) fn new(reuse: Reuse) -> Self {
        Shared { reuse, ..Shared::default() }
    }

    /// Counts an entry that is done.
    pub(crate) fn count(&mut self, event: &EntryEvent) {
        if event.kind == Kind::File && event.is_left_out() {
            (self.files, self.of) = (self.files + 1, self.of + 1);
            return;
        }
        let is_made = matches!(event.action, Action::Created | Action::Updated | Action::Linked);
        if event.kind == Kind::File && (is_made || event.action == Action::Failed) {
            self.of += 1;
            let size = event.source.map_or(0, |source| source.size);
            let is_whole =
                event.action == Action::Linked || event.reused.is_some_and(|reused| reused.bytes >= size);
            self.files += u64::from(is_made && event.reused.is_some() && is_whole);
        }
    }
}

/// What is known of files that are counted while they are copied.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AtWork {
    files: u64,
    bytes: u64,
    copied: u64,
}

impl AtWork {
    /// One more was begun.
    pub(crate) fn begin(&mut self, bytes: u64) {
        (self.files, self.bytes) = (self.files + 1, self.bytes + bytes);
    }

    /// More bytes of them are copied.
    pub(crate) fn copy(&mut self, bytes: u64) {
        self.copied += bytes;
    }

    /// One is over of which `expected` bytes had been expected, and `copied` bytes were copied.
    fn end(&mut self, expected: u64, copied: u64) {
        self.files = self.files.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(expected);
        self.copied = self.copied.saturating_sub(copied);
        if self.files == 0 {
            *self = AtWork::default();
        }
    }

    /// How many files the copied bytes amount to.
    fn done(&self) -> f64 {
        if self.bytes == 0 {
            0.0
        } else {
            self.files as f64 * (self.copied as f64 / self.bytes as f64).min(1.0)
        }
    }
}

impl Totals {
    /// Entries to which `action` was done.
    pub fn count(&self, action: Action) -> u64 {
        self.counts[Self::index(action)]
    }

    /// A large file is over. Of its bytes no more than were copied count as expected from now on: it may have failed, or
    /// had more holes than its size on the disk told.
    pub(crate) fn end_large(&mut self, expected: u64, copied: u64) {
        self.at_work.end(expected, copied);
        self.bytes_expected = (self.bytes_expected + copied).saturating_sub(expected);
    }

    /// Counts one more entry to which `action` was done.
    pub fn add(&mut self, action: Action) {
        self.add_all(action, 1);
    }

    /// Counts entries that the same was done to.
    pub(crate) fn add_all(&mut self, action: Action, count: u64) {
        self.counts[Self::index(action)] += count;
    }

    fn index(action: Action) -> usize {
        Action::ALL.iter().position(|&a| a == action).unwrap_or_default()
    }

    /// The part of the work that is done, from 0 to 1: of entries or of bytes, whichever has more left. Not before the
    /// walk is over. Large files count by the part of them that is copied, and directories, which end with what is in
    /// them, only where there is nothing else.
    pub fn fraction(&self) -> Option<f64> {
        if !self.complete {
            return None;
        }
        let (found, done) = match self.files() {
            (0, _) => (self.found, self.done as f64),
            (found, done) => (found, done as f64 + self.at_work.done()),
        };
        let part = |done: f64, of: u64| if of == 0 { 1.0 } else { (done / of as f64).min(1.0) };
        Some(part(done, found).min(part(self.bytes as f64, self.bytes_expected)))
    }

    /// Entries that are no directories: how many were found, and are done.
    fn files(&self) -> (u64, u64) {
        let (found, done) = self.directories;
        (self.found.saturating_sub(found), self.done.saturating_sub(done))
    }

    /// Whether `bytes_expected` is all there is to copy: every file is done, or at work.
    pub fn knows_bytes(&self) -> bool {
        let (found, done) = self.files();
        self.complete && self.bytes_expected > 0 && done + self.at_work.files >= found
    }

    /// The time until the end, as far as can be told: not before the walk is over.
    pub fn remaining(&self) -> Option<Duration> {
        let done = self.fraction().filter(|done| *done > 0.0)?;
        Duration::try_from_secs_f64(self.elapsed.as_secs_f64() * (1.0 - done) / done).ok()
    }

    /// Bytes a second, over the whole run.
    pub fn rate(&self) -> u64 {
        (self.bytes as f64 / self.elapsed.as_secs_f64().max(1e-3)) as u64
    }
}

/// How a run ended.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Summary {
    /// What the exit code tells.
    pub outcome: Outcome,
    /// All counts.
    pub totals: Totals,
    /// Some operation did not come back after the run was told to stop: threads are left behind.
    pub stuck: bool,
    /// The first errors, [`Incomplete::KEPT`] at most; `totals.errors` counts all. Where there is room, those by which something
    /// was found to have vanished are among them.
    pub errors: Vec<Error>,
    /// The figures of each ring, if [`Config::stats`](crate::Config::stats) asked for them. One that was left behind
    /// has none.
    pub rings: Vec<Ring>,
}

impl Summary {
    /// Of a run that ended like this, with these counts.
    pub fn new(outcome: Outcome, totals: Totals) -> Self {
        Summary { outcome, totals, stuck: false, errors: Vec::new(), rings: Vec::new() }
    }

    /// The counts of a run that did all it was to do.
    ///
    /// # Errors
    /// When it did not: [`Outcome`] is anything but [`Outcome::Done`]. So is a comparison that found differences.
    pub fn into_result(self) -> Result<Totals, Incomplete> {
        match self.outcome {
            Outcome::Done => Ok(self.totals),
            outcome => {
                let count = self.totals.errors + self.totals.count(Action::Vanished);
                Err(Incomplete { outcome, count, totals: Box::new(self.totals), errors: self.errors })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_end_is_promised_before_the_walk_is_over() {
        let mut totals =
            Totals { found: 100, done: 50, elapsed: Duration::from_secs(10), ..Totals::default() };
        assert_eq!(totals.remaining(), None);
        totals.complete = true;
        assert_eq!(totals.remaining(), Some(Duration::from_secs(10)));
        (totals.bytes, totals.bytes_expected) = (100, 400);
        assert_eq!(totals.remaining(), Some(Duration::from_secs(30)), "one large file is left");
    }

    #[test]
    fn one_large_file_is_done_as_its_bytes_are() {
        let mut totals = Totals { found: 2, directories: (1, 0), complete: true, ..Totals::default() };
        totals.elapsed = Duration::from_secs(10);
        assert_eq!((totals.fraction(), totals.remaining()), (Some(0.0), None));
        assert!(!totals.knows_bytes());
        totals.at_work.begin(200);
        totals.bytes_expected = 200;
        assert!(totals.knows_bytes());
        totals.at_work.copy(50);
        totals.bytes = 50;
        assert_eq!(totals.fraction(), Some(0.25));
        assert_eq!(totals.remaining(), Some(Duration::from_secs(30)));
        totals.at_work.copy(150);
        (totals.bytes, totals.done) = (200, 1);
        totals.end_large(200, 200);
        assert_eq!(totals.fraction(), Some(1.0), "its directory has nothing left to do");
    }

    #[test]
    fn a_large_file_that_fails_or_shrinks_leaves_nothing_to_wait_for() {
        let begun = || {
            let mut totals = Totals { found: 3, complete: true, ..Totals::default() };
            for bytes in [100, 300] {
                totals.at_work.begin(bytes);
                totals.bytes_expected += bytes;
            }
            totals.at_work.copy(60);
            totals.bytes = 60;
            totals
        };
        let mut failed = begun();
        failed.end_large(300, 60);
        failed.done = 1;
        assert_eq!((failed.bytes, failed.bytes_expected), (60, 160), "its other 240 bytes never come");
        assert_eq!((failed.at_work.files, failed.at_work.bytes, failed.at_work.copied), (1, 100, 0));
        let mut shrunk = begun();
        shrunk.end_large(100, 60);
        shrunk.at_work.copy(300);
        (shrunk.bytes, shrunk.done) = (360, 2);
        shrunk.end_large(300, 300);
        assert_eq!((shrunk.bytes, shrunk.bytes_expected), (360, 360));
        assert_eq!((shrunk.at_work.files, shrunk.at_work.bytes), (0, 0));
        let mut again = begun();
        again.end_large(300, 60);
        again.at_work.begin(300);
        again.bytes_expected += 300;
        assert_eq!((again.at_work.files, again.at_work.bytes), (2, 400), "it is one file as before");
        assert_eq!(again.bytes_expected - again.bytes, 400, "and is read from its beginning");
    }

    #[test]
    fn the_larger_rest_decides() {
        let files = |found, done| Totals { found, done, complete: true, ..Totals::default() };
        let mut many = files(100, 90);
        (many.bytes, many.bytes_expected) = (10, 100);
        assert_eq!(many.fraction(), Some(0.1), "of bytes more is left");
        (many.bytes, many.bytes_expected) = (95, 100);
        assert_eq!(many.fraction(), Some(0.9), "of entries more is left");
        let mut large = files(4, 1);
        large.at_work.begin(100);
        large.at_work.begin(100);
        large.at_work.copy(100);
        (large.bytes, large.bytes_expected) = (150, 250);
        assert_eq!(large.fraction(), Some(0.5), "one is done, and half of two");
        assert!(!large.knows_bytes(), "one has not begun");
        let only = Totals { found: 4, done: 1, directories: (4, 1), complete: true, ..Totals::default() };
        assert_eq!(only.fraction(), Some(0.25), "of directories alone");
    }
}
