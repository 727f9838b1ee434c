//! Why something failed, and what to do where that is known.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;

use crate::error::Error;
use crate::error::astray::Astray;
use crate::error::frozen::Frozen;
use crate::error::not_kept::NotKept;
use crate::error::setting::{Names, Setting};
use crate::text::Escaped;

/// Why an operation failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The kernel said so.
    Io(io::Error),
    /// The destination does not keep some metadata. All else of the entry is there.
    NotKept(Box<NotKept>),
    /// There is no room for this file alone: smaller ones were copied.
    NoRoom {
        /// What the kernel said, or would have.
        why: io::Error,
        /// Bytes that it lacks.
        missing: u64,
    },
    /// The destination's disk said so this many times, and nothing could be written in between: the run was given up.
    KeepsFailing {
        /// What it said.
        why: io::Error,
        /// How often, one after the other.
        times: u32,
    },
    /// The source was written to while it was read.
    Changed,
    /// The same, and it was given up.
    KeepsChanging {
        /// How often it was read.
        times: usize,
        /// What the destination has of it.
        destination: &'static str,
    },
    /// The file system reported another type on opening than on listing.
    TypeChanged,
    /// Another directory has the name of one that was closed for a while.
    DirectoryReplaced,
    /// A directory stands where a file belongs, and it has entries.
    DirectoryInTheWay,
    /// The same, and backups would stay in it.
    BackupsInTheWay,
    /// Another run holds the lock on the destination.
    Locked,
    /// Two hard links led to different inodes: someone else renamed the first one.
    LinkReplaced,
    /// The file system called something a hole that is none.
    FalseHole,
    /// There was no answer, or no progress, for this long.
    TimedOut(Duration),
    /// What was read back is not what was written, twice over. The new file did not get its name.
    Mismatch,
    /// The same of a file that was rewritten where it is.
    MismatchInPlace,
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
    /// The file system lists names otherwise than they were given, by a rule that is not known. What is extra can't be told
    /// from what was just written.
    OtherNames,
    /// Names that were mirrored are missing since, in the source or in the destination: what is extra beside them stays until the
    /// next run.
    VanishedSince,
    /// The source's directory has changed since the run began: what only its mirror has stays until the next run, since it may have
    /// moved to a place in the source that was read before.
    MayHaveMoved,
    /// The destination takes this name of the source, and that of the entry, for one: two cases, two forms of Unicode, or dots
    /// or blanks at the end. Which of the two is there stays.
    NamesMeet(PathBuf),
    /// The destination's file system does not take the entry's name.
    NameRefused {
        /// What the kernel said.
        error: io::Error,
        /// What is wrong with the name, if that is known.
        why: Option<String>,
    },
    /// chattr(1) has closed it to changes, or the directory it is in.
    Frozen {
        /// What the kernel said.
        error: io::Error,
        /// How.
        how: Frozen,
        /// It is the directory that it is in.
        directory: bool,
    },
    /// Nothing was deleted, since it would have been this many entries.
    TooManyDeletions(u64),
    /// As much as may be deleted was, and as many entries more would have been.
    DeletionsStopped(u64),
    /// A run that was killed has left it under a temporary name, and this one does not delete.
    SetAside,
    /// With what a backup's name ends in, it would be too long.
    NameTooLong,
    /// A directory that others could have put there, or filled, is kept from them: the text tells why. What is in it was
    /// mirrored, and what is extra in it may be deleted.
    Withheld(&'static str),
    /// It is a symlink that is not followed.
    NotFollowed(Astray),
    /// A symlink on the way to what the user named belongs to somebody who is neither root nor the user who runs this.
    ForeignLink {
        /// The symlink.
        link: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// It was not begun, or not continued: the text tells why.
    Refused(String),
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Cause::Io(error) => error.source(),
            Cause::NotKept(lack) => lack.io_error().map(|error| error as _),
            Cause::KeepsFailing { why, .. } | Cause::NoRoom { why, .. } => Some(why),
            Cause::NoRing(error) | Cause::NameRefused { error, .. } | Cause::Frozen { error, .. } => {
                Some(error)
            }
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
            Cause::MismatchInPlace => return MISMATCH_IN_PLACE.into(),
            Cause::Interrupted => return "interrupted".into(),
            Cause::OtherNames => return OTHER_NAMES.into(),
            Cause::VanishedSince => return VANISHED_SINCE.into(),
            Cause::MayHaveMoved => return MAY_HAVE_MOVED.into(),
            Cause::Withheld(why) => return (*why).into(),
            Cause::NotKept(lack) => return lack.told(names),
            Cause::Refused(why) => why.clone(),
            Cause::NotFollowed(why) => why.told(names),
            Cause::ForeignLink { link, uid } => format!(
                "{} is a symlink of another user (uid {uid}), who may turn it elsewhere: name what it leads to ({} follows \
                 it all the same)",
                Escaped::path(link),
                names(Setting::InsecureLinks)
            ),
            Cause::Io(error) => error.to_string(),
            Cause::NoRoom { why, missing } => format!("{why}; {missing} bytes are missing for it"),
            Cause::KeepsFailing { why, times } => {
                format!("{why}; given up after {times} such errors in a row: DST's disk may be failing")
            }
            Cause::TimedOut(limit) => format!("timed out: no progress for {} s", limit.as_secs_f64()),
            Cause::Panic(text) => format!("internal error: {text}"),
            Cause::NoRing(error) => format!("{error}; {}", without_ring(error, names)),
            Cause::Missing(what) => {
                format!("{what} does not exist ({} makes it)", names(Setting::MakeParents))
            }
            Cause::InsideSource { by_several_paths } => inside_source(*by_several_paths, names),
            Cause::KeepsChanging { times, destination } => format!(
                "it changed while it was being read, each of {times} times: {destination} ({} takes what was read last)",
                names(Setting::TakeChanging)
            ),
            Cause::Locked => format!(
                "it is locked, by another run with {} or another program (flock(2)) ({} waits for its end)",
                names(Setting::Lock),
                names(Setting::LockWait)
            ),
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
            Cause::NameRefused { error, why } => {
                let why = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
                format!("the destination's file system does not take this name{why} ({error})")
            }
            Cause::Frozen { error, how, directory: false } => format!("{error}: in DST it is {how}"),
            Cause::Frozen { error, how, .. } => format!("{error}: the directory that it is in is {how}"),
            Cause::NamesMeet(other) => {
                format!("another name in SRC is the same name in DST: {}", Escaped::path(other))
            }
            Cause::Uncounted(error) => {
                let error = error.told(names);
                format!("nothing is deleted, since it can't be told how much it would be: {error}")
            }
            Cause::TooManyDeletions(count) => {
                let limit = names(Setting::DeleteLimit);
                format!("nothing is deleted: it would be {count}, more than {limit} allows")
            }
            Cause::DeletionsStopped(left) => {
                let limit = names(Setting::DeleteLimit);
                format!("deletions stopped at what {limit} allows: {left} more were not done")
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

pub(crate) const IN_THE_WAY: &str = "a directory that is not empty is in the way";

pub(crate) const MISMATCH: &str = "what was read back from the destination differs from what was written: the new file is \
    not in DST, which keeps the one that it had, if any";

pub(crate) const MISMATCH_IN_PLACE: &str = "what was read back from the destination differs from what was written: \
    the file in DST is not what SRC has";

pub(crate) const OTHER_NAMES: &str =
    "nothing is deleted: it lists names otherwise than they were written, or loses some meanwhile";

pub(crate) const VANISHED_SINCE: &str =
    "nothing is deleted in it until the next run: names that were mirrored have vanished since";

pub(crate) const MAY_HAVE_MOVED: &str = "nothing is deleted in it until the next run: its directory in SRC has changed since \
    this one began, and what is missing there may have moved to where SRC had been read";

pub(crate) fn inside_source(by_several_paths: bool, names: Names) -> String {
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
pub(crate) fn without_ring(error: &io::Error, names: Names) -> String {
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

pub(crate) fn nothing_shared(count: u64, shown: &str) -> String {
    match count {
        1 => format!("the only entry at its top that could be deleted is not in SRC ({shown})"),
        _ => format!("of the {count} entries at its top that could be deleted none is in SRC ({shown})"),
    }
}

impl From<NotKept> for Cause {
    fn from(lack: NotKept) -> Self {
        Cause::NotKept(Box::new(lack))
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
