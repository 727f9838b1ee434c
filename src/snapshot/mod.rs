//! `ringsync snapshot`: runs its commands, and says what came of them.

mod adopt;
mod diff;
mod list;
mod missing;
mod prune;
mod rebuild;
mod restore;
mod status;
mod take;
mod versions;

use std::process::ExitCode;

use crate::cli::SnapshotArgs;
use crate::cli::SnapshotCommand;

pub(crate) fn snapshot(arguments: SnapshotArgs) -> anyhow::Result<ExitCode> {
    match arguments.command {
        SnapshotCommand::Take(arguments) => take::take(&arguments),
        SnapshotCommand::List(arguments) => list::list(&arguments),
        SnapshotCommand::Status(arguments) => status::status(&arguments),
        SnapshotCommand::Diff(arguments) => diff::diff(&arguments),
        SnapshotCommand::Versions(arguments) => versions::versions(&arguments),
        SnapshotCommand::Restore(arguments) => restore::restore(&arguments),
        SnapshotCommand::Prune(arguments) => prune::prune(&arguments),
        SnapshotCommand::Rebuild(arguments) => rebuild::rebuild(&arguments),
        SnapshotCommand::Adopt(arguments) => adopt::adopt(&arguments),
    }
}
