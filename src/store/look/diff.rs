//! What changed from one snapshot to another one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{Error, Outcome, Result};
use crate::event::{EntryEvent, Notice, Reporter, Stall, Start, Summary, Totals};
use crate::options::Owner;
use crate::plan::chmod::Chmod;
use crate::stop::Stop;
use crate::store::look::find::{Found, View};

/// Two snapshots of a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Diff {
    /// A comparison, whose options may be changed: what would make the earlier one equal to the later one.
    pub run: Config,
    /// What it was.
    pub from: Found,
    /// What it became.
    pub to: Found,
    /// Lines of the store's record that can't be read, and what to do: texts for people.
    pub damage: Vec<String>,
}

crate::options::with!(Diff);

impl Diff {
    /// From the snapshot of one name to that of another; `latest` is the newest one.
    ///
    /// # Errors
    /// When the store can't be used, or has no such snapshots.
    pub fn new(store: &Path, from: &OsStr, to: &OsStr) -> Result<Self> {
        let view = View::open(store)?;
        let (from, to) = (view.find(from)?, view.find(to)?);
        let run = Config::new(&to.path, &from.path);
        let damage = view.damage().map(ToString::to_string).collect();
        Ok(Diff { run, from, to, damage })
    }
}

/// Tells what changed, as [`check`](crate::check()) does, but by path: a directory before what is in it. What is one inode in both is equal, and is not read: but
/// options may want other modes and owners than it has.
///
/// # Errors
/// Those of [`check`](crate::check()).
pub fn diff(diff: &Diff, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Summary> {
    if diff.from.path == diff.to.path {
        let summary = Summary::new(Outcome::Done, Totals::default());
        reporter.finish(&summary);
        return Ok(summary);
    }
    let mut run = diff.run.clone();
    run.shares_inodes = run.chmod == Chmod::default() && run.owner == Owner::default();
    crate::engine::check(&run, &mut Sorted { reporter, entries: Vec::new() }, stop)
}

/// Keeps differences until all are known, and passes them on by path. What is equal, and what has failed, it passes on at once.
struct Sorted<'a> {
    reporter: &'a mut dyn Reporter,
    entries: Vec<(PathBuf, EntryEvent)>,
}

impl Reporter for Sorted<'_> {
    fn start(&mut self, start: &Start) {
        self.reporter.start(start);
    }

    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        match event.again().filter(|event| event.action.is_change()) {
            Some(event) => self.entries.push((directory.to_path_buf(), event)),
            None => self.reporter.entry(directory, event),
        }
    }

    fn error(&mut self, error: &Error) {
        self.reporter.error(error);
    }

    fn notice(&mut self, notice: &Notice) {
        self.reporter.notice(notice);
    }

    fn stall(&mut self, stall: &Stall) {
        self.reporter.stall(stall);
    }

    fn progress(&mut self, totals: &Totals) {
        self.reporter.progress(totals);
    }

    fn finish(&mut self, summary: &Summary) {
        self.entries.sort_by_cached_key(|(directory, event)| directory.join(event.name()));
        for (directory, event) in self.entries.drain(..) {
            self.reporter.entry(&directory, &event);
        }
        self.reporter.finish(summary);
    }

    fn trouble(&mut self) -> Option<Error> {
        self.reporter.trouble()
    }
}
