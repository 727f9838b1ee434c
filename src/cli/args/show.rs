//! What a run tells.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::report::bar::Bar;
use crate::report::format::Format;
use crate::report::json::Json;
use crate::report::lines::{Lines, Verbosity};
use crate::report::log::Log;
use crate::report::number_format::NumberFormat;
use crate::report::terminal::is_capable;
use crate::report::ticker::Ticker;
use ringsync::Config;
use ringsync::event::{Both, Reporter};

/// What is shown.
#[derive(Debug, Args)]
#[command(next_help_heading = SHOW)]
pub(crate) struct ShowArgs {
    /// A line for every entry that changed; twice: for every entry
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// The same with what changed in eleven letters, as rsync -i has it
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with_all = ["quiet", "json"])]
    itemize_changes: u8,
    /// The same as FORMAT says: %i %n %L %f %l %b %M %t %B %U %G %o %p %%
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["quiet", "json"])]
    out_format: Option<Format>,
    /// Append what is done to FILE, a line each
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Show all sizes with units, as is done on a terminal
    #[arg(short, long, overrides_with_all = ["human_readable", "no_human_readable"])]
    human_readable: bool,
    /// Show plain numbers, in the closing line and on a terminal too
    #[arg(long, overrides_with = "human_readable")]
    no_human_readable: bool,
    /// Show how far the run is: a display on a terminal, else a line a second
    #[arg(long, overrides_with = "no_progress")]
    progress: bool,
    /// No display
    #[arg(long, overrides_with = "progress")]
    no_progress: bool,
    /// The same as --partial --progress
    #[arg(short = 'P')]
    partial_progress: bool,
    /// Errors alone
    #[arg(short, long)]
    quiet: bool,
    /// Figures at the end: of the run, of each ring, and what held it back
    #[arg(long)]
    stats: bool,
    /// Write what each task did when to FILE, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,
}

impl ShowArgs {
    /// Puts what the options ask of the run into `config`, after how files are written.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.partial |= self.partial_progress;
        config.own_files.extend(self.log_file.iter().chain(&self.trace).cloned());
        config.stats = self.stats;
        config.trace.clone_from(&self.trace);
        config.details =
            self.itemize_changes > 0 || self.json || self.out_format.is_some() || self.log_file.is_some();
    }

    /// The reporter that fits the options and where the output goes. `source` is what paths are shown beneath, `opening`
    /// what a log begins with.
    ///
    /// # Errors
    /// When the log can't be opened.
    pub(crate) fn reporter(
        &self,
        source: &Path,
        config: &Config,
        opening: String,
    ) -> ringsync::Result<Box<dyn Reporter>> {
        let shown = self.display(source);
        let Some(path) = &self.log_file else { return Ok(shown) };
        let log = Log::open(path, config, opening)?;
        Ok(Box::new(Both(shown, log)))
    }

    /// In what form something more is said at the end.
    pub(crate) fn closing(&self) -> Closing {
        match (self.json, self.quiet) {
            (true, _) => Closing::Json,
            (false, true) => Closing::Nothing,
            (false, false) => Closing::Text,
        }
    }

    fn display(&self, source: &Path) -> Box<dyn Reporter> {
        let verbosity = self.verbosity(source);
        let progress = (self.progress || self.partial_progress) && !self.no_progress;
        let terminal = io::stderr().is_terminal();
        let figures = figures(self.human_readable, self.no_human_readable, io::stderr());
        let displays = terminal && !self.json && !self.no_progress && (progress || !self.quiet);
        let lines: Box<dyn Reporter> = match self.json {
            true => Box::new(Json::new(self.verbose > 1)),
            false if displays && is_capable() => return Box::new(Bar::new(verbosity, figures)),
            false => Box::new(Lines::new(verbosity)),
        };
        match (progress, displays) {
            (true, _) => Box::new(Both(lines, Ticker::new(figures))),
            (false, true) => Box::new(Both(lines, Ticker::without_end(figures))),
            (false, false) => lines,
        }
    }

    fn verbosity(&self, source: &Path) -> Verbosity {
        Verbosity {
            quiet: self.quiet,
            verbose: self.verbose,
            stats: self.stats,
            itemize: self.itemize_changes,
            format: self.out_format.clone().map(|format| format.of(source)),
            figures: figures(self.human_readable, self.no_human_readable, io::stdout()),
            closing: if self.no_human_readable { NumberFormat::Plain } else { NumberFormat::Human },
        }
    }
}

/// In what form a command says what came of it, beyond the closing line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    Text,
    Json,
    Nothing,
}

pub(crate) const SHOW: &str = "What is shown";

/// How numbers are shown: as the options say, or else as fits a terminal or a program that reads them.
pub(crate) fn figures(human: bool, plain: bool, output: impl IsTerminal) -> NumberFormat {
    match human || !plain && output.is_terminal() {
        true => NumberFormat::Human,
        false => NumberFormat::Plain,
    }
}
