//! `ringsync snapshot list`: a line a snapshot, the oldest first.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use serde::Serialize;

use crate::cli::SnapshotListArgs;
use crate::exit::print;
use crate::report::lines::message;
use crate::report::number_format::NumberFormat;
use crate::report::words;
use crate::snapshot::missing::{TOLD, elsewhere};
use crate::snapshot::status::span;
use ringsync::Escaped;
use ringsync::store::Record;
use ringsync::store::clock::dated_ahead;
use ringsync::store::look::{Found, View};

pub(super) fn list(arguments: &SnapshotListArgs) -> anyhow::Result<ExitCode> {
    let view = View::open(&arguments.store)?;
    let records: Vec<Record> = view.snapshots.iter().filter_map(|found| found.record.clone()).collect();
    tell_of_clock(&records);
    for error in &view.unread {
        message(words::told(error));
    }
    if arguments.json {
        let mut text = Vec::new();
        for found in view.unrecorded.iter().chain(&view.snapshots) {
            text.extend(match &found.record {
                Some(record) => json(record)?,
                None => unrecorded(found)?,
            });
        }
        return Ok(print(&text));
    }
    Ok(print(table(&view).as_bytes()))
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

/// One that is known by its directory's name alone.
#[derive(Serialize)]
struct Unrecorded<'a> {
    event: &'static str,
    name: &'a str,
    started: Option<Timestamp>,
    ahead: bool,
}

/// Tells which snapshots are dated ahead of the clock.
pub(super) fn tell_of_clock(snapshots: &[Record]) {
    for ahead in dated_ahead(snapshots, Timestamp::now()) {
        message(ahead);
    }
}

/// Tells which snapshots the record has, and the store has not.
pub(super) fn tell_of_gone(names: &[String]) {
    for name in names {
        let name = Escaped::name(name.as_ref());
        message(format!(
            "snapshot {name} is in the record, and not in the store any more: the next snapshot forgets it (if it comes back, \
             `rebuild` takes it in again)"
        ));
    }
}

/// Tells how many snapshots have no record.
pub(super) fn tell_of_lost_record(view: &View, store: &Path) {
    let store = Escaped::path(store);
    match view.without_record() {
        0 => {}
        1 => message(format!(
            "1 snapshot has no record, and prune does not see it: `ringsync snapshot rebuild {store}` takes it in"
        )),
        count => message(format!(
            "{count} snapshots have no record, and prune does not see them: `ringsync snapshot rebuild {store}` takes \
             them in"
        )),
    }
}

pub(super) fn json(record: &Record) -> anyhow::Result<Vec<u8>> {
    line(&Line { event: "snapshot", record, ahead: record.started > Timestamp::now() })
}

fn unrecorded(found: &Found) -> anyhow::Result<Vec<u8>> {
    let ahead = found.started.is_some_and(|started| started > Timestamp::now());
    line(&Unrecorded { event: "unrecorded", name: &found.name, started: found.started, ahead })
}

pub(super) fn line(object: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(object)?;
    line.push(b'\n');
    Ok(line)
}

fn table(view: &View) -> String {
    let all = || view.unrecorded.iter().chain(&view.snapshots);
    let widest = all().map(|found| found.name.chars().count()).max().unwrap_or(0).max(8);
    let mut text = String::new();
    if view.snapshots.is_empty() {
        return "no snapshots\n".into();
    }
    let records = || view.snapshots.iter().filter_map(|found| found.record.as_ref());
    let mut sources: Vec<_> =
        records().map(|one| &one.sources).filter(|sources| !sources.is_empty()).collect();
    sources.dedup();
    let has_several = sources.len() > 1;
    // Writing to a string can't fail.
    writeln!(
        text,
        "{:widest$}  {:16}  {:>8} {:>11} {:>11} {:>11} {:>11}",
        "SNAPSHOT", "LOCAL TIME", "AGE", "ENTRIES", "NEW", "SHARED", "ALL"
    )
    .ok();
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    for found in all() {
        let (time, age) = begun(found.started, now, &zone);
        let name = Escaped::name(found.name.as_ref()).to_string();
        let first = format!("{name:widest$}  {time:16}  {age:>8}");
        match &found.record {
            Some(record) => row(&mut text, &first, (record, has_several), view),
            None => {
                writeln!(text, "{first} {0:>11} {0:>11} {0:>11} {0:>11}  without a record", "-").ok();
            }
        }
    }
    text
}

/// When a snapshot was begun by the local calendar, and how long ago that is.
fn begun(started: Option<Timestamp>, now: Timestamp, zone: &TimeZone) -> (String, String) {
    let Some(started) = started else { return ("-".into(), "-".into()) };
    let time = ZonedDateTime::new(started, zone.clone()).strftime("%F %H:%M").to_string();
    let age = now.duration_since(started);
    (time, if age.is_negative() { "ahead".into() } else { span(age) })
}

/// What the record says of a snapshot, and of a partial one what is missing and where it is.
fn row(text: &mut String, name: &str, (record, tells_sources): (&Record, bool), view: &View) {
    let figures = NumberFormat::Human;
    let marks = [(!record.complete, "partial"), (record.named, "named"), (record.rebuilt, "rebuilt")];
    let marks: Vec<&str> = marks.into_iter().filter_map(|(is_so, mark)| is_so.then_some(mark)).collect();
    let mut marks = if marks.is_empty() { String::new() } else { format!("  {}", marks.join(", ")) };
    if tells_sources && !record.sources.is_empty() {
        let sources = record.sources.iter().map(|source| Escaped::name(source.as_ref()).to_string());
        marks += &format!("  of {}", sources.collect::<Vec<_>>().join(" "));
    }
    // Of what nobody has seen being taken no one knows what was copied.
    let new = if record.rebuilt { "-".into() } else { figures.bytes(record.bytes_copied).to_string() };
    writeln!(
        text,
        "{name} {:>11} {new:>11} {:>11} {:>11}{marks}",
        figures.count(record.entries),
        figures.bytes(record.bytes_linked.saturating_add(record.bytes_cloned)),
        figures.bytes(record.bytes),
    )
    .ok();
    if record.complete {
        return;
    }
    for error in &record.first_errors {
        writeln!(text, "  {}", Escaped::name(error.as_ref())).ok();
    }
    for missing in view.missing(record, TOLD) {
        writeln!(text, "  {}", elsewhere(&missing)).ok();
    }
}
