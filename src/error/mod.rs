//! What can go wrong: one error type that names operation, path and cause, and how a run ended.
//!
//! A message may name a setting that would help. It has as many names as there are programs: a field here, an option in
//! ours. So the text asks for the name, [`Error::told`], and is itself there once.

mod astray;
mod cause;
mod frozen;
pub(crate) mod not_kept;
mod operation;
pub(crate) mod outcome;
mod setting;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use rustix::io::Errno;

use crate::text::Escaped;

pub use astray::Astray;
pub use cause::Cause;
pub use frozen::Frozen;
pub use not_kept::{NotKept, Property};
pub use operation::Operation;
pub use outcome::{EXIT_UNUSABLE, EXIT_USAGE, Outcome};
pub use setting::{Names, Setting};

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One thing that failed: `open source /a/b: Permission denied (os error 13)`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    /// What was being done.
    pub operation: Operation,
    /// To which file, as the user would name it.
    pub path: PathBuf,
    /// Why it failed.
    pub cause: Cause,
}

impl std::error::Error for Error {
    /// What is beneath the cause, an [`io::Error`] or another [`Error`]; where nothing is, the [`Cause`] itself. The message
    /// tells it already: a program that prints whole chains stops at this error.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(error)
            | Cause::NoRing(error)
            | Cause::NameRefused { error, .. }
            | Cause::Frozen { error, .. }
            | Cause::KeepsFailing { why: error, .. }
            | Cause::NoRoom { why: error, .. } => Some(error),
            Cause::Uncounted(error) => Some(error.as_ref()),
            Cause::NotKept(lack) if lack.io_error().is_some() => lack.io_error().map(|error| error as _),
            cause => Some(cause),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Setting::field))
    }
}

impl Error {
    /// The message, with settings called by these names: a program that calls them otherwise, for example
    /// by its options, tells its users those names.
    pub fn told(&self, names: Names) -> String {
        let path = Escaped::path(&self.path);
        match self.operation.subject().filter(|_| self.errno() == Some(Errno::NOENT)) {
            Some(subject) => format!("{subject} {path} does not exist"),
            None => format!("{} {path}: {}", self.operation.told(names), self.cause.told(names)),
        }
    }

    /// An error of `operation` on `path`.
    pub fn new(operation: Operation, path: impl Into<PathBuf>, cause: impl Into<Cause>) -> Self {
        Error { operation, path: path.into(), cause: cause.into() }
    }

    /// The kernel's error, if it caused this one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match &self.cause {
            Cause::Io(error)
            | Cause::NoRing(error)
            | Cause::NameRefused { error, .. }
            | Cause::Frozen { error, .. }
            | Cause::KeepsFailing { why: error, .. }
            | Cause::NoRoom { why: error, .. } => Some(error),
            Cause::NotKept(lack) => lack.io_error(),
            _ => None,
        }
    }

    /// The errno behind this error, if a system call failed.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match &self.cause {
            Cause::NotKept(lack) => Errno::from_io_error(lack.io_error()?),
            Cause::Io(error)
            | Cause::NameRefused { error, .. }
            | Cause::Frozen { error, .. }
            | Cause::KeepsFailing { why: error, .. }
            | Cause::NoRoom { why: error, .. } => Errno::from_io_error(error),
            _ => None,
        }
    }

    /// What this error makes of the whole run. It is for what fails on the way: where nothing could begin, and `sync`, `check`
    /// or `verify` returned this error, the program's exit code is [`EXIT_UNUSABLE`].
    pub fn outcome(&self) -> Outcome {
        match (&self.cause, self.errno()) {
            (Cause::Interrupted, _) => Outcome::Interrupted,
            (Cause::Panic(_) | Cause::KeepsFailing { .. }, _) => Outcome::BrokenOff,
            // No room for an attribute, say, or none left in another user's quota: there is room for contents.
            (Cause::NotKept(_), _) => Outcome::Failed,
            _ if self.tells_disk_left() => Outcome::BrokenOff,
            (Cause::TimedOut(_), _) => Outcome::TimedOut,
            (
                Cause::EmptySource
                | Cause::NothingShared { .. }
                | Cause::TooManyDeletions(_)
                | Cause::DeletionsStopped(_)
                | Cause::Uncounted(_),
                _,
            ) => Outcome::DeletionRefused,
            _ if self.operation == Operation::StartEngine => Outcome::BrokenOff,
            // Nothing is flushed there, and nothing lost.
            (_, Some(Errno::INVAL | Errno::OPNOTSUPP)) if self.operation == Operation::Flush => {
                Outcome::Failed
            }
            // What the kernel could not write back is lost, and whose it was it does not say (fsync(2)).
            (Cause::Io(_), _) if self.operation == Operation::Flush => Outcome::BrokenOff,
            // An attribute may be too large for its inode where there is room for many files. A trace lies anywhere.
            (_, Some(Errno::NOSPC | Errno::DQUOT))
                if !self.operation.reads_source()
                    && !matches!(
                        self.operation,
                        Operation::SetXattr | Operation::UseTrace | Operation::UseKey
                    ) =>
            {
                Outcome::BrokenOff
            }
            (Cause::VanishedSince | Cause::MayHaveMoved, _) => Outcome::Vanished,
            _ if self.tells_vanished() => Outcome::Vanished,
            _ => Outcome::Failed,
        }
    }
}

impl Error {
    /// Whether it says no more than that an entry is not in the source any more, which was there when it was listed.
    pub fn tells_vanished(&self) -> bool {
        matches!(self.cause, Cause::Io(_))
            && self.errno() == Some(Errno::NOENT)
            && self.operation.reads_source()
    }

    /// Whether it says that the destination's disk is not there any more, or takes nothing any more: no other entry can
    /// succeed. A FUSE file system whose program has died says `ENOTCONN`. To open what has become a socket or a device
    /// without a driver says the same as a missing disk (open(2)), and tells nothing.
    fn tells_disk_left(&self) -> bool {
        self.operation.uses_destination()
            && match self.errno() {
                Some(Errno::ROFS | Errno::SHUTDOWN | Errno::NOTCONN) => true,
                Some(Errno::NODEV | Errno::NXIO) => self.operation != Operation::OpenDestination,
                _ => false,
            }
    }

    /// Whether something found no room on the destination's disk, or in the user's quota. An attribute may be too large
    /// for its inode where there is room for many files.
    pub(crate) fn lacks_room(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOSPC | Errno::DQUOT))
            && matches!(self.cause, Cause::Io(_))
            && self.operation.uses_destination()
            && self.operation != Operation::SetXattr
    }

    /// Whether the destination's disk could not read or write something. One such error is that file's; many in a row are
    /// the disk's. A clone reads the source as well.
    pub(crate) fn is_failure_of_disk(&self) -> bool {
        self.errno() == Some(Errno::IO)
            && self.operation.uses_destination()
            && self.operation != Operation::Clone
    }
}

/// Adds operation and path to a failed system call.
pub(crate) trait Context<T> {
    /// Names what failed. The path is only built when it did.
    fn at<P: AsRef<Path>>(self, operation: Operation, path: impl FnOnce() -> P) -> Result<T>;
}

impl<T, E: Into<Cause>> Context<T> for std::result::Result<T, E> {
    fn at<P: AsRef<Path>>(self, operation: Operation, path: impl FnOnce() -> P) -> Result<T> {
        self.map_err(|cause| Error::new(operation, path().as_ref(), cause))
    }
}

/// The error that a panic becomes.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into());
    Error::new(Operation::Run, "", Cause::Panic(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_outcome_wins_in_the_documented_order() {
        let order = [
            Outcome::Done,
            Outcome::Vanished,
            Outcome::Different,
            Outcome::Failed,
            Outcome::DeletionRefused,
            Outcome::TimedOut,
            Outcome::Interrupted,
            Outcome::BrokenOff,
        ];
        assert!(order.is_sorted());
        assert_eq!(order.map(Outcome::exit_code), [0, 24, 23, 23, 25, 30, 20, 11]);
    }

    #[test]
    fn a_disk_that_left_ends_the_run_and_a_source_that_left_does_not() {
        let outcome = |operation, errno: Errno| Error::new(operation, "a", errno).outcome();
        for errno in [Errno::ROFS, Errno::NODEV, Errno::NXIO, Errno::SHUTDOWN, Errno::NOTCONN] {
            for operation in [Operation::Create, Operation::Write, Operation::Rename, Operation::SetMode] {
                assert_eq!(outcome(operation, errno), Outcome::BrokenOff);
            }
            for operation in [Operation::ReadSource, Operation::ListSource, Operation::UseTrace] {
                assert_eq!(outcome(operation, errno), Outcome::Failed);
            }
        }
        assert_eq!(outcome(Operation::OpenDestination, Errno::NXIO), Outcome::Failed, "it may be a socket");
        assert_eq!(outcome(Operation::Write, Errno::IO), Outcome::Failed, "one error is one file's");
        let cause = Cause::KeepsFailing { why: Errno::IO.into(), times: 16 };
        let error = Error::new(Operation::Write, "a", cause);
        assert_eq!((error.outcome(), error.errno()), (Outcome::BrokenOff, Some(Errno::IO)));
    }

    #[test]
    fn an_error_without_an_inner_one_leads_to_its_cause() {
        use std::error::Error as _;
        let error = Error::new(Operation::Verify, "a", Cause::Mismatch);
        let cause = error.source().unwrap();
        assert!(matches!(cause.downcast_ref(), Some(Cause::Mismatch)));
        assert!(cause.source().is_none() && error.to_string().ends_with(&cause.to_string()));
        assert!(error.io_error().is_none());
        let error = Error::new(Operation::Verify, "a", Cause::NoRing(Errno::PERM.into()));
        let inner = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(inner.raw_os_error(), error.io_error().unwrap().raw_os_error());
    }

    #[test]
    fn a_message_asks_for_the_whole_setting() {
        let text = Cause::NothingShared { count: 2, shown: "a, b".into() }.to_string();
        assert!(
            text.ends_with("(a delete.limit of DeleteLimit::Percent(100) goes on all the same)"),
            "{text}"
        );
    }

    #[test]
    fn no_space_breaks_off_only_on_the_destination() {
        let of = |operation, errno: Errno| Error::new(operation, "x", errno).outcome();
        assert_eq!(of(Operation::Write, Errno::NOSPC), Outcome::BrokenOff);
        assert_eq!(of(Operation::Create, Errno::DQUOT), Outcome::BrokenOff);
        assert_eq!(of(Operation::ReadSource, Errno::NOSPC), Outcome::Failed);
        assert_eq!(of(Operation::SetXattr, Errno::NOSPC), Outcome::Failed);
        assert_eq!(of(Operation::OpenSource, Errno::NOENT), Outcome::Vanished);
        assert_eq!(of(Operation::Create, Errno::NOENT), Outcome::Failed);
    }

    #[test]
    fn a_message_names_operation_path_and_cause_on_one_line() {
        let error = Error::new(Operation::OpenSource, "a\nb", Errno::ACCESS);
        assert_eq!(error.to_string(), "open source a\\nb: Permission denied (os error 13)");
        let missing = |operation| Error::new(operation, "a", Errno::NOENT).to_string();
        assert_eq!(missing(Operation::UseSource), "SRC a does not exist");
        assert_eq!(missing(Operation::OpenSource), "open source a: No such file or directory (os error 2)");
    }
}
