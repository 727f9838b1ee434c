//! The command line: clap's definition, and its translation into a [`Config`](ringsync::Config). Nothing past this
//! module knows of clap.

mod check;
mod copy;
mod options;
mod owner;
mod select;
mod size;
mod sync;
mod verify;
mod write;

use clap::{Parser, Subcommand};

pub(crate) use check::CheckArgs;
pub(crate) use copy::CopyArgs;
pub(crate) use sync::SyncArgs;
pub(crate) use verify::VerifyArgs;

/// Mirror files and directories through io_uring
#[derive(Debug, Parser)]
#[command(name = "ringsync", version, max_term_width = 100, infer_subcommands = false)]
#[command(after_help = "Exit codes: 0 all done, 1 usage, 3 what was named or the engine can't be used, \
    11 no space left or not flushed, 20 interrupted, 23 some files failed (check: or differ), \
    24 some source files vanished, 30 timed out.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make DST hold what SRC holds
    Sync(SyncArgs),
    // Without a word here: its own help has more to say.
    Copy(CopyArgs),
    /// Check files against a manifest of their hashes
    Verify(VerifyArgs),
    /// Compare two trees and write nothing
    Check(CheckArgs),
}
