//! `ringsync snapshot rebuild`: its options.

use std::path::PathBuf;

use clap::Args;

use crate::cli::values::local::local;
use ringsync::store::found::Rebuild;

/// Make the record of a store again from what lies there
#[derive(Debug, Args)]
#[command(after_help = "\
What can still be read of the record is kept. Every other directory in STORE becomes a snapshot: by the time it is called by, or \
as a named one. They are counted for that, and marked as rebuilt: whether something is missing in them is not known. A directory \
that was not taken with --name, as far as is known, becomes the oldest one, and an empty one is left out, unless NAME is it. What \
belongs to other programs is left alone: see adopt.\n\n\
Exit codes: 0, 1 usage, 3 STORE can't be used, or its record is a newer program's, 20 interrupted (nothing is written), 23 \
something could not be counted.")]
pub(crate) struct RebuildArgs {
    /// The directory that holds the snapshots
    #[arg(value_name = "STORE", value_parser = local())]
    store: PathBuf,
    /// Directories in it that are snapshots: take these in, and no others
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write nothing, tell what would be added
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another run is at work in STORE
    #[arg(long)]
    wait: bool,
}

impl RebuildArgs {
    /// The options, resolved.
    pub(crate) fn rebuild(&self) -> Rebuild {
        Rebuild::new(&self.store).with(|rebuild| {
            rebuild.names.clone_from(&self.names);
            rebuild.dry_run = self.dry_run;
            rebuild.wait = self.wait;
        })
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}
