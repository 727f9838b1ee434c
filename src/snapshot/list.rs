//! `ringsync snapshot list`: a line a snapshot, the oldest first.

use std::fmt::Write as _;
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::SnapshotListArgs;
use crate::exit::print;
use crate::report::lines::message;
use crate::report::number_format::NumberFormat;
use ringsync::Escaped;
use ringsync::store::clock::dated_ahead;
use ringsync::store::{Record, Store};

pub(super) fn list(arguments: &SnapshotListArgs) -> anyhow::Result<ExitCode> {
    let store = Store::open(&arguments.store)?;
    tell_of_clock(&store.snapshots);
    if arguments.json {
        let mut text = Vec::new();
        for record in &store.snapshots {
            text.extend(json(record)?);
        }
        return Ok(print(&text));
    }
    Ok(print(table(&store.snapshots).as_bytes()))
}

/// An object with the event's name before what the record has.
#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    #[serde(flatten)]
    record: &'a Record,
    /// It is dated ahead of the clock.
    ahead: bool,
}

/// Tells which snapshots are dated ahead of the clock.
pub(super) fn tell_of_clock(snapshots: &[Record]) {
    for ahead in dated_ahead(snapshots, Timestamp::now()) {
        message(ahead);
    }
}

pub(super) fn json(record: &Record) -> anyhow::Result<Vec<u8>> {
    line(&Line { event: "snapshot", record, ahead: record.started > Timestamp::now() })
}

pub(super) fn line(object: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(object)?;
    line.push(b'\n');
    Ok(line)
}

fn table(records: &[Record]) -> String {
    let figures = NumberFormat::Human;
    let widest = records.iter().map(|record| record.name.chars().count()).max().unwrap_or(0).max(8);
    let mut text = String::new();
    if records.is_empty() {
        return "no snapshots\n".into();
    }
    // Writing to a string can't fail.
    writeln!(text, "{:widest$}  {:>12} {:>12} {:>12}", "SNAPSHOT", "ENTRIES", "NEW", "ALL").ok();
    for record in records {
        let marks = [(!record.complete, "partial"), (record.named, "named"), (record.rebuilt, "rebuilt")];
        let marks: Vec<&str> = marks.into_iter().filter_map(|(is_so, mark)| is_so.then_some(mark)).collect();
        let marks = if marks.is_empty() { String::new() } else { format!("  {}", marks.join(", ")) };
        writeln!(
            text,
            "{:widest$}  {:>12} {:>12} {:>12}{marks}",
            Escaped::name(record.name.as_ref()).to_string(),
            figures.count(record.entries),
            figures.bytes(record.bytes_copied),
            figures.bytes(record.bytes),
        )
        .ok();
        // What is missing in a partial one.
        for error in record.first_errors.iter().filter(|_| !record.complete) {
            writeln!(text, "  {}", Escaped::name(error.as_ref())).ok();
        }
    }
    text
}
