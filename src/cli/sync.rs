//! `ringsync sync`: its options, grouped by purpose.

use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringsync::report::bar::Bar;
use ringsync::report::format::Format;
use ringsync::report::json::Json;
use ringsync::report::lines::{Lines, Verbosity};
use ringsync::report::log::Log;
use ringsync::report::ticker::Ticker;
use ringsync::report::{Both, Reporter};
use ringsync::{Config, Reflink};

use super::old::{BackupArgs, DeleteArgs};
use super::options::{CompareArgs, EngineArgs, KeepArgs, SHOW, SPEED, figures};
use super::rate::bytes_a_second;
use super::select::SelectArgs;

const WRITE: &str = "How files are written";

/// Make DST hold what SRC holds
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "The first run copies, later ones copy what changed. All that a file has is \
    kept, as with rsync -aHAX. What DST has beyond SRC stays, unless --delete is given. A trailing slash changes nothing: DST \
    becomes what SRC is.\n\n\
    Exit codes: 0 all done, 1 usage, 3 SRC or DST can't be used, 11 no space left or not flushed, 20 interrupted, 23 some \
    files failed, 24 some source files vanished, 25 nothing deleted (it would be too much, or SRC is empty), 30 timed out."
)]
pub(crate) struct SyncArgs {
    /// The directory, or the file, to copy
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The directory that shall hold the same; for a file, its new name or where to put it
    #[arg(value_name = "DST")]
    destination: PathBuf,

    /// Change nothing, tell what would be done (with -v or -i)
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Make DST's missing parent directories
    #[arg(long)]
    mkpath: bool,

    /// Print help (as -h alone does)
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

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

    /// Write new files under their own names: faster, but a kill leaves half a file
    #[arg(long, help_heading = WRITE)]
    no_atomic: bool,
    /// Rewrite files where they are, only blocks that differ; a kill leaves a mixture
    #[arg(long, help_heading = WRITE)]
    inplace: bool,
    /// Keep what was written of a large file, and go on there in the next run
    #[arg(long, help_heading = WRITE)]
    partial: bool,
    /// Have all on stable storage before the run ends, and data before names
    #[arg(long, help_heading = WRITE)]
    fsync: bool,
    /// Give up on what hangs for SECS seconds, and go on with the rest (without io_uring)
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..), help_heading = WRITE)]
    timeout: Option<u32>,
    /// Read each copied file back from DST's storage and compare
    #[arg(long, help_heading = WRITE, conflicts_with = "no_hash")]
    verify: bool,
    /// Write the hashes of all files in DST to FILE, as b3sum does
    #[arg(long, value_name = "FILE", help_heading = WRITE, conflicts_with_all = ["no_hash", "dry_run"])]
    manifest: Option<PathBuf>,
    /// Share blocks with SRC: auto where the file system can, always or fail
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, help_heading = WRITE)]
    reflink: ReflinkArg,
    /// Don't hash what is copied
    #[arg(long, help_heading = WRITE)]
    no_hash: bool,

    /// A line for every entry that changed; twice: for every entry
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = SHOW, conflicts_with = "quiet")]
    verbose: u8,
    /// The same with what changed in eleven letters, as rsync -i has it
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = SHOW, conflicts_with_all = ["quiet", "json"])]
    itemize_changes: u8,
    /// The same as FORMAT says: %i %n %L %f %l %b %M %t %B %U %G %o %p %%
    #[arg(long, value_name = "FORMAT", help_heading = SHOW, conflicts_with_all = ["quiet", "json"])]
    out_format: Option<Format>,
    /// Append what is done to FILE, a line each
    #[arg(long, value_name = "FILE", help_heading = SHOW)]
    log_file: Option<PathBuf>,
    /// Show sizes with units, as is done on a terminal
    #[arg(short, long, help_heading = SHOW, overrides_with_all = ["human_readable", "no_human_readable"])]
    human_readable: bool,
    /// Show plain numbers, on a terminal too
    #[arg(long, help_heading = SHOW, overrides_with = "human_readable")]
    no_human_readable: bool,
    /// Show how far the run is: a display on a terminal, else a line a second
    #[arg(long, help_heading = SHOW, overrides_with = "no_progress")]
    progress: bool,
    /// No display
    #[arg(long, help_heading = SHOW, overrides_with = "progress")]
    no_progress: bool,
    /// The same as --partial --progress
    #[arg(short = 'P', help_heading = SHOW)]
    partial_progress: bool,
    /// Errors alone
    #[arg(short, long, help_heading = SHOW)]
    quiet: bool,
    /// A table of figures at the end
    #[arg(long, help_heading = SHOW)]
    stats: bool,
    /// One JSON object a line on standard output
    #[arg(long, help_heading = SHOW, conflicts_with = "stats")]
    json: bool,

    /// Read no more than RATE a second: KiB, or 500K, 1.5M, 2GB
    #[arg(long, value_name = "RATE", value_parser = bytes_a_second, help_heading = SPEED)]
    bwlimit: Option<u64>,

    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum ReflinkArg {
    // No help of their own, as with the engine's.
    #[default]
    Auto,
    Always,
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
        config.partial = self.partial || self.partial_progress;
        config.fsync = self.fsync;
        config.verify = self.verify;
        config.timeout = self.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        config.manifest.clone_from(&self.manifest);
        config.details =
            self.itemize_changes > 0 || self.json || self.out_format.is_some() || self.log_file.is_some();
        config.bandwidth = self.bwlimit.and_then(NonZeroU64::new);
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
    ///
    /// # Errors
    /// When the log can't be opened.
    pub(crate) fn reporter(&self) -> ringsync::Result<Box<dyn Reporter>> {
        let shown = self.display();
        let Some(path) = &self.log_file else { return Ok(shown) };
        let log = Log::open(path, &self.source, &self.destination)?;
        Ok(Box::new(Both(shown, Box::new(log))))
    }

    fn display(&self) -> Box<dyn Reporter> {
        let verbosity = self.verbosity();
        let progress = (self.progress || self.partial_progress) && !self.no_progress;
        let terminal = io::stderr().is_terminal();
        let figures = figures(self.human_readable, self.no_human_readable, io::stderr());
        let lines: Box<dyn Reporter> = match self.json {
            true => Box::new(Json::new(self.verbose > 1)),
            false if terminal && !self.no_progress && (progress || !self.quiet) => {
                return Box::new(Bar::new(verbosity, figures));
            }
            false => Box::new(Lines::new(verbosity)),
        };
        if progress { Box::new(Both(lines, Box::new(Ticker::new(figures)))) } else { lines }
    }

    fn verbosity(&self) -> Verbosity {
        Verbosity {
            quiet: self.quiet,
            verbose: self.verbose,
            stats: self.stats,
            itemize: self.itemize_changes,
            format: self.out_format.clone().map(|format| format.of(&self.source)),
            figures: figures(self.human_readable, self.no_human_readable, io::stdout()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn config(options: &[&str]) -> ringsync::Config {
        let arguments = [&["ringsync", "sync"], options, &["SRC", "DST"]].concat();
        match Cli::try_parse_from(arguments).unwrap().command {
            Command::Sync(arguments) => arguments.config().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn p_keeps_partial_copies_whatever_is_shown() {
        assert!(config(&["-P"]).partial && config(&["-P", "--no-progress"]).partial);
        assert!(!config(&["--progress"]).partial && !config(&[]).partial);
    }

    #[test]
    fn details_are_found_out_for_those_who_show_them() {
        for options in [&["-i"][..], &["--out-format=%n"], &["--log-file=log"], &["--json"], &["-hh", "-ii"]]
        {
            assert!(config(options).details, "{options:?}");
        }
        assert!(!config(&["-vv", "--stats"]).details);
    }

    #[test]
    fn a_rate_of_zero_is_none() {
        assert_eq!(config(&["--bwlimit=0"]).bandwidth, None);
        assert_eq!(config(&["--bwlimit=1.5K"]).bandwidth.map(u64::from), Some(1536));
    }
}
