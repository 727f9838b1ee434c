//! What can go wrong: one error type that names operation, path and cause, and the table of exit codes.
//!
//! A message may name a setting that would help. It has as many names as there are programs: a field here, an option in
//! ours. So the text asks for the name, [`Error::told`], and is itself there once.

use std::any::Any;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;

use crate::event::Totals;
use crate::text::Escaped;

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
            Cause::Io(error) | Cause::NoRing(error) => Some(error),
            Cause::Uncounted(error) => Some(error.as_ref()),
            cause => Some(cause),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Setting::field))
    }
}

/// A setting that a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // each is its own description, see `field`
pub enum Setting {
    MakeParents,
    Exclude,
    OneFileSystem,
    Delete,
    DeleteLimit,
    NoDeleteLimit,
    AllowEmptySource,
    BackupDirectory,
    BackupSuffix,
    LinkDest,
    Jobs,
    Threads,
}

/// What settings are called.
pub type Names = fn(Setting) -> &'static str;

impl Setting {
    /// What the library calls it: a field below [`Config`](crate::Config), or one of its values.
    pub fn field(self) -> &'static str {
        match self {
            Setting::MakeParents => "make_parents",
            Setting::Exclude => "a rule",
            Setting::OneFileSystem => "select.one_file_system",
            Setting::Delete => "delete",
            Setting::DeleteLimit => "delete.limit",
            Setting::NoDeleteLimit => "a delete.limit of DeleteLimit::Percent(100)",
            Setting::AllowEmptySource => "delete.allow_empty_source",
            Setting::BackupDirectory => "backup.directory",
            Setting::BackupSuffix => "backup.suffix",
            Setting::LinkDest => "link_dest",
            Setting::Jobs => "jobs",
            Setting::Threads => "the engine of threads",
        }
    }
}

/// The step that failed. Its text opens the error's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // each is its own description, see `Display`
pub enum Operation {
    UseSource,
    UseDestination,
    ListSource,
    ListDestination,
    OpenSource,
    StatSource,
    ReadSource,
    ReadLink,
    ReadXattrs,
    OpenDestination,
    StatDestination,
    ReadDestination,
    Create,
    Write,
    Flush,
    Verify,
    Clone,
    Link,
    Rename,
    Remove,
    SetOwner,
    SetXattr,
    SetMode,
    SetTimes,
    Delete,
    Backup,
    UseReference,
    UseRule,
    ReadRules,
    ReadPaths,
    FindPath,
    UseManifest,
    ReadManifest,
    WriteManifest,
    UseLog,
    UseTrace,
    UseKey,
    UseDirectory,
    ListDirectory,
    StartEngine,
    Run,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Setting::field))
    }
}

impl Operation {
    /// The text, with settings called by these names.
    pub fn told(self, names: Names) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Operation::UseSource => "use source",
            Operation::UseDestination => "use destination",
            Operation::ListSource => "list source directory",
            Operation::ListDestination => "list destination directory",
            Operation::OpenSource => "open source",
            Operation::StatSource => "stat source",
            Operation::ReadSource => "read source",
            Operation::ReadLink => "read symlink",
            Operation::ReadXattrs => "read extended attributes of",
            Operation::OpenDestination => "open destination",
            Operation::StatDestination => "stat destination",
            Operation::ReadDestination => "read destination",
            Operation::Create => "create",
            Operation::Write => "write",
            Operation::Flush => "flush to stable storage",
            Operation::Verify => "verify",
            Operation::Clone => "clone",
            Operation::Link => "link",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::SetOwner => "set owner of",
            Operation::SetXattr => "set extended attribute of",
            Operation::SetMode => "set mode of",
            Operation::SetTimes => "set times of",
            Operation::Delete => "delete from",
            Operation::Backup => "back up",
            Operation::UseReference => return format!("use {}", names(Setting::LinkDest)).into(),
            Operation::UseRule => "use filter rule",
            Operation::ReadRules => "read filter rules",
            Operation::ReadPaths => "read list of paths",
            Operation::FindPath => "find listed path",
            Operation::UseManifest => "use manifest",
            Operation::ReadManifest => "read manifest",
            Operation::WriteManifest => "write manifest",
            Operation::UseLog => "use log file",
            Operation::UseTrace => "use trace file",
            Operation::UseKey => "use the machine key",
            Operation::UseDirectory => "use directory",
            Operation::ListDirectory => "list directory",
            Operation::StartEngine => "start the engine for",
            Operation::Run => "copy",
        })
    }

    /// What the user calls that which is opened first of all, by the path that was typed.
    fn subject(self) -> Option<&'static str> {
        match self {
            Operation::UseSource => Some("SRC"),
            Operation::UseDestination => Some("DST"),
            Operation::UseManifest => Some("the manifest"),
            Operation::UseDirectory => Some("the directory"),
            _ => None,
        }
    }

    /// Whether the operation reads the source tree: a name missing there has vanished since it was listed.
    pub(crate) fn reads_source(self) -> bool {
        matches!(
            self,
            Operation::ListSource
                | Operation::OpenSource
                | Operation::StatSource
                | Operation::ReadSource
                | Operation::ReadLink
                | Operation::ReadXattrs
        )
    }
}

/// Why an operation failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The kernel said so.
    Io(io::Error),
    /// The source was written to while it was read, three times over.
    Changed,
    /// The file system reported another type on opening than on listing.
    TypeChanged,
    /// Another directory has the name of one that was closed for a while.
    DirectoryReplaced,
    /// A directory stands where a file belongs, and it has entries.
    DirectoryInTheWay,
    /// The same, and backups would stay in it.
    BackupsInTheWay,
    /// Two hard links led to different inodes: someone else renamed the first one.
    LinkReplaced,
    /// The file system called something a hole that is none.
    FalseHole,
    /// There was no answer, or no progress, for this long.
    TimedOut(Duration),
    /// What was read back is not what was written, twice over.
    Mismatch,
    /// The run was told to stop.
    Interrupted,
    /// A task of the pipeline panicked.
    Panic(String),
    /// There is no ring, and nothing else was to do.
    NoRing(io::Error),
    /// What the run would write to does not exist: this, as a sentence begins with it.
    Missing(&'static str),
    /// The destination lies inside the source, where the walk would come.
    InsideSource {
        /// By several paths, since something is mounted twice.
        by_several_paths: bool,
    },
    /// Nothing was deleted, since the source has nothing.
    EmptySource,
    /// Nothing was written or deleted: at the top of the destination, nothing that could be deleted has its name in the
    /// source.
    NothingShared {
        /// How many entries at the destination's top could be deleted: not `lost+found`, nor what a rule protects.
        count: u64,
        /// The names of some of them.
        shown: String,
    },
    /// Nothing was deleted, since there is a limit and it can't be told how much it would be.
    Uncounted(Box<Error>),
    /// The file system lists names otherwise than they were given: in another case, or normal form. What is extra can't be
    /// told from what was just written.
    OtherNames,
    /// Nothing was deleted, since it would have been this many entries.
    TooManyDeletions(u64),
    /// A run that was killed has left it under a temporary name, and this one does not delete.
    SetAside,
    /// With what a backup's name ends in, it would be too long.
    NameTooLong,
    /// A directory that others could have put there, or filled, is kept from them: the text tells why. What is in it was
    /// mirrored, and what is extra in it may be deleted.
    Withheld(&'static str),
    /// It was not begun, or not continued: the text tells why.
    Refused(String),
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Cause::Io(error) => error.source(),
            Cause::NoRing(error) => Some(error),
            Cause::Uncounted(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Setting::field))
    }
}

impl Cause {
    /// The text, with settings called by these names.
    pub fn told(&self, names: Names) -> Cow<'static, str> {
        Cow::Owned(match self {
            Cause::Changed => return "it changed while it was being read".into(),
            Cause::TypeChanged => return "its type changed during the run".into(),
            Cause::DirectoryReplaced => return "it was replaced during the run".into(),
            Cause::DirectoryInTheWay => return IN_THE_WAY.into(),
            Cause::LinkReplaced => return "the hard link's first name was replaced during the run".into(),
            Cause::FalseHole => return "it has data where its file system shows a hole".into(),
            Cause::Mismatch => return MISMATCH.into(),
            Cause::Interrupted => return "interrupted".into(),
            Cause::OtherNames => return OTHER_NAMES.into(),
            Cause::Withheld(why) => return (*why).into(),
            Cause::Refused(why) => why.clone(),
            Cause::Io(error) => error.to_string(),
            Cause::TimedOut(limit) => format!("timed out: no progress for {} s", limit.as_secs_f64()),
            Cause::Panic(text) => format!("internal error: {text}"),
            Cause::NoRing(error) => format!("{error}; {}", without_ring(error, names)),
            Cause::Missing(what) => {
                format!("{what} does not exist ({} makes it)", names(Setting::MakeParents))
            }
            Cause::InsideSource { by_several_paths } => inside_source(*by_several_paths, names),
            Cause::BackupsInTheWay => format!(
                "{IN_THE_WAY}, and backups would stay in it ({} makes way)",
                names(Setting::BackupDirectory)
            ),
            Cause::EmptySource => format!(
                "nothing is deleted, since the source is empty ({} deletes all the same)",
                names(Setting::AllowEmptySource)
            ),
            Cause::NothingShared { count, shown } => format!(
                "nothing is written or deleted, since {}: are these the right directories, in this order? ({} goes on all \
                 the same)",
                nothing_shared(*count, shown),
                names(Setting::NoDeleteLimit)
            ),
            Cause::Uncounted(error) => {
                let error = error.told(names);
                format!("nothing is deleted, since it can't be told how much it would be: {error}")
            }
            Cause::TooManyDeletions(count) => {
                let limit = names(Setting::DeleteLimit);
                format!("nothing is deleted: it would be {count}, more than {limit} allows")
            }
            Cause::SetAside => format!(
                "a run that was killed had set it aside ({} removes it, with {} to the backups)",
                names(Setting::Delete),
                names(Setting::BackupDirectory)
            ),
            Cause::NameTooLong => format!(
                "its name is too long for the suffix, or a number, of a backup ({} without {} keeps names)",
                names(Setting::BackupDirectory),
                names(Setting::BackupSuffix)
            ),
        })
    }
}

const IN_THE_WAY: &str = "a directory that is not empty is in the way";
const MISMATCH: &str = "what was read back from the destination differs from what was written";
const OTHER_NAMES: &str =
    "nothing is deleted: it lists names otherwise than they were written, or loses some meanwhile";

fn inside_source(by_several_paths: bool, names: Names) -> String {
    let (rule, mounts) = (names(Setting::Exclude), names(Setting::OneFileSystem));
    let mut why = format!(
        "DST lies inside SRC, and would be copied into itself. Leave it out with {rule}, or with {mounts} if it is on \
         another file system"
    );
    if by_several_paths {
        why += ". DST can be reached from SRC by several paths, because it is mounted twice: rules must leave out all of \
            them";
    }
    why
}

/// What to do where a ring can't be set up.
fn without_ring(error: &io::Error, names: Names) -> String {
    let (threads, jobs) = (names(Setting::Threads), names(Setting::Jobs));
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => format!(
            "io_uring is forbidden here: set the sysctl kernel.io_uring_disabled to 0, allow io_uring_setup in the \
             container's seccomp profile, or use {threads}"
        ),
        Some(Errno::NOSYS) => {
            format!("this kernel has no io_uring (Linux 5.15 or newer has): use {threads}")
        }
        Some(Errno::NOMEM) => format!(
            "the ring's memory counts as locked: raise the limit (ulimit -l), lower {jobs}, or use {threads}"
        ),
        Some(Errno::MFILE | Errno::NFILE) => "too many open files: raise the limit (ulimit -n)".into(),
        _ => format!("use {threads}"),
    }
}

fn nothing_shared(count: u64, shown: &str) -> String {
    match count {
        1 => format!("the only entry at its top that could be deleted is not in SRC ({shown})"),
        _ => format!("of the {count} entries at its top that could be deleted none is in SRC ({shown})"),
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
            Cause::Io(error) | Cause::NoRing(error) => Some(error),
            _ => None,
        }
    }

    /// The errno behind this error, if a system call failed.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match &self.cause {
            Cause::Io(error) => Errno::from_io_error(error),
            _ => None,
        }
    }

    /// What this error makes of the whole run. It is for what fails on the way: where nothing could begin, and `sync`, `check`
    /// or `verify` returned this error, the program's exit code is [`EXIT_UNUSABLE`].
    pub fn outcome(&self) -> Outcome {
        match (&self.cause, self.errno()) {
            (Cause::Interrupted, _) => Outcome::Interrupted,
            (Cause::Panic(_), _) => Outcome::BrokenOff,
            (Cause::TimedOut(_), _) => Outcome::TimedOut,
            (
                Cause::EmptySource
                | Cause::NothingShared { .. }
                | Cause::TooManyDeletions(_)
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
            (_, Some(Errno::NOENT)) if self.operation.reads_source() => Outcome::Vanished,
            _ => Outcome::Failed,
        }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Cause::Io(error)
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        Cause::Io(errno.into())
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
    /// File I/O broke off the run: no space left on the destination.
    BrokenOff,
}

/// A run that did not do all that it was to do: how it ended, its counts, and the first of its errors.
#[derive(Debug)]
#[non_exhaustive]
pub struct Incomplete<T = Totals> {
    /// How it ended, never [`Outcome::Done`].
    pub outcome: Outcome,
    /// How many errors there were. Files that a verification finds to be wrong are among them.
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
    /// Keeps an error if there is room for it.
    pub(crate) fn keep(&mut self, error: Error) {
        if self.0.len() < Incomplete::KEPT {
            self.0.push(error);
        }
    }

    /// Those that were kept.
    pub(crate) fn into_inner(self) -> Vec<Error> {
        self.0
    }
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
