//! `ringsync sync`: its options, grouped by purpose.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringsync::report::Reporter;
use ringsync::report::bar::Bar;
use ringsync::report::json::Json;
use ringsync::report::lines::{Lines, Verbosity};
use ringsync::{Config, Reflink};

use super::old::{BackupArgs, DeleteArgs};
use super::options::{CompareArgs, EngineArgs, KeepArgs, SHOW};
use super::select::SelectArgs;

const WRITE: &str = "How files are written";

/// Make DST hold what SRC holds: contents, types, modes, owners, times, links, holes and attributes.
///
/// A second run copies only what changed. What DST has beyond SRC stays. A trailing slash changes nothing.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// The directory, or the file, to copy
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The directory that shall hold the same; for a file, its new name or a directory to put it in
    #[arg(value_name = "DST")]
    destination: PathBuf,

    /// Change nothing, report what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Make DST's missing parent directories
    #[arg(long)]
    mkpath: bool,

    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    compare: CompareArgs,
    #[command(flatten)]
    delete: DeleteArgs,
    #[command(flatten)]
    backup: BackupArgs,
    #[command(flatten)]
    keep: KeepArgs,

    /// Write new files under their own names at once: faster, but a kill leaves half a file
    #[arg(long, help_heading = WRITE)]
    no_atomic: bool,
    /// Rewrite existing files where they are, only the blocks that differ; a kill leaves a mixture
    #[arg(long, help_heading = WRITE)]
    inplace: bool,
    /// Keep a large file's copy that broke off (over 8 MiB), and go on there in the next run
    #[arg(long, help_heading = WRITE)]
    partial: bool,
    /// Have everything on stable storage before the run ends, and each file's data before its name
    #[arg(long, help_heading = WRITE)]
    fsync: bool,
    /// Give up on an operation that makes no progress for SECS seconds; runs on threads, without io_uring
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..), help_heading = WRITE)]
    timeout: Option<u32>,
    /// Read each copied file back from the destination's storage and compare
    #[arg(long, help_heading = WRITE, conflicts_with = "no_hash")]
    verify: bool,
    /// Write the hashes of all files, also of those that were there, to FILE, as b3sum does
    #[arg(long, value_name = "FILE", help_heading = WRITE, conflicts_with_all = ["no_hash", "dry_run"])]
    manifest: Option<PathBuf>,
    /// Share extents with the source instead of copying bytes
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, help_heading = WRITE)]
    reflink: ReflinkArg,
    /// Don't hash what is copied
    #[arg(long, help_heading = WRITE)]
    no_hash: bool,

    /// A line for every entry that changed; twice: for every entry
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = SHOW, conflicts_with = "quiet")]
    verbose: u8,
    /// Errors alone
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

impl SyncArgs {
    /// The options, resolved.
    ///
    /// # Errors
    /// When a rule is none, or a file of rules or paths can't be read.
    pub(crate) fn config(&self) -> ringsync::Result<Config> {
        let mut config = Config::new(&self.source, &self.destination);
        config.make_parents = self.mkpath;
        config.dry_run = self.dry_run;
        self.select.apply(&mut config)?;
        self.delete.apply(&mut config);
        self.backup.apply(&mut config)?;
        self.compare.apply(&mut config);
        self.keep.apply(&mut config);
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
        self.engine.apply(&mut config);
        Ok(config)
    }

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
