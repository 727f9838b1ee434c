//! One JSON object a line on standard output: `start`, a `file` for each entry, an `error` for what is no entry, a
//! `notice`, `summary`. Nothing else goes there.
//!
//! A path is text; one that is not UTF-8 has its bytes beside it as `path_bytes`, in base64 (RFC 4648).
//! `docs/json.schema.json` describes every line.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::report::handful::Handful;
use crate::report::lines::{Out, message, stall};
use crate::report::tables::{JsonRing, JsonVerdict};
use crate::report::words;
use ringsync::event::{
    Action, EntryEvent, JsonPath, Kind, Live, Mode, Notice, PointsTo, Reporter, Shared, Stall, Start,
    Summary, Totals, itemize, metrics,
};
use ringsync::{Cause, Engine, Error};

/// A line stays in the buffer no longer than this, as long as anything happens.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Writes JSON lines.
pub struct Json {
    /// Also entries that were right already.
    unchanged: bool,
    /// The run flushes what it makes, and each entry says whether that is done.
    fsync: bool,
    flushed: Instant,
    lacks: Handful,
    out: Out,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Start {
        version: &'static str,
        engine: &'static str,
        threads: usize,
        tasks: usize,
        dry_run: bool,
        check: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        notice: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing: Vec<JsonPath>,
    },
    File {
        #[serde(flatten)]
        path: JsonPath,
        action: &'static str,
        itemized: String,
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(flatten)]
        points_to: JsonPointsTo,
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        bytes: u64,
        blake3: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        durable: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        live: Option<&'static str>,
        error: Option<JsonError>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        lacks: Vec<JsonError>,
    },
    Notice {
        message: String,
    },
    Error {
        #[serde(flatten)]
        path: JsonPath,
        error: JsonError,
    },
    Summary {
        outcome: &'static str,
        exit_code: u8,
        found: u64,
        created: u64,
        updated: u64,
        metadata: u64,
        linked: u64,
        deleted: u64,
        unchanged: u64,
        skipped: u64,
        vanished: u64,
        failed: u64,
        errors: u64,
        source_bytes: u64,
        bytes: u64,
        bytes_hashed: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes_missing: Option<u64>,
        grew: u64,
        changing: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        link_dest: Option<JsonShared>,
        #[serde(skip_serializing_if = "Option::is_none")]
        durable: Option<bool>,
        seconds: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        held_back: Option<JsonVerdict>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        rings: Vec<JsonRing>,
    },
}

/// How many files `--link-dest` had, of those that it could have had.
#[derive(Serialize)]
struct JsonShared {
    linked: u64,
    files: u64,
}

/// Where a link leads: a symlink to a target, a name to another one of its inode.
#[derive(Default, Serialize)]
struct JsonPointsTo {
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linked_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linked_to_bytes: Option<String>,
}

impl JsonPointsTo {
    fn new(points_to: Option<&PointsTo>) -> Self {
        let text = |path| {
            let JsonPath { path, path_bytes, .. } = JsonPath::new(path);
            (Some(path), path_bytes)
        };
        let mut told = JsonPointsTo::default();
        match points_to {
            Some(PointsTo::Target(path)) => (told.target, told.target_bytes) = text(path),
            Some(PointsTo::Name(path)) => (told.linked_to, told.linked_to_bytes) = text(path),
            _ => {}
        }
        told
    }
}

#[derive(Serialize)]
pub(crate) struct JsonError {
    operation: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
}

impl JsonError {
    pub(crate) fn new(error: &Error) -> Self {
        JsonError {
            operation: error.operation.told(words::option).into_owned(),
            message: error.cause.told(words::option).into_owned(),
            errno: match &error.cause {
                Cause::Io(error)
                | Cause::KeepsFailing { why: error, .. }
                | Cause::NoRoom { why: error, .. } => error.raw_os_error(),
                Cause::NotKept(lack) => lack.io_error().and_then(|error| error.raw_os_error()),
                _ => None,
            },
        }
    }
}

impl Json {
    /// JSON lines; `unchanged` asks for entries that were right already, too.
    pub fn new(unchanged: bool) -> Self {
        let flushed = Instant::now();
        Json { unchanged, fsync: false, flushed, lacks: Handful::default(), out: Out::new() }
    }

    fn write(&mut self, line: &Line) {
        self.out.write(|out| {
            serde_json::to_writer(&mut *out, line)?;
            out.write_all(b"\n")
        });
    }
}

impl Reporter for Json {
    fn start(&mut self, start: &Start) {
        let engine = match start.engine {
            Engine::Threads => "threads",
            _ => "uring",
        };
        let Start { threads, tasks, mode, fsync, .. } = *start;
        let (dry_run, check) = (mode != Mode::Sync, mode == Mode::Check);
        self.fsync = fsync;
        let version = env!("CARGO_PKG_VERSION");
        self.write(&Line::Start {
            version,
            engine,
            threads,
            tasks,
            dry_run,
            check,
            notice: words::notice(&start.notices),
            missing: start.missing.iter().map(|missing| JsonPath::new(&missing.path)).collect(),
        });
        self.out.write(Write::flush);
    }

    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        self.lacks.of(event).into_iter().for_each(message);
        self.lacks.live(directory, event).into_iter().for_each(message);
        if event.action == Action::Unchanged && event.lacks().is_empty() && !self.unchanged {
            return;
        }
        self.write(&Line::File {
            path: JsonPath::new(&event.path(directory)),
            action: event.action.name(),
            itemized: itemize::letters(event),
            kind: event.kind.name(),
            points_to: JsonPointsTo::new(event.points_to.as_ref()),
            size: event.source.filter(|_| event.kind == Kind::File).map(|source| source.size),
            bytes: event.bytes,
            blake3: event.hash.map(|hash| hash.to_hex().to_string()),
            durable: self.fsync.then_some(event.durable),
            live: event.live.map(Live::name),
            error: event.error.as_deref().map(JsonError::new),
            lacks: event.lacks().iter().map(JsonError::new).collect(),
        });
    }

    fn error(&mut self, error: &Error) {
        self.lacks.error(error).into_iter().for_each(message);
        self.write(&Line::Error { path: JsonPath::new(&error.path), error: JsonError::new(error) });
    }

    fn notice(&mut self, notice: &Notice) {
        let text = notice.told(words::option);
        if !notice.is_detail() {
            message(&text);
        }
        self.write(&Line::Notice { message: text });
    }

    fn stall(&mut self, stalled: &Stall) {
        message(stall(stalled));
    }

    fn progress(&mut self, _totals: &Totals) {
        // A reader at the other end is not to wait for a full buffer.
        if self.flushed.elapsed() > LONGEST_WAIT {
            self.out.write(Write::flush);
            self.flushed = Instant::now();
        }
    }

    fn finish(&mut self, summary: &Summary) {
        self.lacks.rest().into_iter().for_each(message);
        self.lacks.rest_live().into_iter().for_each(message);
        let totals = &summary.totals;
        self.write(&Line::Summary {
            outcome: summary.outcome.name(),
            exit_code: summary.outcome.exit_code(),
            found: totals.found,
            created: totals.count(Action::Created),
            updated: totals.count(Action::Updated),
            metadata: totals.count(Action::Metadata),
            linked: totals.count(Action::Linked),
            deleted: totals.count(Action::Deleted),
            unchanged: totals.count(Action::Unchanged),
            skipped: totals.count(Action::Skipped),
            vanished: totals.count(Action::Vanished),
            failed: totals.count(Action::Failed),
            errors: totals.errors,
            source_bytes: totals.source_bytes,
            bytes: totals.bytes,
            bytes_hashed: totals.bytes_hashed,
            bytes_missing: Some(totals.bytes_missing).filter(|bytes| *bytes > 0),
            grew: totals.grew,
            changing: totals.changing,
            link_dest: totals.shared.map(|Shared { files, of, .. }| JsonShared { linked: files, files: of }),
            durable: self.fsync.then_some(totals.durable),
            seconds: totals.elapsed.as_secs_f64(),
            held_back: (!summary.rings.is_empty()).then(|| metrics::bottleneck(&summary.rings).into()),
            rings: summary.rings.iter().map(JsonRing::from).collect(),
        });
        self.out.write(Write::flush);
    }

    fn trouble(&mut self) -> Option<Error> {
        self.out.trouble()
    }
}
