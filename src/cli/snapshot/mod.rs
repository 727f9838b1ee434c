//! `ringsync snapshot`: its commands.

mod adopt;
mod diff;
mod keep;
mod list;
mod prune;
mod rebuild;
mod restore;
mod status;
mod take;
mod versions;
pub(super) mod words;

use clap::{Args, Subcommand};

pub(crate) use crate::cli::snapshot::adopt::AdoptArgs;
pub(crate) use crate::cli::snapshot::diff::DiffArgs;
pub(crate) use crate::cli::snapshot::list::ListArgs;
pub(crate) use crate::cli::snapshot::prune::PruneArgs;
pub(crate) use crate::cli::snapshot::rebuild::RebuildArgs;
pub(crate) use crate::cli::snapshot::restore::RestoreArgs;
pub(crate) use crate::cli::snapshot::status::StatusArgs;
pub(crate) use crate::cli::snapshot::take::TakeArgs;
pub(crate) use crate::cli::snapshot::versions::VersionsArgs;

/// Keep what a directory held, night by night, and share what did not change
#[derive(Debug, Args)]
#[command(after_help = "\
STORE is a directory. Each snapshot in it is a complete tree of its own, called by the time it was taken at (UTC), and \
`latest` leads to the newest. What did not change since the one before is one more hard link, and takes no room: to write \
to a file in a snapshot changes it in all that share it. rm -r of one hurts no other; `prune` does it by rules, and faster.")]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    pub(crate) command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    Take(Box<TakeArgs>),
    List(ListArgs),
    Status(StatusArgs),
    Diff(Box<DiffArgs>),
    Versions(VersionsArgs),
    Restore(Box<RestoreArgs>),
    Prune(PruneArgs),
    Rebuild(RebuildArgs),
    Adopt(AdoptArgs),
}
