//! The command line: clap's definition, and its translation into a [`Config`](ringsync::Config). Nothing past this
//! module knows of clap.

pub(crate) mod args;
mod bench;
mod check;
mod copy;
mod doctor;
mod generate;
mod like_rsync;
mod mistakes;
mod rsync;
mod snapshot;
mod sync;
pub(crate) mod values;
mod verify;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

pub(crate) use crate::cli::args::show::Closing;
pub(crate) use crate::cli::bench::BenchArgs;
pub(crate) use crate::cli::check::CheckArgs;
pub(crate) use crate::cli::copy::CopyArgs;
pub(crate) use crate::cli::doctor::DoctorArgs;
pub(crate) use crate::cli::generate::{CompletionsArgs, ManArgs};
pub(crate) use crate::cli::like_rsync::RsyncArgs;
pub(crate) use crate::cli::snapshot::{
    AdoptArgs, DiffArgs, ListArgs as SnapshotListArgs, PruneArgs, RebuildArgs, RestoreArgs, SnapshotArgs,
    SnapshotCommand, StatusArgs, TakeArgs, VersionsArgs,
};
pub(crate) use crate::cli::sync::SyncArgs;
pub(crate) use crate::cli::verify::VerifyArgs;

/// Mirror files and directories, with io_uring for what waits for a disk
///
/// Opens, stats, reads and large writes that wait for a disk go through the ring, and so does fsync, of files and
/// directories. What the page cache answers is done in place, which is quicker, and so is what io_uring has no
/// operation for: reading directories, chmod, chown, times, clones.
#[derive(Debug, Parser)]
#[command(
    name = "ringsync",
    version,
    max_term_width = 100,
    infer_subcommands = false,
    args_override_self = true
)]
#[command(after_help = "Exit codes: 0 all done, 1 usage, 3 what was named or the engine can't be used, \
    11 no space left or not flushed, 20 interrupted, 23 some files failed (check: or differ), \
    24 some source files vanished, 25 too much to delete, 30 timed out.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The command line of this process. `sync -h`, or `snapshot take -h`, with nothing else asks for help, as rsync has it;
    /// with anything else it asks for numbers with units.
    ///
    /// # Errors
    /// When it can't be understood; also when help or the version is asked for.
    pub(crate) fn of_process() -> Result<Self, clap::Error> {
        let mut arguments: Vec<OsString> = std::env::args_os().collect();
        let (command, option) = match &mut arguments[..] {
            [_, command, option] => (command, option),
            [_, snapshot, command, option] if snapshot == "snapshot" => (command, option),
            _ => return Cli::try_parse_from(arguments).map_err(mistakes::explain),
        };
        let takes_it = ["sync", "copy", "take", "restore"].iter().any(|name| command == name);
        if takes_it && option == "-h" {
            *option = "--help".into();
        }
        Cli::try_parse_from(arguments).map_err(mistakes::explain)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Sync(Box<SyncArgs>),
    Copy(Box<CopyArgs>),
    Check(Box<CheckArgs>),
    Verify(VerifyArgs),
    Rsync(RsyncArgs),
    Snapshot(SnapshotArgs),
    Doctor(DoctorArgs),
    Bench(Box<BenchArgs>),
    Completions(CompletionsArgs),
    Man(ManArgs),
}
