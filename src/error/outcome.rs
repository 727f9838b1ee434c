//! How a run ended, and the table of exit codes.

use std::fmt;

/// How a run ended, the worst last. The order and the codes are those of rsync(1), so that scripts carry over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Outcome {
    /// Everything was done.
    #[default]
    Done,
    /// Some source files vanished between listing and opening.
    Vanished,
    /// A comparison found differences.
    Different,
    /// Some files failed.
    Failed,
    /// More was to be deleted than may be.
    DeletionRefused,
    /// Some operation had no answer, or made no progress, for too long.
    TimedOut,
    /// A signal, or the caller, stopped the run.
    Interrupted,
    /// File I/O broke off the run: no space left on the destination, or its disk has left or fails again and again.
    BrokenOff,
}

/// Exit code of a usage error.
pub const EXIT_USAGE: u8 = 1;

/// Exit code when SRC, DST or the engine can't be used: where [`sync`](crate::sync()), [`check`](crate::check()) or
/// [`verify`](crate::verify()) is an error.
pub const EXIT_UNUSABLE: u8 = 3;

impl Outcome {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Vanished => "vanished",
            Outcome::Different => "different",
            Outcome::Failed => "failed",
            Outcome::DeletionRefused => "deletion-refused",
            Outcome::TimedOut => "timed-out",
            Outcome::Interrupted => "interrupted",
            Outcome::BrokenOff => "broken-off",
        }
    }

    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::BrokenOff => 11,
            Outcome::Interrupted => 20,
            Outcome::Different | Outcome::Failed => 23,
            Outcome::Vanished => 24,
            Outcome::DeletionRefused => 25,
            Outcome::TimedOut => 30,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
