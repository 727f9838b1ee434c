//! `ringsync snapshot take`.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::{Closing, TakeArgs};
use crate::exit::{exit_code, say};
use crate::report::lines::message;
use crate::report::number_format::NumberFormat;
use crate::report::words;
use crate::signals::{LIMIT, clear_before_stop, stop_on_signal};
use crate::snapshot::list::{json, line};
use ringsync::store::{Record, Taken};
use ringsync::{Escaped, Operation, Outcome, Stop};

pub(super) fn take(arguments: &TakeArgs) -> anyhow::Result<ExitCode> {
    let take = arguments.take()?;
    let mut reporter = arguments.reporter(&take.run)?;
    let stop = Stop::default();
    stop_on_signal(&stop, Some(LIMIT))?;
    clear_before_stop()?;
    let taken = match ringsync::store::take(&take, reporter.as_mut(), &stop) {
        // No room for the record, or what was written is not on the disk: the next run goes on.
        Err(error) if error.outcome() == Outcome::BrokenOff && error.operation != Operation::StartEngine => {
            message(words::told(&error));
            return Ok(exit_code(Outcome::BrokenOff, false, || reporter.trouble()));
        }
        taken => taken?,
    };
    let Taken { summary, snapshot, unfit, open_to_others, left, .. } = taken;
    if open_to_others {
        message("others can write to the store, and may change what is kept in it: chmod go-w");
    }
    for error in &left {
        message(words::told(error));
    }
    let said = match (snapshot, unfit, arguments.closing()) {
        (Some(record), _, Closing::Text) => closing(&record).into_bytes(),
        (Some(record), _, Closing::Json) => json(&record)?,
        (None, Some(unfit), Closing::Json) => {
            let (message, exit_code) = (unfit.to_string(), summary.outcome.exit_code());
            line(&NoSnapshot { event: "no_snapshot", message, exit_code })?
        }
        (_, Some(unfit), _) => {
            message(format!("no snapshot: {unfit}"));
            Vec::new()
        }
        _ => Vec::new(),
    };
    let mut trouble = say(&said);
    Ok(exit_code(summary.outcome, summary.stuck, || trouble.take().or_else(|| reporter.trouble())))
}

/// Where the run itself came to its end.
#[derive(Serialize)]
struct NoSnapshot {
    event: &'static str,
    message: String,
    exit_code: u8,
}

fn closing(record: &Record) -> String {
    let partial = if record.complete { "" } else { ", partial: what the errors name is missing" };
    let figures = NumberFormat::Human;
    format!(
        "snapshot {}: {} entries, {} of {} new{partial}\n",
        Escaped::name(record.name.as_ref()),
        figures.count(record.entries),
        figures.bytes(record.bytes_copied),
        figures.bytes(record.bytes),
    )
}
