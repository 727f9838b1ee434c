//! What is told, as rsync tells it: nothing without -v, names and closing lines with it, the letters of -i. Lines are
//! sorted, the entries of a directory before what its subdirectories hold.

pub(super) mod figures;
pub(super) mod list;
mod text;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::report::lines::{Out, warn};
use crate::report::words::told;
use crate::rsync::report::figures::Figures;
use crate::rsync::wishes::{Tells, Wishes};
use ringsync::event::{Action, EntryEvent, Kind, Notice, Reporter, Start, Summary, Totals, itemize};
use ringsync::{Cause, Error, Escaped, Keep, Outcome, Reuse};

pub(super) use self::text::{help, version};

/// Tells of all runs of one command line.
pub(super) struct Report {
    verbose: u8,
    itemize: u8,
    quiet: bool,
    lists: bool,
    /// A list shows where symlinks lead.
    arrows: bool,
    keep: Keep,
    recursive: bool,
    dry_run: bool,
    figures: Figures,
    /// What is to be said at the end, by what it is sorted by.
    lines: Vec<(Vec<u8>, String)>,
    totals: Totals,
    /// Something could not be copied.
    failed: bool,
    /// Directories that were deleted, and which lines tell it: rsync does not say so of one that makes way for an entry.
    gone: BTreeMap<PathBuf, usize>,
    out: Out,
}

impl Report {
    pub(super) fn new(wishes: &Wishes, lists: bool) -> Self {
        let Wishes { recursive, dry_run, .. } = *wishes;
        let Tells { verbose, itemize, quiet, figures, .. } = wishes.tells;
        let (arrows, keep) = (wishes.keep.links, wishes.keep.of());
        let (lines, totals, out) = (Vec::new(), Totals::default(), Out::new());
        Report {
            verbose,
            itemize,
            quiet,
            lists,
            arrows,
            keep,
            recursive,
            dry_run,
            figures,
            lines,
            totals,
            failed: false,
            gone: BTreeMap::new(),
            out,
        }
    }

    /// Says a line on standard output, unless nothing is to be said.
    pub(super) fn say(&mut self, line: impl std::fmt::Display) {
        if !self.quiet {
            self.out.write(|out| writeln!(out, "{line}"));
        }
    }

    /// What comes first: that it begins, and at -vv which options are of no use here.
    pub(super) fn open(&mut self, tuning: &[String]) {
        if self.verbose > 1 {
            for option in tuning {
                self.say(format_args!("{option} changes nothing between two trees of this machine"));
            }
        }
        if self.verbose > 0 && self.recursive && !self.lists {
            self.say("sending incremental file list");
        }
    }

    /// DST itself was made.
    pub(super) fn made(&mut self, destination: &OsStr) {
        if self.verbose > 0 || self.itemize > 0 {
            let path = Escaped::path(Path::new(destination)).to_string();
            let bare = path.trim_end_matches('/');
            self.say(format_args!("created directory {}", if bare.is_empty() { "/" } else { bare }));
        }
    }

    /// The lines of all entries, and the closing ones.
    pub(super) fn close(&mut self) {
        self.lines.sort();
        for (_, line) in std::mem::take(&mut self.lines).into_iter().filter(|(_, line)| !line.is_empty()) {
            self.say(line);
        }
        if self.verbose > 0 && !self.lists {
            self.say(text::closing(&self.totals, self.dry_run, self.figures));
        }
        self.out.write(Write::flush);
    }

    pub(super) fn trouble(&mut self) -> Option<Error> {
        self.out.trouble()
    }

    /// The line for an entry, where one is wanted.
    fn describe(&self, directory: &Path, event: &EntryEvent) -> Option<String> {
        if self.lists {
            return list::line(directory, event, self.arrows, self.figures);
        }
        let name = || format!("{}{}", itemize::name(directory, event), itemize::arrow(event));
        if event.action == Action::Skipped {
            let name = itemize::name(directory, event);
            return (!self.keep.takes(event.kind)).then(|| format!("skipping non-regular file \"{name}\""));
        }
        if self.itemize > 0 {
            let unchanged = self.itemize > 1 || self.verbose > 1;
            if event.is_left_out() {
                let letters = itemize::letters(event).replace("*deleting  ", ".f         ");
                return unchanged.then(|| format!("{letters} {}", name()));
            }
            let letters = itemize::letters(event);
            return itemize::wanted(event, unchanged).then(|| format!("{letters} {}", name()));
        }
        if self.verbose == 0 {
            return None;
        }
        let is_right = || Some(format!("{} is uptodate", itemize::name(directory, event)));
        match event.action {
            Action::Created | Action::Updated | Action::Linked if itemize::wanted(event, false) => {
                Some(name())
            }
            Action::Created | Action::Linked if self.verbose > 1 => is_right(),
            Action::Deleted if event.is_left_out() => is_right().filter(|_| self.verbose > 1),
            Action::Deleted => Some(format!("deleting {}", itemize::name(directory, event))),
            Action::Metadata if event.kind == Kind::Directory || self.verbose > 1 => Some(name()),
            Action::Unchanged if self.verbose > 1 && event.kind != Kind::Directory => is_right(),
            _ => None,
        }
    }

    fn tell(&mut self, error: &Error) {
        self.failed |= error.outcome() == Outcome::Failed;
        match error.cause {
            Cause::DeletionsStopped(left) => {
                warn(format_args!("Deletions stopped due to --max-delete limit ({left} skipped)"));
            }
            _ => warn(format_args!("rsync: {}", told(error))),
        }
    }

    /// Whether something could not be copied.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }
}

impl Reporter for Report {
    fn start(&mut self, start: &Start) {
        for missing in &start.missing {
            let path = Escaped::path(&missing.path);
            let option = match missing.reuse {
                Reuse::Compare => "compare-dest",
                Reuse::Copy => "copy-dest",
                _ => "link-dest",
            };
            warn(format_args!("--{option} arg does not exist: {path}"));
        }
    }

    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        if let Some(error) = &event.error {
            self.tell(error);
        }
        if event.action == Action::Vanished {
            warn(format_args!("file has vanished: \"{}\"", Escaped::path(&event.path(directory))));
        }
        event.lacks().iter().for_each(|error| self.tell(error));
        let is_made = matches!(event.action, Action::Created | Action::Updated | Action::Linked);
        if is_made && let Some(line) = self.gone.remove(&event.path(directory)) {
            self.lines[line].1.clear();
        }
        if let Some(line) = self.describe(directory, event) {
            if event.action == Action::Deleted && event.kind == Kind::Directory {
                self.gone.insert(event.path(directory), self.lines.len());
            }
            self.lines.push((text::order(directory, event), line));
        }
    }

    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::NotEmpty(path) => {
                self.say(format_args!("cannot delete non-empty directory: {}", Escaped::path(path)));
            }
            Notice::NothingDeleted => self.say("IO error encountered -- skipping file deletion"),
            _ => {}
        }
    }

    fn error(&mut self, error: &Error) {
        self.tell(error);
    }

    fn finish(&mut self, summary: &Summary) {
        self.totals.bytes += summary.totals.bytes;
        self.totals.source_bytes += summary.totals.source_bytes;
        self.totals.elapsed += summary.totals.elapsed;
    }
}
