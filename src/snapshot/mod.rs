//! `ringsync snapshot`: runs its commands, and says what came of them.

mod list;
mod prune;
mod take;

use std::process::ExitCode;

use crate::cli::SnapshotArgs;
use crate::cli::SnapshotCommand;

pub(crate) fn snapshot(arguments: SnapshotArgs) -> anyhow::Result<ExitCode> {
    match arguments.command {
        SnapshotCommand::Take(arguments) => take::take(&arguments),
        SnapshotCommand::List(arguments) => list::list(&arguments),
        SnapshotCommand::Prune(arguments) => prune::prune(&arguments),
    }
}
