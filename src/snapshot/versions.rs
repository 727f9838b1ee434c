//! `ringsync snapshot versions`: a line a version, the oldest first.

use std::fmt::Write as _;
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::VersionsArgs;
use crate::exit::{exit_code, say};
use crate::report::lines::message;
use crate::report::number_format::NumberFormat;
use crate::report::words;
use crate::signals::{LIMIT, stop_on_signal};
use crate::snapshot::list::line;
use ringsync::event::{JsonPath, Kind};
use ringsync::store::look::Version;
use ringsync::{Escaped, Outcome, Stop};

pub(super) fn versions(arguments: &VersionsArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::default();
    stop_on_signal(&stop, Some(LIMIT))?;
    let found = ringsync::store::look::versions(&arguments.store, &arguments.path, &stop)?;
    found.damage.iter().for_each(message);
    let mut text = Vec::new();
    match arguments.json {
        true => {
            for version in &found.versions {
                text.extend(line(&Line::new(version))?);
            }
        }
        false if !found.versions.is_empty() => text.extend(table(&found.versions).into_bytes()),
        false => {}
    }
    let mut trouble = say(&text);
    for error in &found.errors {
        message(words::told(error));
    }
    let is_missing = found.versions.is_empty() && found.errors.is_empty() && !stop.is_stopped();
    if is_missing {
        message(format!("no snapshot has {}", Escaped::path(&arguments.path)));
    }
    let outcome = match (stop.is_stopped(), is_missing || !found.errors.is_empty()) {
        (true, _) => Outcome::Interrupted,
        (false, true) => Outcome::Failed,
        (false, false) => Outcome::Done,
    };
    Ok(exit_code(outcome, false, || trouble.take()))
}

/// As many digits of a hash tell versions apart; JSON has all.
const DIGITS: usize = 12;

fn table(versions: &[Version]) -> String {
    let (begun, size, modified_at) = ("SINCE", "SIZE", "MODIFIED");
    let mut text = format!("{begun:20}  {size:>12}  {modified_at:20}  {:DIGITS$}  SNAPSHOTS\n", "BLAKE3");
    for version in versions {
        let what = match (version.kind, &version.hash, &version.target) {
            (Kind::File, Some(hash), _) => hash.to_string()[..DIGITS].to_owned(),
            (Kind::File, None, _) => "unreadable".into(),
            (_, _, Some(target)) => format!("-> {}", Escaped::path(target)),
            (kind, ..) => kind.name().into(),
        };
        let (first, last) = ends(version);
        let (first, last) = (Escaped::name(first.as_ref()), Escaped::name(last.as_ref()));
        let which = match version.snapshots.len() {
            1 => format!("in {first}"),
            count => format!("in {count}: {first} to {last}"),
        };
        // Writing to a string can't fail.
        writeln!(
            text,
            "{:20}  {:>12}  {:20}  {what:DIGITS$}  {which}",
            version.started.map_or_else(|| "-".into(), second),
            NumberFormat::Human.bytes(version.attributes.size),
            modified(version).map_or_else(|| "-".into(), second),
        )
        .ok();
    }
    text
}

/// A time to the second.
fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn modified(version: &Version) -> Option<Timestamp> {
    let (seconds, nanoseconds) = version.attributes.modified;
    Timestamp::new(seconds, nanoseconds.try_into().ok()?).ok()
}

fn ends(version: &Version) -> (&str, &str) {
    match &version.snapshots[..] {
        [first, .., last] => (first, last),
        [only] => (only, only),
        [] => ("", ""),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    started: Option<Timestamp>,
    size: u64,
    modified: Option<Timestamp>,
    blake3: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_bytes: Option<String>,
    mode: u32,
    uid: u32,
    gid: u32,
    snapshots: &'a [String],
}

impl<'a> Line<'a> {
    fn new(version: &'a Version) -> Self {
        let target = version.target.as_deref().map(JsonPath::new);
        let (target, target_bytes) = target.map_or((None, None), |path| (Some(path.path), path.path_bytes));
        let of = version.attributes;
        Line {
            event: "version",
            kind: version.kind.name(),
            started: version.started,
            size: of.size,
            modified: modified(version),
            blake3: version.hash.map(|hash| hash.to_string()),
            target,
            target_bytes,
            mode: of.mode,
            uid: of.uid,
            gid: of.gid,
            snapshots: &version.snapshots,
        }
    }
}
