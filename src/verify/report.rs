//! What a verification tells, and to whom.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blake3::Hash;

use crate::content::manifest::Malformed;
use crate::error::{Cause, Error, Outcome};
use crate::event::{Incomplete, Notice, Silent};
use crate::options::Engine;
use crate::verify::elsewhere::Elsewhere;

/// What became of one file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It holds what the manifest says.
    Right,
    /// It holds something else, with this hash.
    Wrong(Hash),
    /// It could not be read: it is missing, not a regular file, leads out of the directory, or there was an error.
    Failed(Cause),
    /// It is there, and the manifest does not know of it.
    Extra,
}

impl Verdict {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Verdict::Failed(Cause::Io(error)) if error.kind() == io::ErrorKind::NotFound)
    }

    /// The word used in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Right => "ok",
            Verdict::Wrong(_) => "mismatch",
            Verdict::Failed(_) if self.is_missing() => "missing",
            Verdict::Failed(_) => "failed",
            Verdict::Extra => "extra",
        }
    }
}

/// How a verification is run.
#[derive(Debug)]
#[non_exhaustive]
pub struct VerifyStart {
    /// How system calls reach the kernel.
    pub engine: Engine,
    /// Threads that read and hash.
    pub threads: usize,
    /// Tasks a thread.
    pub tasks: usize,
    /// What is not as it was hoped for.
    pub notices: Vec<Notice>,
    /// None of the files was there before the run: what to say once, instead of a line for each.
    pub elsewhere: Option<Elsewhere>,
}

impl VerifyStart {
    /// Of a verification with one thread and one task, of which there is nothing else to tell.
    pub fn new(engine: Engine) -> Self {
        VerifyStart { engine, threads: 1, tasks: 1, notices: Vec::new(), elsewhere: None }
    }
}

/// What has been done so far.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyTotals {
    /// Files read from the manifest, and whether these are all of them.
    pub listed: u64,
    /// See `listed`.
    pub complete: bool,
    /// Files that hold what the manifest says.
    pub right: u64,
    /// Files that hold something else.
    pub wrong: u64,
    /// Files that are not there.
    pub missing: u64,
    /// Files that could not be read.
    pub failed: u64,
    /// Files that the manifest does not know of.
    pub extra: u64,
    /// Lines that are none of a manifest's.
    pub malformed: u64,
    /// Errors that are no file's.
    pub errors: u64,
    /// Bytes read and hashed.
    pub bytes: u64,
    /// Time since the start.
    pub elapsed: Duration,
}

impl VerifyTotals {
    /// Files of the manifest that have been looked at.
    pub fn checked(&self) -> u64 {
        self.right + self.wrong + self.missing + self.failed
    }

    /// Whatever is not as it should be: files, lines of the manifest, and errors that are no file's.
    pub fn troubles(&self) -> u64 {
        let files = self.wrong + self.missing + self.failed + self.extra;
        files + self.malformed + self.errors
    }

    /// Bytes a second, over the whole run.
    pub fn rate(&self) -> u64 {
        (self.bytes as f64 / self.elapsed.as_secs_f64().max(1e-3)) as u64
    }

    pub(crate) fn add(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Right => &mut self.right,
            Verdict::Wrong(_) => &mut self.wrong,
            Verdict::Failed(_) if verdict.is_missing() => &mut self.missing,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::Extra => &mut self.extra,
        } += 1;
    }
}

/// How a verification ended.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub struct VerifySummary {
    /// What the exit code tells: [`Outcome::Done`] only when every line was read and every file is right.
    pub outcome: Outcome,
    /// All counts.
    pub totals: VerifyTotals,
    /// Some operation did not come back, within the time-out or after the run was told to stop: threads are left behind.
    pub stuck: bool,
    /// The first errors, [`Incomplete::KEPT`] at most: of files that could not be read, and of what is no file.
    pub errors: Vec<Error>,
}

impl VerifySummary {
    /// Of a verification that ended like this, with these counts.
    pub fn new(outcome: Outcome, totals: VerifyTotals) -> Self {
        VerifySummary { outcome, totals, stuck: false, errors: Vec::new() }
    }

    /// The counts of a verification that found every file right.
    ///
    /// # Errors
    /// When it did not, or was broken off. Its count is [`VerifyTotals::troubles`].
    pub fn into_result(self) -> Result<VerifyTotals, Incomplete<VerifyTotals>> {
        match self.outcome {
            Outcome::Done => Ok(self.totals),
            outcome => {
                let count = self.totals.troubles();
                Err(Incomplete { outcome, count, totals: Box::new(self.totals), errors: self.errors })
            }
        }
    }
}

/// Is told what a verification finds, on the thread that called [`crate::verify()`], in the order in which files are
/// done. It must not wait for long: the readers wait for it.
pub trait VerifyReporter {
    /// The run begins.
    fn start(&mut self, _start: &VerifyStart) {}
    /// A file has been looked at. Its path is that of the manifest; an extra file's is relative to the directory.
    fn file(&mut self, _path: &Path, _verdict: &Verdict) {}
    /// A line, counted from 1, is none of a manifest's.
    fn malformed(&mut self, _line: u64, _why: Malformed) {}
    /// Something failed that is no file of the manifest.
    fn error(&mut self, _error: &Error) {}
    /// The counts have changed.
    fn progress(&mut self, _totals: &VerifyTotals) {}
    /// The run is over.
    fn finish(&mut self, _summary: &VerifySummary) {}
    /// What kept this reporter from saying everything, if anything did. A reader that went away is no trouble.
    fn trouble(&mut self) -> Option<Error> {
        None
    }
}

impl VerifyReporter for Silent {}

/// One piece of news from the threads.
pub(crate) enum News {
    /// A file is done; these bytes of it have not been reported before.
    File {
        path: PathBuf,
        verdict: Verdict,
        bytes: u64,
    },
    /// This many bytes of a large file have been read.
    Bytes(u64),
    Malformed {
        line: u64,
        why: Malformed,
    },
    Failed(Error),
}
