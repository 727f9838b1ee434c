//! Two reporters that are told the same.

use std::path::Path;

use crate::error::Error;
use crate::event::{EntryEvent, Notice, Reporter, Stall, Start, Summary, Totals};

/// Passes everything on to both, to the first one first.
pub struct Both<A, B>(pub A, pub B);

impl<A: Reporter, B: Reporter> Reporter for Both<A, B> {
    fn start(&mut self, start: &Start) {
        self.0.start(start);
        self.1.start(start);
    }

    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        self.0.entry(directory, event);
        self.1.entry(directory, event);
    }

    fn error(&mut self, error: &Error) {
        self.0.error(error);
        self.1.error(error);
    }

    fn notice(&mut self, notice: &Notice) {
        self.0.notice(notice);
        self.1.notice(notice);
    }

    fn stall(&mut self, stall: &Stall) {
        self.0.stall(stall);
        self.1.stall(stall);
    }

    fn progress(&mut self, totals: &Totals) {
        self.0.progress(totals);
        self.1.progress(totals);
    }

    fn finish(&mut self, summary: &Summary) {
        self.0.finish(summary);
        self.1.finish(summary);
    }

    fn trouble(&mut self) -> Option<Error> {
        self.0.trouble().or_else(|| self.1.trouble())
    }
}
