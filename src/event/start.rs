//! How a run was set up, and what it is for.

use std::path::PathBuf;

use crate::event::Action;
use crate::options::Engine;

/// A tree to link to that does not exist.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Missing {
    /// Where it should be.
    pub path: PathBuf,
    /// Other trees lie beside it: its name is more likely wrong than it is the first of a series.
    pub has_others: bool,
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
    /// Why the engine is not the one hoped for.
    pub notice: Option<String>,
    /// Trees to link to that do not exist.
    pub missing: Vec<Missing>,
    /// Nothing is changed.
    pub dry_run: bool,
    /// What is made is flushed to stable storage.
    pub fsync: bool,
    /// The trees are only compared.
    pub check: bool,
}

impl Start {
    /// What kind of run it is.
    pub fn mode(&self) -> Mode {
        match self {
            Start { check: true, .. } => Mode::Check,
            Start { dry_run: true, .. } => Mode::DryRun,
            _ => Mode::Sync,
        }
    }
}

/// What a run is for, and so the words that tell of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// The destination becomes what the source is.
    #[default]
    Sync,
    /// It is told what that would take.
    DryRun,
    /// It is told what differs.
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
            Action::Failed | Action::Skipped => action.name(),
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
