//! `ringsync check`: its options.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::compare::CompareArgs;
use crate::cli::args::differences::DifferencesArgs;
use crate::cli::args::list::ListArgs;
use crate::cli::values::local::local;
use ringsync::Config;
use ringsync::event::Reporter;

/// Compare two trees and write nothing
#[derive(Debug, Args)]
#[command(
    after_help = "Prints a line for every difference, as rsync -i does: YXcstpoguax and a path. Y is what a sync \
    would do: > copy a file, c make or change something else, h make a hard link, . mend metadata alone. X is the type: \
    file, directory, symLink, Device, Special (FIFO, socket). The letters stand for contents, size, time, permissions, \
    owner, group, ACL and extended attributes; + is new. What only DST has is shown as *deleting.\n\n\
    Exit codes: 0 no difference, 1 usage, 3 SRC, DST or the engine can't be used, 20 interrupted, 23 they differ, or \
    something could not be read."
)]
pub(crate) struct CheckArgs {
    /// The directory, or the file, as it should be
    #[arg(value_name = "SRC", value_parser = local())]
    source: PathBuf,
    /// The one that should be the same
    #[arg(value_name = "DST", value_parser = local())]
    destination: PathBuf,

    #[command(flatten)]
    compare: CompareArgs,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    differences: DifferencesArgs,
}

impl CheckArgs {
    /// The options, resolved.
    ///
    /// # Errors
    /// When a rule is none, or a file of rules or paths can't be read.
    pub(crate) fn config(&self) -> ringsync::Result<Config> {
        let mut config = Config::new(&self.source, &self.destination);
        self.differences.apply(&mut config)?;
        self.list.apply(&mut config)?;
        self.compare.apply(&mut config);
        Ok(config)
    }

    /// The reporter that fits the options and where the output goes.
    pub(crate) fn reporter(&self) -> Box<dyn Reporter> {
        self.differences.reporter()
    }
}
