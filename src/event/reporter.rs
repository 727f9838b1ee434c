//! Who is told what happens.

use std::path::Path;

use crate::error::Error;
use crate::event::{EntryEvent, Notice, Stall, Start, Summary, Totals};

/// Receives what happens, on the thread that called [`crate::sync`]. It must not wait for long: the pipeline waits
/// for it.
pub trait Reporter {
    /// The run begins.
    fn start(&mut self, _start: &Start) {}
    /// An entry is done. `directory` is its directory's path below the roots.
    fn entry(&mut self, _directory: &Path, _event: &EntryEvent) {}
    /// Something failed that is no entry.
    fn error(&mut self, _error: &Error) {}
    /// Something turned out not to be as it was hoped for: once a run.
    fn notice(&mut self, _notice: &Notice) {}
    /// A ring stands still.
    fn stall(&mut self, _stall: &Stall) {}
    /// The counts have changed.
    fn progress(&mut self, _totals: &Totals) {}
    /// The run is over.
    fn finish(&mut self, _summary: &Summary) {}
    /// What kept this reporter from saying everything, if anything did, once. A reader that went away is no trouble.
    fn trouble(&mut self) -> Option<Error> {
        None
    }
}

/// Passes everything on to what a pointer leads to.
macro_rules! pass_on {
    ($($pointer:ty),*) => {$(
        impl<R: Reporter + ?Sized> Reporter for $pointer {
            fn start(&mut self, start: &Start) {
                (**self).start(start);
            }

            fn entry(&mut self, directory: &Path, event: &EntryEvent) {
                (**self).entry(directory, event);
            }

            fn error(&mut self, error: &Error) {
                (**self).error(error);
            }

            fn notice(&mut self, notice: &Notice) {
                (**self).notice(notice);
            }

            fn stall(&mut self, stall: &Stall) {
                (**self).stall(stall);
            }

            fn progress(&mut self, totals: &Totals) {
                (**self).progress(totals);
            }

            fn finish(&mut self, summary: &Summary) {
                (**self).finish(summary);
            }

            fn trouble(&mut self) -> Option<Error> {
                (**self).trouble()
            }
        }
    )*};
}

pass_on!(&mut R, Box<R>);

/// A reporter that shows nothing.
pub struct Silent;

impl Reporter for Silent {}
