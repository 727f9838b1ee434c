//! A run that did not do all it was to do, and the first errors of it.

use std::fmt;

use crate::error::Error;
use crate::error::outcome::Outcome;
use crate::event::Totals;

/// A run that did not do all that it was to do: how it ended, its counts, and the first of its errors.
#[derive(Debug)]
#[non_exhaustive]
pub struct Incomplete<T = Totals> {
    /// How it ended, never [`Outcome::Done`].
    pub outcome: Outcome,
    /// How many errors there were. Files that a verification finds to be wrong are among them, and what vanished.
    pub count: u64,
    /// All counts: [`Totals`], or those of a verification.
    pub totals: Box<T>,
    /// The first errors, [`Incomplete::KEPT`] at most.
    pub errors: Vec<Error>,
}

impl Incomplete {
    /// How many errors are kept of a run, however many there are.
    pub const KEPT: usize = 16;
}

impl<T: fmt::Debug> std::error::Error for Incomplete<T> {
    /// The first error. The message tells it already, as with [`Error`].
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.errors.first().map(|error| error as _)
    }
}

impl<T> fmt::Display for Incomplete<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.outcome.name())?;
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        match (self.errors.first(), self.count) {
            (None, 0) => Ok(()),
            // What a verification finds wrong has no error of its own.
            (None, count) => write!(f, " ({count} error{})", plural(count)),
            (Some(first), 0 | 1) => write!(f, ": {first}"),
            (Some(first), count) => {
                let more = count - 1;
                write!(f, ": {first} (and {more} more error{})", plural(more))
            }
        }
    }
}

/// The first errors of a run.
#[derive(Debug, Default)]
pub(crate) struct FirstErrors(Vec<Error>);

impl FirstErrors {
    /// Keeps an error if there is room for it. What vanished makes room for what failed.
    pub(crate) fn keep(&mut self, error: Error) {
        if self.0.len() < Incomplete::KEPT {
            self.0.push(error);
        } else if !error.tells_vanished()
            && let Some(at) = self.0.iter().rposition(Error::tells_vanished)
        {
            self.0.remove(at);
            self.0.push(error);
        }
    }

    /// Those that were kept.
    pub(crate) fn into_inner(self) -> Vec<Error> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::error::Operation;

    #[test]
    fn what_is_incomplete_tells_its_first_error_and_how_many_more_there_are() {
        let told = |outcome, count, kept| {
            let error = || Error::new(Operation::OpenSource, "a", Errno::ACCESS);
            let errors = std::iter::repeat_with(error).take(kept).collect();
            Incomplete { outcome, count, totals: Box::new(()), errors }.to_string()
        };
        let first = "failed: open source a: Permission denied (os error 13)";
        assert_eq!(told(Outcome::Different, 0, 0), "different");
        assert_eq!(told(Outcome::Failed, 1, 0), "failed (1 error)");
        assert_eq!(told(Outcome::Failed, 3, 0), "failed (3 errors)");
        assert_eq!(told(Outcome::Failed, 1, 1), first);
        assert_eq!(told(Outcome::Failed, 2, 1), format!("{first} (and 1 more error)"));
        assert_eq!(told(Outcome::Failed, 20, 16), format!("{first} (and 19 more errors)"));
    }
}
