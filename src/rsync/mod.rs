//! rsync's own command line for local trees: `ringsync rsync …`, and the program when it is called by the name `rsync`.
//! What rsync(1) says of an option is what it does here; where that differs is in docs/from-rsync.md.
//!
//! The words become options in order of appearance (`grammar.rs`, by the table in `options.rs`), these what is wished for
//! (`wishes.rs`), the paths runs of the engine (`sources.rs`), and the wishes what each run is to do (`meaning.rs`).

mod failure;
mod grammar;
mod meaning;
mod options;
mod report;
mod sources;
mod wishes;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use crate::exit::print;
use crate::report::lines::warn;
use crate::report::log::Log;
use crate::report::number_format::NumberFormat;
use crate::report::ticker::Ticker;
use crate::report::words::told;
use crate::rsync::failure::{Failure, PARTIAL, USAGE, closing};
use crate::rsync::report::{Report, list};
use crate::rsync::sources::{Run, Runs, Sources, runs};
use crate::rsync::wishes::Wishes;
use crate::signals::{LIMIT, clear_before_stop, stop_on_signal};
use crate::supervisor::{is_supervised, leave_word, prepare_child, supervise};
use ringsync::event::{Both, Reporter, Silent};
use ringsync::{Config, Error, Outcome, Stop};

/// The words of a command line that is rsync's: after `ringsync rsync`, or after the program's name where that is `rsync`.
pub(crate) fn of_process() -> Option<Vec<OsString>> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    if Path::new(&program).file_name() == Some(OsStr::new("rsync")) {
        return Some(words.collect());
    }
    let words: Vec<OsString> = words.collect();
    match &words[..] {
        [command, words @ ..] if command == "rsync" => Some(words.to_vec()),
        [help, command] if help == "help" && command == "rsync" => Some(vec!["--help".into()]),
        _ => None,
    }
}

/// Does what rsync would do, and returns its exit code.
pub(crate) fn rsync(words: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let code = match begin(words) {
        Ok(Begun::Said(text)) => return Ok(print(text.as_bytes())),
        Ok(Begun::Wishes(wishes, paths)) => {
            if wishes.timeout > 0 {
                if !is_supervised() {
                    return supervise();
                }
                prepare_child();
            }
            let stop = Stop::default();
            stop_on_signal(&stop, Some(LIMIT))?;
            clear_before_stop()?;
            copy(&wishes, &paths, &stop).unwrap_or_else(|failure| failure.tell())
        }
        Err(failure) => failure.tell(),
    };
    Ok(closing(code))
}

/// What a command line asks for.
enum Begun {
    /// A text.
    Said(String),
    /// A copy of these paths.
    Wishes(Box<Wishes>, Vec<OsString>),
}

fn begin(words: Vec<OsString>) -> Result<Begun, Failure> {
    let line = grammar::read(words)?;
    let wishes = Wishes::of(line.options)?;
    if wishes.tells.version > 0 {
        return Ok(Begun::Said(report::version(wishes.tells.version > 1)));
    }
    if wishes.tells.help {
        return Ok(Begun::Said(report::help()));
    }
    if line.paths.is_empty() {
        warn(report::help());
        return Err(Failure::new("no source is named", USAGE));
    }
    wishes.refuse_contradictions()?;
    Ok(Begun::Wishes(Box::new(wishes), line.paths))
}

/// Copies, or lists, and returns the exit code.
fn copy(wishes: &Wishes, paths: &[OsString], stop: &Stop) -> Result<u8, Failure> {
    let (sources, destination) = match paths {
        [sources @ .., destination] if !sources.is_empty() => (sources, Some(destination)),
        sources => (sources, None),
    };
    let mut sources = Sources::look_at(sources, &wishes.follow)?;
    let lists = wishes.tells.list_only || destination.is_none();
    let mut report = Report::new(wishes, lists);
    if !wishes.recursive && !lists {
        sources.without_directories().iter().for_each(|line| report.say(line));
    }
    report.open(&wishes.tuning);
    let mut code = if sources.missing { PARTIAL } else { 0 };
    if sources.found.is_empty() {
        report.close();
        return Ok(code);
    }
    let Runs { mut runs, makes_directory } = match destination {
        Some(destination) if !lists => runs(&sources, destination, wishes.make_path)?,
        _ => list::runs(&sources),
    };
    if let Some(made) = destination.filter(|_| makes_directory) {
        report.made(made);
    }
    for run in &mut runs {
        wishes.apply(run)?;
        if lists {
            list::apply(&mut run.config, wishes)?;
        }
    }
    let mut outcome = Outcome::Done;
    for Run { config, .. } in &runs {
        if stop.is_stopped() {
            break;
        }
        outcome = outcome.max(run(config, wishes, &mut report, stop)?);
    }
    report.close();
    while let Some(trouble) = report.trouble() {
        warn(format_args!("rsync: {}", told(&trouble)));
        outcome = outcome.max(Outcome::Failed);
    }
    if outcome == Outcome::DeletionRefused && (report.has_failed() || code != 0) {
        outcome = Outcome::Failed; // as in rsync that is told first
    }
    if outcome != Outcome::Done && (code == 0 || outcome > Outcome::Failed) {
        code = outcome.exit_code();
    }
    Ok(code)
}

/// One run of the engine.
fn run(config: &Config, wishes: &Wishes, report: &mut Report, stop: &Stop) -> Result<Outcome, Failure> {
    let ticker: Box<dyn Reporter> = match wishes.tells.progress {
        true => Box::new(Ticker::new(NumberFormat::Plain)),
        false => Box::new(Silent),
    };
    let report = &mut Both(&mut *report, ticker);
    let summary = match &wishes.tells.log_file {
        None => ringsync::sync(config, report, stop),
        Some(path) => {
            let log = Log::open(path, config, "rsync".into())?;
            let mut both = Both(&mut *report, log);
            ringsync::sync(config, &mut both, stop).inspect(|_| report_trouble(both.1.trouble()))
        }
    };
    let summary = summary?;
    if summary.stuck {
        let code = closing_code(summary.outcome);
        leave_word(code);
        std::process::exit(code.into());
    }
    Ok(summary.outcome)
}

fn closing_code(outcome: Outcome) -> u8 {
    let code = outcome.exit_code();
    closing(code);
    code
}

fn report_trouble(trouble: Option<Error>) {
    if let Some(trouble) = trouble {
        warn(format_args!("rsync: {}", told(&trouble)));
    }
}
