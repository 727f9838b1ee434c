//! `--log-file`: what a run did, appended to a file, a line each with the time and the process, as rsync's log has it:
//!
//! ```text
//! 2026/11/23 12:00:00 [4711] sync /home to /mnt/home
//! 2026/11/23 12:00:00 [4711] >f+++++++++ notes.txt
//! 2026/11/23 12:00:00 [4711] error: open source /home/secret: Permission denied (os error 13)
//! 2026/11/23 12:00:01 [4711] 1 created, 1 failed; 12 B at 11 B/s; 1.07 s; 1 error
//! ```

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::report::clock::Clock;
use crate::report::handful::Handful;
use crate::report::lines::{missing, summary_line};
use crate::report::number_format::NumberFormat;
use crate::report::words;
use ringsync::event::{EntryEvent, Mode, Notice, Reporter, Start, Summary, Totals, itemize};
use ringsync::{Config, Error, Operation, Result};

/// A line stays in memory no longer than this, as long as anything happens.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Lines are written together once they take this many bytes.
const FULL: usize = 32 << 10;

/// Writes the log.
pub struct Log {
    path: PathBuf,
    /// `None` after a failure, which is kept in `trouble`.
    file: Option<File>,
    trouble: Option<Error>,
    clock: Clock,
    /// The time, as of when it was last asked for.
    now: (Instant, String),
    /// Whole lines that are not written yet.
    lines: Vec<u8>,
    written: Instant,
    opening: String,
    mode: Mode,
    lacks: Handful,
}

impl Log {
    /// Opens, or makes, the file at `path`, to append to it what becomes of a run of `config`. `opening` is its first
    /// line. A new file can be read by nobody who may not read SRC.
    ///
    /// # Errors
    /// When the file can't be opened, a symlink in the way may not be followed, or root would write to another user's file.
    pub fn open(path: &Path, config: &Config, opening: String) -> Result<Self> {
        let file = config.open_log(path)?;
        let (clock, begun) = (Clock::new(), Instant::now());
        Ok(Log {
            path: path.to_path_buf(),
            file: Some(file),
            trouble: None,
            now: (begun, clock.now()),
            clock,
            lines: Vec::new(),
            written: begun,
            opening,
            mode: Mode::Sync,
            lacks: Handful::marking("error: "),
        })
    }

    fn line(&mut self, text: impl std::fmt::Display) {
        if self.file.is_none() {
            return;
        }
        // Many lines share their second: asking for it costs more than writing the line.
        if self.now.0.elapsed() > LONGEST_WAIT {
            self.now = (Instant::now(), self.clock.now());
        }
        // Writing to memory can't fail.
        writeln!(self.lines, "{} [{}] {text}", self.now.1, std::process::id()).ok();
        if self.lines.len() >= FULL {
            self.write();
        }
    }

    /// Writes what there is. The first failure ends the log.
    fn write(&mut self) {
        self.written = Instant::now();
        let Some(file) = self.file.as_mut().filter(|_| !self.lines.is_empty()) else { return };
        let written = file.write_all(&self.lines);
        self.lines.clear();
        if let Err(error) = written {
            self.file = None;
            self.trouble = Some(Error::new(Operation::Write, &self.path, error));
        }
    }
}

impl Reporter for Log {
    fn start(&mut self, start: &Start) {
        self.mode = start.mode;
        let opening = std::mem::take(&mut self.opening);
        self.line(format_args!("{}{opening}", self.mode.opening()));
        if let Some(notice) = words::notice(&start.notices) {
            self.line(notice);
        }
        start.missing.iter().for_each(|path| self.line(missing(path)));
        self.write();
    }

    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        self.lacks.of(event).into_iter().for_each(|text| self.line(text));
        if let Some(text) = self.lacks.live(directory, event) {
            self.line(text);
        }
        if itemize::wanted(event, false) {
            self.line(itemize::line(directory, event));
        }
    }

    fn notice(&mut self, notice: &Notice) {
        if !notice.is_detail() {
            self.line(notice.told(words::option));
        }
    }

    fn error(&mut self, error: &Error) {
        self.lacks.error(error).into_iter().for_each(|text| self.line(text));
    }

    fn progress(&mut self, _totals: &Totals) {
        if self.written.elapsed() > LONGEST_WAIT {
            self.write();
        }
    }

    fn finish(&mut self, summary: &Summary) {
        self.lacks.rest().into_iter().for_each(|line| self.line(line));
        self.lacks.rest_live().into_iter().for_each(|line| self.line(line));
        self.line(summary_line(summary, self.mode, NumberFormat::Human));
        self.write();
        // Some file systems tell only now of a write that failed.
        if let Some(Err(errno)) = self.file.take().map(nix::unistd::close) {
            self.trouble = Some(Error::new(Operation::Write, &self.path, std::io::Error::from(errno)));
        }
    }

    fn trouble(&mut self) -> Option<Error> {
        self.trouble.take()
    }
}
