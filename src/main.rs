//! The program: arguments, run, exit code.

mod bench;
mod cli;
mod doctor;
mod exit;
mod report;
mod rsync;
mod signals;
mod snapshot;
mod supervisor;

use std::process::ExitCode;

use cli::{BenchArgs, CheckArgs, Cli, Command, DoctorArgs, VerifyArgs};

use crate::exit::{exit_code, print};
use crate::report::lines::message;
use crate::report::words;
use ringsync::event::{Reporter, Summary};
use ringsync::{Config, EXIT_UNUSABLE, EXIT_USAGE, Error, Operation, Outcome, Stop};

/// What the walk allocates the copy tasks free, and the C library's allocator has threads wait for each other over that
/// (docs/performance.md). It does not ask for huge pages, which would double the memory that a run takes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(words) = rsync::of_process() {
        return rsync::rsync(words).unwrap_or_else(fail);
    }
    let result = match Cli::of_process().map(|cli| cli.command) {
        Ok(Command::Sync(arguments)) => sync(arguments.config(), |config| arguments.reporter(config)),
        Ok(Command::Copy(arguments)) => sync(arguments.config(), |config| arguments.reporter(config)),
        Ok(Command::Check(arguments)) => check(&arguments),
        Ok(Command::Verify(arguments)) => verify(&arguments),
        Ok(Command::Rsync(arguments)) => rsync::rsync(arguments.words),
        Ok(Command::Snapshot(arguments)) => snapshot::snapshot(arguments),
        Ok(Command::Doctor(arguments)) => doctor(arguments),
        Ok(Command::Completions(arguments)) => Ok(print(&arguments.script())),
        Ok(Command::Man(arguments)) => arguments.pages().map(|pages| print(&pages)),
        Ok(Command::Bench(arguments)) => bench(*arguments),
        Err(error) => {
            // --help and --version come this way too, and are no errors.
            error.print().ok();
            return if error.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    result.unwrap_or_else(fail)
}

/// Says why nothing could begin.
fn fail(error: anyhow::Error) -> ExitCode {
    message(words::chain(&error));
    let error: Option<&ringsync::Error> = error.downcast_ref();
    let code = match error {
        Some(error) if error.outcome() == Outcome::TimedOut => Outcome::TimedOut.exit_code(),
        Some(Error { operation: Operation::UseRule, .. }) => EXIT_USAGE,
        _ => EXIT_UNUSABLE,
    };
    supervisor::leave_word(code);
    code.into()
}

/// A run that writes.
fn sync(
    config: ringsync::Result<Config>,
    reporter: impl FnOnce(&Config) -> ringsync::Result<Box<dyn Reporter>>,
) -> anyhow::Result<ExitCode> {
    let config = config?;
    if config.timeout.is_some() {
        if !supervisor::is_supervised() {
            return supervisor::supervise();
        }
        supervisor::prepare_child();
    }
    let reporter = reporter(&config)?;
    run(ringsync::sync, &config, reporter)
}

fn check(arguments: &CheckArgs) -> anyhow::Result<ExitCode> {
    run(ringsync::check, &arguments.config()?, arguments.reporter())
}

/// A run of the engine, to sync or to check.
type Engine = fn(&Config, &mut dyn Reporter, &Stop) -> ringsync::Result<Summary>;

fn run(engine: Engine, config: &Config, mut reporter: Box<dyn Reporter>) -> anyhow::Result<ExitCode> {
    let stop = Stop::default();
    signals::stop_on_signal(&stop, Some(signals::LIMIT))?;
    signals::clear_before_stop()?;
    let summary = engine(config, reporter.as_mut(), &stop)?;
    Ok(exit_code(summary.outcome, summary.stuck, || reporter.trouble()))
}

fn verify(arguments: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let config = arguments.config();
    if config.may_hang() {
        if !supervisor::is_supervised() {
            return supervisor::supervise();
        }
        supervisor::prepare_child();
    }
    let stop = Stop::default();
    signals::stop_on_signal(&stop, Some(signals::LIMIT))?;
    signals::clear_before_stop()?;
    let mut reporter = arguments.reporter();
    let summary = ringsync::verify(&config, reporter.as_mut(), &stop)?;
    Ok(exit_code(summary.outcome, summary.stuck, || reporter.trouble()))
}

fn bench(arguments: BenchArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::default();
    // To remove what it has written takes as long as it takes.
    signals::stop_on_signal(&stop, None)?;
    Ok(bench::bench(arguments.plan(), &stop)?.exit_code().into())
}

fn doctor(arguments: DoctorArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::default();
    // What was made is removed first.
    signals::stop_on_signal(&stop, None)?;
    let (text, outcome) = doctor::doctor(&arguments.plan(), &stop)?;
    let printed = print(text.as_bytes());
    Ok(if outcome == Outcome::Done { printed } else { outcome.exit_code().into() })
}
