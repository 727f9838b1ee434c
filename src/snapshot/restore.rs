//! `ringsync snapshot restore`.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::{Closing, RestoreArgs};
use crate::exit::{exit_code, say};
use crate::report::lines::message;
use crate::signals::{LIMIT, clear_before_stop, stop_on_signal};
use crate::snapshot::list::line;
use crate::snapshot::missing::{MissingLine, elsewhere};
use crate::supervisor::{is_supervised, prepare_child, supervise};
use ringsync::store::look::{Found, Partial, Restored};
use ringsync::{Escaped, Stop};

pub(super) fn restore(arguments: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let restore = arguments.restore()?;
    if restore.run.timeout.is_some() {
        if !is_supervised() {
            return supervise();
        }
        prepare_child();
    }
    restore.damage.iter().for_each(message);
    let mut reporter = arguments.reporter(&restore.run)?;
    let stop = Stop::default();
    stop_on_signal(&stop, Some(LIMIT))?;
    clear_before_stop()?;
    let restored = ringsync::store::look::restore(&restore, reporter.as_mut(), &stop)?;
    let Restored { summary, wrong, unknown, .. } = restored;
    for error in &wrong {
        reporter.error(error);
    }
    if unknown > 0 {
        message(format!(
            "files that could not be compared with the snapshot's hashes, since the store has none of them: {unknown}"
        ));
    }
    let mut trouble = None;
    if let Some(partial) = &restore.partial {
        let name = &restore.snapshot;
        match arguments.closing() {
            Closing::Json => trouble = say(&json(name, partial, summary.outcome.exit_code())?),
            _ => message(warning(name, partial)),
        }
    }
    Ok(exit_code(summary.outcome, summary.stuck, || trouble.take().or_else(|| reporter.trouble())))
}

/// What may be missing, and where it may be.
fn warning(snapshot: &Found, partial: &Partial) -> String {
    let mut text = format!("snapshot {} is partial", Escaped::name(snapshot.name.as_ref()));
    for error in &partial.errors {
        text += &format!("\n  {}", Escaped::name(error.as_ref()));
    }
    let more = partial.count.saturating_sub(partial.errors.len() as u64);
    if more > 0 {
        text += &format!("\n  and {more} more");
    }
    for missing in &partial.missing {
        text += &format!("\n  {}", elsewhere(missing));
    }
    text += &match &partial.newest_complete {
        Some(name) => format!("\n  the newest complete one is {}", Escaped::name(name.as_ref())),
        None => "\n  there is no complete one".into(),
    };
    text
}

/// The same for a program.
#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    snapshot: &'a str,
    errors: u64,
    first_errors: &'a [String],
    missing: Vec<MissingLine<'a>>,
    newest_complete: Option<&'a str>,
    exit_code: u8,
}

fn json(snapshot: &Found, partial: &Partial, exit_code: u8) -> anyhow::Result<Vec<u8>> {
    line(&Line {
        event: "partial",
        snapshot: &snapshot.name,
        errors: partial.count,
        first_errors: &partial.errors,
        missing: partial.missing.iter().map(MissingLine::new).collect(),
        newest_complete: partial.newest_complete.as_deref(),
        exit_code,
    })
}
