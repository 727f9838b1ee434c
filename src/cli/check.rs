//! `ringsync check`: its options.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use ringsync::Config;
use ringsync::report::Reporter;
use ringsync::report::bar::Bar;
use ringsync::report::json::Json;
use ringsync::report::lines::{Lines, Verbosity};

use super::options::{EngineArgs, KeepArgs, SHOW};

/// Compare two trees, or two files, and write nothing.
///
/// A line for every difference, in the words of `rsync --itemize-changes`: what a sync would do, and what DST has beyond
/// SRC as `*deleting`. The exit code is 0 if there is none, and 23 otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
Each line is YXcstpoguax and a path. Y: > contents differ, c to be made or changed, h to be a hard link,\n\
. only metadata differ. X: f file, d directory, L symlink, D device, S FIFO or socket. Then what differs:\n\
contents, size, time, permissions, owner, group, ACL, xattrs; all + is new, all blank is a link alone.")]
pub(crate) struct CheckArgs {
    /// The directory, or the file, as it should be
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The one that should be the same
    #[arg(value_name = "DST")]
    destination: PathBuf,

    /// Compare files of one size by their contents, not by their times
    #[arg(short, long)]
    checksum: bool,

    #[command(flatten)]
    keep: KeepArgs,

    /// Errors alone: the exit code tells
    #[arg(short, long, help_heading = SHOW)]
    quiet: bool,
    /// A table of figures at the end
    #[arg(long, help_heading = SHOW)]
    stats: bool,
    /// One JSON object a line on standard output, and nothing else there
    #[arg(long, help_heading = SHOW, conflicts_with = "stats")]
    json: bool,

    #[command(flatten)]
    engine: EngineArgs,
}

impl CheckArgs {
    /// The options, resolved.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(&self.source, &self.destination);
        config.checksum = self.checksum;
        self.keep.apply(&mut config);
        self.engine.apply(&mut config);
        config
    }

    /// The reporter that fits the options and where the output goes.
    pub(crate) fn reporter(&self) -> Box<dyn Reporter> {
        let verbosity = Verbosity { quiet: self.quiet, verbose: 0, stats: self.stats, itemize: !self.quiet };
        if self.json {
            Box::new(Json::new(false))
        } else if !self.quiet && std::io::stderr().is_terminal() {
            Box::new(Bar::new(verbosity))
        } else {
            Box::new(Lines::new(verbosity))
        }
    }
}
