//! What a comparison of two trees looks at, and how it tells each difference.

use std::io::{self, IsTerminal};

use clap::Args;

use crate::cli::args::engine::EngineArgs;
use crate::cli::args::keep::KeepArgs;
use crate::cli::args::select::SelectArgs;
use crate::cli::args::show::{SHOW, figures};
use crate::report::bar::Bar;
use crate::report::json::Json;
use crate::report::lines::{Lines, Verbosity};
use crate::report::terminal::is_capable;
use crate::report::ticker::Ticker;
use ringsync::Config;
use ringsync::event::{Both, Reporter};

/// The options that all comparisons have.
#[derive(Debug, Args)]
pub(crate) struct DifferencesArgs {
    #[command(flatten)]
    select: SelectArgs,
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

impl DifferencesArgs {
    /// Puts the options into `config`.
    ///
    /// # Errors
    /// When a rule is none, or a file of rules can't be read.
    pub(crate) fn apply(&self, config: &mut Config) -> ringsync::Result<()> {
        self.select.apply(config)?;
        self.keep.apply(config);
        self.engine.apply(config);
        config.stats = self.stats;
        Ok(())
    }

    /// The reporter that fits the options and where the output goes.
    pub(crate) fn reporter(&self) -> Box<dyn Reporter> {
        let verbosity = Verbosity {
            quiet: self.quiet,
            stats: self.stats,
            itemize: u8::from(!self.quiet),
            figures: figures(false, false, io::stdout()),
            ..Verbosity::default()
        };
        if self.json {
            return Box::new(Json::new(false));
        }
        if self.quiet || !io::stderr().is_terminal() {
            return Box::new(Lines::new(verbosity));
        }
        let figures = figures(false, false, io::stderr());
        match is_capable() {
            true => Box::new(Bar::new(verbosity, figures)),
            false => {
                let ticker = Box::new(Ticker::without_end(figures));
                Box::new(Both(Box::new(Lines::new(verbosity)), ticker))
            }
        }
    }
}
