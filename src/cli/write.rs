//! Options of the commands that write: how files are written, and what is shown of it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringsync::report::Reporter;
use ringsync::report::bar::Bar;
use ringsync::report::json::Json;
use ringsync::report::lines::{Lines, Verbosity};
use ringsync::{Config, Reflink};

use super::options::SHOW;

const WRITE: &str = "How files are written";

/// How files are written.
#[derive(Debug, Args)]
#[command(next_help_heading = WRITE)]
pub(crate) struct WriteArgs {
    /// Write new files under their own names at once: faster, but a kill leaves half a file
    #[arg(long)]
    no_atomic: bool,
    /// Rewrite existing files where they are, only the blocks that differ; a kill leaves a mixture
    #[arg(long)]
    inplace: bool,
    /// Keep a large file's copy that broke off (over 8 MiB), and go on there in the next run
    #[arg(long)]
    partial: bool,
    /// Have everything on stable storage before the run ends, and each file's data before its name
    #[arg(long)]
    fsync: bool,
    /// Give up on an operation that makes no progress for SECS seconds; runs on threads, without io_uring
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,
    /// Read each copied file back from the destination's storage and compare
    #[arg(long, conflicts_with = "no_hash")]
    verify: bool,
    /// Write the hashes of all files, also of those that were there, to FILE, as b3sum does
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_hash", "dry_run"])]
    manifest: Option<PathBuf>,
    /// Share extents with the source instead of copying bytes
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    reflink: ReflinkArg,
    /// Don't hash what is copied
    #[arg(long)]
    no_hash: bool,
}

/// What is shown.
#[derive(Debug, Args)]
#[command(next_help_heading = SHOW)]
pub(crate) struct ShowArgs {
    /// A line for every entry that changed; twice: for every entry
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Errors alone
    #[arg(short, long)]
    quiet: bool,
    /// A table of figures at the end
    #[arg(long)]
    stats: bool,
    /// One JSON object a line on standard output, and nothing else there
    #[arg(long, conflicts_with = "stats")]
    json: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum ReflinkArg {
    /// Where the file system can
    #[default]
    Auto,
    /// A file that can't be cloned is an error
    Always,
    /// Always copy bytes
    Never,
}

impl WriteArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.atomic = !self.no_atomic;
        config.in_place = self.inplace;
        config.partial = self.partial;
        config.fsync = self.fsync;
        config.verify = self.verify;
        config.timeout = self.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        config.manifest.clone_from(&self.manifest);
        config.hash = !self.no_hash;
        config.reflink = match self.reflink {
            ReflinkArg::Auto => Reflink::Auto,
            ReflinkArg::Always => Reflink::Always,
            ReflinkArg::Never => Reflink::Never,
        };
    }
}

impl ShowArgs {
    /// The reporter that fits the options and where the output goes.
    pub(crate) fn reporter(&self) -> Box<dyn Reporter> {
        let verbosity =
            Verbosity { quiet: self.quiet, verbose: self.verbose, stats: self.stats, itemize: false };
        if self.json {
            Box::new(Json::new(self.verbose > 1))
        } else if !self.quiet && std::io::stderr().is_terminal() {
            Box::new(Bar::new(verbosity))
        } else {
            Box::new(Lines::new(verbosity))
        }
    }
}
