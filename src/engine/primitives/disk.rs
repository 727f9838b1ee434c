//! What errors say of the destination's disk. One error costs one file; a disk that has left, that is full, or that fails
//! again and again ends the run. Errors of the source never do: what can be saved from a dying disk is saved.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::error::{Cause, Error, Outcome};

/// This many I/O errors of the destination, without anything written in between, are no single files' any more.
const MOST_FAILURES: u32 = 16;

/// What is known of the destination's disk.
#[derive(Default)]
pub(crate) struct Disk {
    /// I/O errors since something could last be written.
    failures: AtomicU32,
    /// One error has ended the run.
    over: AtomicBool,
}

/// What an error means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Bearable,
    /// This error ends it.
    Ends,
    /// Another one has ended it, for the same reason: this one is not told.
    Echo,
}

impl Disk {
    /// Something was written.
    pub(crate) fn mark_written(&self) {
        // Read first: nearly always nothing has failed, and threads need not take the counter from each other.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Judges an error. The one that is too much says so; what another one has told already becomes an interruption, which
    /// is neither counted as done nor reported.
    pub(crate) fn judge(&self, error: &mut Error) -> Verdict {
        let fails = error.is_failure_of_disk();
        if fails && self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_FAILURES {
            let cause = std::mem::replace(&mut error.cause, Cause::Interrupted);
            error.cause = match cause {
                Cause::Io(why) => Cause::KeepsFailing { why, times: MOST_FAILURES },
                other => other,
            };
        }
        let is_of_disk = matches!(error.cause, Cause::Io(_) | Cause::KeepsFailing { .. });
        // What has no room alone is told at the end, by the exit code.
        let ends = error.outcome() == Outcome::BrokenOff && !matches!(error.cause, Cause::NoRoom { .. });
        let is_echo = match is_of_disk && ends {
            true => self.over.swap(true, Ordering::Relaxed),
            false => fails && self.over.load(Ordering::Relaxed),
        };
        match (is_echo, ends) {
            (true, _) => {
                error.cause = Cause::Interrupted;
                Verdict::Echo
            }
            (false, true) => Verdict::Ends,
            (false, false) => Verdict::Bearable,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::error::Operation;

    #[test]
    fn failures_in_a_row_end_the_run_with_one_message() {
        let disk = Disk::default();
        let judge = |operation, errno: Errno| {
            let mut error = Error::new(operation, "a", errno);
            (disk.judge(&mut error), error)
        };
        for _ in 1..MOST_FAILURES {
            assert_eq!(judge(Operation::Write, Errno::IO).0, Verdict::Bearable);
        }
        disk.mark_written();
        for _ in 1..MOST_FAILURES {
            assert_eq!(judge(Operation::Write, Errno::IO).0, Verdict::Bearable);
            assert_eq!(judge(Operation::ReadSource, Errno::IO).0, Verdict::Bearable);
        }
        let (verdict, last) = judge(Operation::Create, Errno::IO);
        assert_eq!((verdict, last.outcome()), (Verdict::Ends, Outcome::BrokenOff));
        for errno in [Errno::IO, Errno::ROFS, Errno::NOSPC] {
            let (verdict, echo) = judge(Operation::Write, errno);
            assert_eq!((verdict, echo.outcome()), (Verdict::Echo, Outcome::Interrupted));
        }
        assert_eq!(judge(Operation::ReadSource, Errno::IO).0, Verdict::Bearable);
        assert_eq!(judge(Operation::Write, Errno::ACCESS).0, Verdict::Bearable, "that is another story");
    }
}
