//! `ringsync snapshot rebuild`: a line for each snapshot that had no record.

use std::process::ExitCode;

use crate::cli::RebuildArgs;
use crate::exit::{exit_code, say};
use crate::report::lines::message;
use crate::report::number_format::NumberFormat;
use crate::report::words;
use crate::signals::{LIMIT, stop_on_signal};
use ringsync::store::Record;
use ringsync::{Error, Escaped, Outcome, Stop};

pub(super) fn rebuild(arguments: &RebuildArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::default();
    stop_on_signal(&stop, Some(LIMIT))?;
    let rebuilt = ringsync::store::found::rebuild(&arguments.rebuild(), &stop)?;
    for error in &rebuilt.left_out {
        message(words::told(error));
    }
    let word = if arguments.is_dry_run() { "would add" } else { "added" };
    let added = rebuilt.snapshots.iter().filter(|record| rebuilt.added.contains(&record.name));
    let lines: Vec<String> = added
        .map(|record| format!("{word} {}: {}\n", Escaped::name(record.name.as_ref()), counts(record)))
        .collect();
    Ok(end(lines, "nothing to add", &rebuilt.errors, &stop))
}

/// What was counted.
pub(super) fn counts(record: &Record) -> String {
    format!("{}, {}", entries(record.entries), NumberFormat::Human.bytes(record.bytes))
}

/// A number of entries.
pub(super) fn entries(count: u64) -> String {
    match count {
        1 => "1 entry".into(),
        count => format!("{} entries", NumberFormat::Human.count(count)),
    }
}

/// Says what was done, if it was, and what could not be.
pub(super) fn end(lines: Vec<String>, nothing: &str, errors: &[Error], stop: &Stop) -> ExitCode {
    let text = if lines.is_empty() { format!("{nothing}\n") } else { lines.concat() };
    let mut trouble = if stop.is_stopped() { None } else { say(text.as_bytes()) };
    for error in errors {
        message(words::told(error));
    }
    let outcome = match (stop.is_stopped(), errors.is_empty()) {
        (true, _) => Outcome::Interrupted,
        (false, false) => Outcome::Failed,
        (false, true) => Outcome::Done,
    };
    exit_code(outcome, false, || trouble.take())
}
