//! `ringsync snapshot diff`: a line for each difference.

use std::process::ExitCode;

use crate::cli::DiffArgs;
use crate::exit::exit_code;
use crate::report::lines::message;
use crate::signals::{LIMIT, clear_before_stop, stop_on_signal};
use ringsync::Stop;

pub(super) fn diff(arguments: &DiffArgs) -> anyhow::Result<ExitCode> {
    let diff = arguments.diff()?;
    let stop = Stop::default();
    stop_on_signal(&stop, Some(LIMIT))?;
    clear_before_stop()?;
    diff.damage.iter().for_each(message);
    let mut reporter = arguments.reporter();
    let summary = ringsync::store::look::diff(&diff, reporter.as_mut(), &stop)?;
    Ok(exit_code(summary.outcome, summary.stuck, || reporter.trouble()))
}
