//! The command line: clap's definition, and its translation into a [`Config`](ringsync::Config). Nothing past this
//! module knows of clap.

mod bench;
mod check;
mod old;
mod options;
mod owner;
mod rate;
mod select;
mod size;
mod sync;
mod verify;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

pub(crate) use bench::BenchArgs;
pub(crate) use check::CheckArgs;
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

impl Cli {
    /// The command line of this process. `sync -h` with nothing else asks for help, as rsync has it; with anything else it
    /// asks for numbers with units.
    pub(crate) fn of_process() -> Result<Self, clap::Error> {
        let mut arguments: Vec<OsString> = std::env::args_os().collect();
        if let [_, command, option] = &mut arguments[..]
            && command == "sync"
            && option == "-h"
        {
            *option = "--help".into();
        }
        Cli::try_parse_from(arguments)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make DST hold what SRC holds
    Sync(Box<SyncArgs>),
    /// Check files against a manifest of their hashes
    Verify(VerifyArgs),
    /// Compare two trees and write nothing
    Check(Box<CheckArgs>),
    /// Compare ringsync with cp, rsync and others on this machine
    Bench(Box<BenchArgs>),
}
