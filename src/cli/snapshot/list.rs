//! `ringsync snapshot list`: its options.

use std::path::PathBuf;

use clap::Args;

use crate::cli::values::local::local;

/// List the snapshots of a store
#[derive(Debug, Args)]
#[command(
    after_help = "LOCAL TIME is when a snapshot was begun, by the machine's calendar or that of TZ; its name has it in UTC. `rebuilt` are those of which no run is known, from `rebuild` or `adopt`. NEW are the bytes that were copied for a snapshot, SHARED those \
that are linked to earlier ones or cloned from them, ALL those of its files, each name of one counted.\n\n\
Exit codes: 0, 1 usage, 3 STORE can't be used."
)]
pub(crate) struct ListArgs {
    /// The directory that holds the snapshots
    #[arg(value_name = "STORE", value_parser = local())]
    pub(crate) store: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}
