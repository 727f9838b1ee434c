//! `ringsync snapshot diff`: its options.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::cli::args::differences::DifferencesArgs;
use crate::cli::values::local::local;
use ringsync::event::Reporter;
use ringsync::store::look::Diff;
use ringsync::{Compare, CompareBy};

/// Tell what changed from one snapshot to another
#[derive(Debug, Args)]
#[command(
    after_help = "Prints a line for each difference, as check does: what would make A equal to B, in the order of paths. What B \
lacks is shown as *deleting. Names that share an inode in both are equal, and are not read.\n\n\
Exit codes: 0 no difference, 1 usage, 3 STORE can't be used or has no such snapshot, 20 interrupted, 23 they differ, or \
something could not be read."
)]
pub(crate) struct DiffArgs {
    /// The directory that holds the snapshots
    #[arg(value_name = "STORE", value_parser = local())]
    store: PathBuf,
    /// The name of the snapshot before, or latest
    #[arg(value_name = "A")]
    from: OsString,
    /// The name of the one after
    #[arg(value_name = "B")]
    to: OsString,
    /// Compare files by contents, not by size and time
    #[arg(short, long)]
    checksum: bool,

    #[command(flatten)]
    differences: DifferencesArgs,
}

impl DiffArgs {
    /// The options, resolved.
    ///
    /// # Errors
    /// When there are no such snapshots, a rule is none, or a file of rules can't be read.
    pub(crate) fn diff(&self) -> ringsync::Result<Diff> {
        let mut diff = Diff::new(&self.store, &self.from, &self.to)?;
        let config = &mut diff.run;
        self.differences.apply(config)?;
        if self.checksum {
            config.compare = Compare::default().with(|compare| compare.by = CompareBy::Contents);
        }
        Ok(diff)
    }

    /// The reporter that fits the options and where the output goes.
    pub(crate) fn reporter(&self) -> Box<dyn Reporter> {
        self.differences.reporter()
    }
}
