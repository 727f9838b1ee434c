//! `--trace`: what each task did when, in the JSON array format of Chrome's trace events, which Perfetto and
//! chrome://tracing show. A ring is a process there, and a task a thread: a span for each entry at work, and within it
//! spans for its operations. An operation that begins while another one of its task is in flight has a track beside.
//!
//! Every span is one event that has both ends (`"ph":"X"`), written when it is over: a run that is broken off leaves a file
//! that is whole. Each ring gathers text and sends it to the progress task, which writes it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::json::JsonPath;
use super::rings::{Kind, Means};
use crate::error::{Context, Operation, Result};
use crate::io::named::{self, Existing};
use crate::io::trees::Trees;

/// Text is sent once there are this many bytes of it.
const FULL: usize = 64 << 10;
/// Tracks of a task: what it has in flight at once, and more than it ever has.
pub(crate) const TRACKS: u32 = 8;

/// The file under way.
pub(crate) struct TraceFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl TraceFile {
    /// Begins the file at `path`, in the place of one that is there.
    pub(crate) fn create(path: &Path, trees: &Trees) -> Result<Self> {
        let named = named::find(path, trees, Operation::UseTrace)?;
        let file = named.open_to_write(trees, Existing::Truncate).at(Operation::UseTrace, || path)?;
        let mut trace = TraceFile { path: path.to_path_buf(), writer: BufWriter::new(file) };
        // Every further event has its comma before it, so that the array can end at any time.
        trace.add(concat!(
            "[\n",
            r#"{"name":"ringsync","cat":"version","ph":"i","s":"g","ts":0,"pid":0,"tid":0,"args":{"version":""#,
            env!("CARGO_PKG_VERSION"),
            r#""}}"#
        ))?;
        Ok(trace)
    }

    /// Adds what a ring has sent.
    pub(crate) fn add(&mut self, text: &str) -> Result<()> {
        self.writer.write_all(text.as_bytes()).at(Operation::UseTrace, || &self.path)
    }

    /// Ends the array.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.add("\n]\n")?;
        self.writer.flush().at(Operation::UseTrace, || &self.path)
    }
}

/// The spans of one ring that are not sent yet, as text. Times are in nanoseconds.
pub(crate) struct Spans {
    ring: usize,
    begun: u64,
    text: String,
    /// Tracks that have been named.
    named: Vec<bool>,
}

/// A track: a task, and which of the operations that it has in flight at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Track {
    pub(crate) task: u32,
    pub(crate) beside: u32,
}

impl Spans {
    /// For a ring of a run that began then.
    pub(crate) fn new(ring: usize, begun: u64) -> Self {
        let mut spans = Spans { ring, begun, text: String::new(), named: Vec::new() };
        spans.name("process_name", 0, &format!("ring {ring}"));
        spans
    }

    /// An operation.
    pub(crate) fn operation(
        &mut self,
        track: Track,
        (start, end): (u64, u64),
        (kind, means): (Kind, Means),
        bytes: u64,
    ) {
        self.event(track, start, end, &format_args!("\"{}\"", kind.name()), "operation");
        write!(self.text, r#","args":{{"means":"{}","bytes":{bytes}}}}}"#, means.name()).ok();
    }

    /// A task's work on the entry, or the directory, at `path`.
    pub(crate) fn work(&mut self, task: u32, (start, end): (u64, u64), path: &Path, step: &'static str) {
        let path = JsonPath::new(if path.as_os_str().is_empty() { Path::new(".") } else { path });
        let (name, bytes) = path.parts();
        // What is text can be written as JSON.
        let name = serde_json::to_string(name).unwrap_or_default();
        self.event(Track { task, beside: 0 }, start, end, &name, "entry");
        write!(self.text, r#","args":{{"step":"{step}""#).ok();
        if let Some(bytes) = bytes {
            write!(self.text, r#","path_bytes":"{bytes}""#).ok();
        }
        self.text.push_str("}}");
    }

    /// What there is, if it is `all` that is wanted, or much.
    pub(crate) fn take(&mut self, all: bool) -> Option<String> {
        let wanted = self.text.len() >= FULL || all && !self.text.is_empty();
        wanted.then(|| std::mem::take(&mut self.text))
    }

    /// Writes an event but for its arguments. Writing to a string can't fail.
    fn event(&mut self, track: Track, start: u64, end: u64, name: &dyn std::fmt::Display, category: &str) {
        let thread = self.thread(track);
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let (ring, ts) = (self.ring, micros(start.saturating_sub(self.begun)));
        let dur = micros(end.saturating_sub(start));
        write!(
            self.text,
            ",\n{{\"name\":{name},\"cat\":\"{category}\",\"ph\":\"X\",\"ts\":{ts:.3},\"dur\":{dur:.3},\
             \"pid\":{ring},\"tid\":{thread}"
        )
        .ok();
    }

    /// The number of a track, which is named the first time.
    fn thread(&mut self, track: Track) -> u32 {
        let Track { task, beside } = track;
        let thread = task * TRACKS + beside;
        let place = thread as usize;
        if self.named.len() <= place {
            self.named.resize(place + 1, false);
        }
        if !std::mem::replace(&mut self.named[place], true) {
            match beside {
                0 => self.name("thread_name", thread, &format!("task {task}")),
                _ => self.name("thread_name", thread, &format!("task {task}, at the same time")),
            }
        }
        thread
    }

    fn name(&mut self, of: &str, thread: u32, name: &str) {
        let ring = self.ring;
        write!(
            self.text,
            ",\n{{\"name\":\"{of}\",\"ph\":\"M\",\"pid\":{ring},\"tid\":{thread},\"args\":{{\"name\":\"{name}\"}}}}"
        )
        .ok();
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_trace_is_json_whatever_names_there_are() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("trace");
        let begun = 1_000_000_000_000;
        let times = (begun + 5000, begun + 7500);
        let mut spans = Spans::new(3, begun);
        for name in [&b"plain"[..], b"a \"quote\" \\ \n \x1b[2J", b"caf\xe9", b""] {
            spans.work(2, times, Path::new(OsStr::from_bytes(name)), "entry");
        }
        spans.operation(Track { task: 2, beside: 1 }, times, (Kind::Read, Means::Ring), 42);
        assert!(spans.take(false).is_none(), "not enough to be sent");
        let text = spans.take(true).unwrap();
        let mut file = TraceFile::create(&path, &Trees::none()).unwrap();
        file.add(&text).unwrap();
        file.finish().unwrap();
        let events: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let spans: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
        let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["plain", "a \"quote\" \\ \n \u{1b}[2J", "caf\u{fffd}", ".", "read"]);
        assert_eq!(spans[2]["args"], json!({"step": "entry", "path_bytes": "Y2Fm6Q=="}));
        assert_eq!((&spans[0]["ts"], &spans[0]["dur"]), (&json!(5.0), &json!(2.5)));
        assert_eq!(spans[4]["args"], json!({"means": "ring", "bytes": 42}));
        assert_eq!((&spans[4]["pid"], &spans[4]["tid"]), (&json!(3), &json!(17)));
        let named: Vec<&str> = events.iter().filter_map(|event| event["args"]["name"].as_str()).collect();
        assert_eq!(named, ["ring 3", "task 2", "task 2, at the same time"]);
    }
}
