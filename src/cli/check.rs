//! `ringsync check`: its options.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;

use crate::cli::args::compare::CompareArgs;
use crate::cli::args::engine::EngineArgs;
use crate::cli::args::keep::KeepArgs;
use crate::cli::args::list::ListArgs;
use crate::cli::args::select::SelectArgs;
use crate::cli::args::show::{SHOW, figures};
use crate::cli::values::local::local;
use crate::report::bar::Bar;
use crate::report::json::Json;
use crate::report::lines::{Lines, Verbosity};
use crate::report::terminal::is_capable;
use crate::report::ticker::Ticker;
use ringsync::Config;
use ringsync::event::{Both, Reporter};

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
    select: SelectArgs,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    keep: KeepArgs,

    /// Errors alone: the exit code tells
    #[arg(short, long, help_heading = SHOW)]
    quiet: bool,
    /// Figures at the end: of the run, of each ring, and what held it back
    #[arg(long, help_heading = SHOW)]
    stats: bool,
    /// One JSON object a line on standard output
    #[arg(long, help_heading = SHOW)]
    json: bool,

    #[command(flatten)]
    engine: EngineArgs,
}

impl CheckArgs {
    /// The options, resolved.
    ///
    /// # Errors
    /// When a rule is none, or a file of rules or paths can't be read.
    pub(crate) fn config(&self) -> ringsync::Result<Config> {
        let mut config = Config::new(&self.source, &self.destination);
        self.select.apply(&mut config)?;
        self.list.apply(&mut config)?;
        self.compare.apply(&mut config);
        self.keep.apply(&mut config);
        self.engine.apply(&mut config);
        config.stats = self.stats;
        Ok(config)
    }

    /// The reporter that fits the options and where the output goes.
    pub(crate) fn reporter(&self) -> Box<dyn Reporter> {
        reporter(self.quiet, self.stats, self.json)
    }
}

/// Tells each difference.
pub(crate) fn reporter(quiet: bool, stats: bool, json: bool) -> Box<dyn Reporter> {
    let verbosity = Verbosity {
        quiet,
        stats,
        itemize: u8::from(!quiet),
        figures: figures(false, false, io::stdout()),
        ..Verbosity::default()
    };
    if json {
        Box::new(Json::new(false))
    } else if !quiet && io::stderr().is_terminal() {
        let figures = figures(false, false, io::stderr());
        match is_capable() {
            true => Box::new(Bar::new(verbosity, figures)),
            false => {
                let ticker = Box::new(Ticker::without_end(figures));
                Box::new(Both(Box::new(Lines::new(verbosity)), ticker))
            }
        }
    } else {
        Box::new(Lines::new(verbosity))
    }
}
