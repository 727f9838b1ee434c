//! `ringsync snapshot versions`: its options.

use std::path::PathBuf;

use clap::Args;

use crate::cli::values::local::local;

/// Tell which versions of a file a store has
#[derive(Debug, Args)]
#[command(
    after_help = "A line for each distinct version, the oldest first: when its first snapshot was begun, its size and \
modification time, the first digits of its BLAKE3 hash (all with --json), and the first and the last snapshot that have it, with their number. Files are told apart by \
their contents, symlinks by where they lead, directories by their metadata.\n\n\
Exit codes: 0, 1 usage, 3 STORE can't be used, 20 interrupted, 23 no snapshot has PATH, or something could not be read."
)]
pub(crate) struct VersionsArgs {
    /// The directory that holds the snapshots
    #[arg(value_name = "STORE", value_parser = local())]
    pub(crate) store: PathBuf,
    /// A path that begins at the top of a snapshot
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}
