//! How a run was set up, and what it is for.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Cause, Error, Names, Setting};
use crate::event::Action;
use crate::options::{Engine, Reuse};
use crate::text::Escaped;

/// A tree of an earlier run that does not exist.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Missing {
    /// Where it should be.
    pub path: PathBuf,
    /// Other trees lie beside it: its name is more likely wrong than it is the first of a series.
    pub has_others: bool,
    /// What it was for.
    pub reuse: Reuse,
}

impl Missing {
    /// Of a tree to link to that should be there, with no others beside it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Missing { path: path.into(), has_others: false, reuse: Reuse::Link }
    }
}

/// Where a rule came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleOrigin {
    /// It was given itself: by which setting.
    Setting(Setting),
    /// A file of rules; `-` is standard input.
    File(PathBuf),
}

impl RuleOrigin {
    fn told(&self, names: Names) -> String {
        match self {
            RuleOrigin::Setting(setting) => names(*setting).to_owned(),
            RuleOrigin::File(path) if path.as_os_str() == "-" => "standard input".to_owned(),
            RuleOrigin::File(path) => Escaped::path(path).to_string(),
        }
    }
}

/// What is not as it was hoped for, and what is done instead.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// There is no ring: this many threads make plain system calls.
    NoRings {
        /// How many there are.
        threads: usize,
        /// Why.
        why: Cause,
    },
    /// Not every thread has a ring: the others make plain system calls.
    FewRings {
        /// How many have one.
        rings: usize,
        /// Of how many.
        threads: usize,
        /// Why.
        why: Cause,
    },
    /// There is no machine key: no later run will know what this one leaves if it is killed.
    NoKey(Error),
    /// Root has not all of root's power over owners: why. Those that it can't give are left as for a user without privilege,
    /// and so are attributes in `trusted.*` and `security.*`.
    LimitedRoot(&'static str),
    /// Root is nobody on a file system of the destination, and is treated as a user without privilege: there is an entry.
    SquashedRoot(PathBuf),
    /// A file system of the destination rounds times. What it makes of a time counts as that time.
    RoundedTimes {
        /// An entry with such a time.
        path: PathBuf,
        /// Its source's time, in UTC, and what became of it.
        times: (String, String),
    },
    /// Directories can't be flushed: what is new in them may have no name after a power cut.
    NamesNotFlushed {
        /// One of them.
        path: PathBuf,
        /// Why it can't be.
        why: Cause,
    },
    /// File systems can't be flushed one by one. All of the machine's were, which tells of no error.
    FlushedAtLarge {
        /// Why they can't be.
        why: Cause,
    },
    /// What trees of earlier runs have can't be linked to: all of it is copied.
    NoLinks {
        /// The first entry that would have been a link.
        path: PathBuf,
        /// Why it is none.
        why: Cause,
    },
    /// A directory of the source is not read, since it is a subvolume of the same file system: its path.
    Subvolume(PathBuf),
    /// As many more subvolumes are not read.
    MoreSubvolumes(u64),
    /// Snapshots of what the source has are not read.
    Snapshots {
        /// One of them.
        first: PathBuf,
        /// How many there are.
        count: u64,
    },
    /// What a directory of the destination has stays: the source's lies on a file system that is not read.
    Kept {
        /// The directory.
        path: PathBuf,
        /// How many entries it has.
        entries: u64,
    },
    /// A rule matches nothing, since it begins with the path of the source, where a leading slash stands for the source.
    MisplacedRule {
        /// As it is written.
        rule: String,
        /// Where it came from.
        origin: RuleOrigin,
        /// The pattern to be written instead.
        instead: String,
    },
    /// A rule has decided nothing in the whole run.
    IdleRule {
        /// As it is written.
        rule: String,
        /// Where it came from.
        origin: RuleOrigin,
    },
    /// As many more rules have decided nothing.
    MoreIdleRules(u64),
}

impl Notice {
    /// Whether it is only for those who look for what a run does in detail.
    pub fn is_detail(&self) -> bool {
        matches!(self, Notice::IdleRule { .. } | Notice::MoreIdleRules(_))
    }

    /// The text, with settings called by these names.
    pub fn told(&self, names: Names) -> String {
        match self {
            Notice::NoRings { threads, why } => {
                format!("no io_uring, using {threads} threads: {}", why.told(names))
            }
            Notice::FewRings { rings, threads, why } => {
                let why = why.told(names);
                format!("io_uring on {rings} of {threads} threads, plain system calls on the others: {why}")
            }
            Notice::LimitedRoot(why) => format!(
                "root has no power over owners here: {why}. Owners that it can't give are left as a user without \
                 privilege leaves them"
            ),
            Notice::SquashedRoot(path) => format!(
                "root has no power over owners on the destination's file system (root_squash): {} and others are left as \
                 a user without privilege leaves them",
                Escaped::path(path)
            ),
            Notice::RoundedTimes { path, times: (want, have) } => format!(
                "the destination's file system rounds times: {want} became {have} for {}. What it can keep is compared",
                Escaped::path(path)
            ),
            Notice::NamesNotFlushed { path, why } => format!(
                "directory {} can't be flushed ({}): new entries may be without their names after a power cut",
                Escaped::path(path),
                why.told(names)
            ),
            Notice::FlushedAtLarge { why } => format!(
                "the destination's file system can't be flushed by itself ({}): all were (sync), which tells of no error",
                why.told(names)
            ),
            Notice::NoLinks { path, why } => format!(
                "{} and all that follows is copied, not linked to {}: {}",
                Escaped::path(path),
                names(Setting::LinkDest),
                why.told(names)
            ),
            Notice::NoKey(error) => {
                let error = error.told(names);
                format!("what a killed run leaves can't be told from other files later: {error}")
            }
            Notice::Subvolume(_)
            | Notice::MoreSubvolumes(_)
            | Notice::Snapshots { .. }
            | Notice::Kept { .. }
            | Notice::MisplacedRule { .. }
            | Notice::IdleRule { .. }
            | Notice::MoreIdleRules(_) => self.told_of_selection(names).unwrap_or_default(),
        }
    }

    /// The text of one about what is read of the source, and what stays in the destination for that.
    fn told_of_selection(&self, names: Names) -> Option<String> {
        Some(match self {
            Notice::Subvolume(path) => format!(
                "{} is a subvolume of the same file system, and is not read: {} enters it",
                Escaped::path(path),
                names(Setting::CrossSubvolumes)
            ),
            Notice::MoreSubvolumes(1) => "one more subvolume is not read".to_owned(),
            Notice::MoreSubvolumes(more) => format!("{more} more subvolumes are not read"),
            Notice::Snapshots { first, count: 1 } => {
                format!("{} is a snapshot of what SRC has, and is not read", Escaped::path(first))
            }
            Notice::Snapshots { first, count } => {
                format!(
                    "{} and {} more are snapshots of what SRC has, and are not read",
                    Escaped::path(first),
                    count - 1
                )
            }
            Notice::Kept { path, entries } => format!(
                "{} keeps what it has ({entries} {}), since {} does not read it in SRC",
                Escaped::path(path),
                if *entries == 1 { "entry" } else { "entries" },
                names(Setting::OneFileSystem)
            ),
            Notice::MisplacedRule { rule, origin, instead } => format!(
                "the rule {rule} ({}) matches nothing: it begins with the path of SRC, and / stands for SRC in a rule. Write \
                 {instead}",
                origin.told(names)
            ),
            Notice::IdleRule { rule, origin } => {
                let origin = origin.told(names);
                format!("the rule {rule} ({origin}) has matched nothing that earlier rules had left to it")
            }
            Notice::MoreIdleRules(1) => "one more rule has matched nothing".to_owned(),
            Notice::MoreIdleRules(more) => format!("{more} more rules have matched nothing"),
            _ => return None,
        })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Setting::field))
    }
}

/// How a run was set up.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start {
    /// The engine in use, never [`Engine::Auto`].
    pub engine: Engine,
    /// Threads that copy, to begin with: rings may join.
    pub threads: usize,
    /// Copy tasks a thread.
    pub tasks: usize,
    /// What is not as it was hoped for.
    pub notices: Vec<Notice>,
    /// Trees of earlier runs that do not exist.
    pub missing: Vec<Missing>,
    /// What kind of run it is.
    pub mode: Mode,
    /// What is made is flushed to stable storage.
    pub fsync: bool,
    /// How the files that earlier trees have come from there, if any such trees were named.
    pub reuse: Option<Reuse>,
}

impl Start {
    /// Of a run of this kind with one thread and one task, of which there is nothing else to tell.
    pub fn new(engine: Engine, mode: Mode) -> Self {
        let (notices, missing) = (Vec::new(), Vec::new());
        Start { engine, threads: 1, tasks: 1, notices, missing, mode, fsync: false, reuse: None }
    }
}

/// What a run is for, and so the words that tell of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// The destination becomes what the source is.
    #[default]
    Sync,
    /// What that would take is reported.
    DryRun,
    /// What differs is reported.
    Check,
}

impl Mode {
    /// How many entries are what, in one word.
    pub fn word(self, action: Action) -> &'static str {
        match action {
            _ if self != Mode::Check => action.name(),
            Action::Created => "missing",
            Action::Updated => "different",
            Action::Metadata => "different in metadata",
            Action::Linked => "linked otherwise",
            Action::Deleted => "extra",
            Action::Unchanged => "equal",
            Action::Failed | Action::Skipped | Action::Vanished => action.name(),
        }
    }

    /// What a summary begins with.
    pub fn opening(self) -> &'static str {
        match self {
            Mode::DryRun => "dry run: ",
            Mode::Sync | Mode::Check => "",
        }
    }
}
