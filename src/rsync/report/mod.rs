//! What is told, as rsync tells it: nothing without -v, names and closing lines with it, the letters of -i. Lines are
//! sorted, the entries of a directory before what its subdirectories hold.

pub(super) mod list;
mod text;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use crate::report::lines::{Out, warn};
use crate::report::words::told;
use crate::rsync::wishes::{Tells, Wishes};
use ringsync::event::{Action, EntryEvent, Kind, Reporter, Start, Summary, Totals, itemize};
use ringsync::{Error, Escaped};

pub(super) use self::text::{help, version};

/// Tells of all runs of one command line.
pub(super) struct Report {
    verbose: u8,
    itemize: u8,
    quiet: bool,
    lists: bool,
    /// A list shows where symlinks lead.
    arrows: bool,
    recursive: bool,
    dry_run: bool,
    /// What is to be said at the end, by what it is sorted by.
    lines: Vec<(Vec<u8>, String)>,
    totals: Totals,
    out: Out,
}

impl Report {
    pub(super) fn new(wishes: &Wishes, lists: bool) -> Self {
        let Wishes { recursive, dry_run, .. } = *wishes;
        let Tells { verbose, itemize, quiet, .. } = wishes.tells;
        let arrows = wishes.keep.links;
        let (lines, totals, out) = (Vec::new(), Totals::default(), Out::new());
        Report { verbose, itemize, quiet, lists, arrows, recursive, dry_run, lines, totals, out }
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
        for (_, line) in std::mem::take(&mut self.lines) {
            self.say(line);
        }
        if self.verbose > 0 && !self.lists {
            self.say(text::closing(&self.totals, self.dry_run));
        }
        self.out.write(Write::flush);
    }

    pub(super) fn trouble(&mut self) -> Option<Error> {
        self.out.trouble()
    }

    /// The line for an entry, where one is wanted.
    fn describe(&self, directory: &Path, event: &EntryEvent) -> Option<String> {
        if self.lists {
            return list::line(directory, event, self.arrows);
        }
        let name = || format!("{}{}", itemize::name(directory, event), itemize::arrow(event));
        if event.action == Action::Skipped {
            let is_left_out = !matches!(event.kind, Kind::File | Kind::Directory);
            let name = itemize::name(directory, event);
            return is_left_out.then(|| format!("skipping non-regular file \"{name}\""));
        }
        if self.itemize > 0 {
            let unchanged = self.itemize > 1 || self.verbose > 1;
            let letters = itemize::letters(event);
            return itemize::wanted(event, unchanged).then(|| format!("{letters} {}", name()));
        }
        if self.verbose == 0 {
            return None;
        }
        match event.action {
            Action::Created | Action::Updated | Action::Linked => Some(name()),
            Action::Deleted => Some(format!("deleting {}", itemize::name(directory, event))),
            Action::Metadata if event.kind == Kind::Directory || self.verbose > 1 => Some(name()),
            Action::Unchanged if self.verbose > 1 && event.kind != Kind::Directory => {
                Some(format!("{} is uptodate", itemize::name(directory, event)))
            }
            _ => None,
        }
    }

    fn tell(&self, error: &Error) {
        warn(format_args!("rsync: {}", told(error)));
    }
}

impl Reporter for Report {
    fn start(&mut self, start: &Start) {
        for missing in &start.missing {
            let path = Escaped::path(&missing.path);
            warn(format_args!("--link-dest arg does not exist: {path}"));
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
        if let Some(line) = self.describe(directory, event) {
            self.lines.push((text::order(directory, event), line));
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
