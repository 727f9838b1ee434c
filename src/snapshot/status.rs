//! `ringsync snapshot status`: one line, and an exit code for monitors.

use std::process::ExitCode;

use jiff::SignedDuration;
use serde::Serialize;

use crate::cli::StatusArgs;
use crate::exit::{exit_code, say};
use crate::snapshot::list::line;
use ringsync::store::look::{Status, Trouble};
use ringsync::{Escaped, Outcome};

pub(super) fn status(arguments: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status = ringsync::store::look::status(&arguments.store, arguments.max_age)?;
    let outcome = if status.troubles.is_empty() { Outcome::Done } else { Outcome::Failed };
    let mut trouble = match arguments.json {
        true => say(&line(&Line::new(&status, outcome))?),
        false => say(format!("{}\n", text(&status)).as_bytes()),
    };
    Ok(exit_code(outcome, false, || trouble.take()))
}

fn text(status: &Status) -> String {
    let mut parts = Vec::new();
    if let Some(newest) = &status.newest {
        parts.push(format!("snapshot {}", Escaped::name(newest.name.as_ref())));
        parts.extend(status.age.map(old));
    }
    for trouble in &status.troubles {
        parts.push(trouble.to_string());
        if let (Trouble::Partial, Some(complete)) = (trouble, &status.newest_complete) {
            parts.push(format!("the newest complete one is {}", Escaped::name(complete.as_ref())));
        }
    }
    let record = status.newest.as_ref().and_then(|newest| newest.record.as_ref());
    parts
        .extend(record.filter(|record| record.errors > 0).map(|record| format!("errors: {}", record.errors)));
    if !status.ahead.is_empty() && !status.troubles.contains(&Trouble::Ahead) {
        let names: Vec<String> =
            status.ahead.iter().map(|name| Escaped::name(name.as_ref()).to_string()).collect();
        parts.push(format!("dated ahead of the clock: {}", names.join(" ")));
    }
    parts.extend((status.at_work == Some(true)).then(|| "a run is at work".into()));
    parts.extend(status.broken_off.then(|| "a run was broken off".into()));
    let is_open = status.open_to_others && !status.troubles.contains(&Trouble::Open);
    parts.extend(is_open.then(|| "others may get into the store, write to it, or read .ringsync".into()));
    let word = if status.troubles.is_empty() { "OK" } else { "NOT OK" };
    format!("{word}: {}", parts.join(", "))
}

fn old(age: SignedDuration) -> String {
    if age.is_negative() { "the clock is behind it".into() } else { format!("{} old", span(age)) }
}

/// A time in the largest unit of which it has two.
pub(super) fn span(time: SignedDuration) -> String {
    let seconds = time.as_secs();
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    ok: bool,
    exit_code: u8,
    troubles: Vec<String>,
    newest: Option<&'a str>,
    age_seconds: Option<i64>,
    recorded: bool,
    partial: bool,
    errors: u64,
    newest_complete: Option<&'a str>,
    ahead: &'a [String],
    at_work: Option<bool>,
    broken_off: bool,
    open_to_others: bool,
    unrecorded: usize,
}

impl<'a> Line<'a> {
    fn new(status: &'a Status, outcome: Outcome) -> Self {
        let newest = status.newest.as_ref();
        let record = newest.and_then(|newest| newest.record.as_ref());
        Line {
            event: "status",
            ok: status.troubles.is_empty(),
            exit_code: outcome.exit_code(),
            troubles: status.troubles.iter().map(ToString::to_string).collect(),
            newest: newest.map(|newest| &*newest.name),
            age_seconds: status.age.map(|age| age.as_secs()),
            recorded: record.is_some(),
            partial: status.troubles.contains(&Trouble::Partial),
            errors: record.map_or(0, |record| record.errors),
            newest_complete: status.newest_complete.as_deref(),
            ahead: &status.ahead,
            at_work: status.at_work,
            broken_off: status.broken_off,
            open_to_others: status.open_to_others,
            unrecorded: status.unrecorded,
        }
    }
}
