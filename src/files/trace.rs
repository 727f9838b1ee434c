//! `--trace`: what each task did when, in the JSON array format of Chrome's trace events, which Perfetto and
//! chrome://tracing show. A ring is a process there, and a task a thread: a span for each entry at work, and within it
//! spans for its operations. An operation that begins while another one of its task is in flight has a track beside.
//!
//! Every span is one event that has both ends (`"ph":"X"`), written when it is over: a run that is broken off leaves a file
//! that is whole. Each ring gathers text and sends it to the progress task, which writes it.

use std::fs::File;
use std::io::{BufWriter, IntoInnerError, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Context, Operation, Result};
use crate::files::named::{self, Existing};
use crate::files::trees::Trees;
use crate::io::close;

/// The file under way.
pub(crate) struct TraceFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl TraceFile {
    /// Begins the file at `path`; one that is there is replaced.
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

    /// Ends the array, and closes the file.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.add("\n]\n")?;
        let path = || &self.path;
        let file =
            self.writer.into_inner().map_err(IntoInnerError::into_error).at(Operation::UseTrace, path)?;
        close::close(file).at(Operation::UseTrace, path)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use serde_json::{Value, json};

    use super::*;
    use crate::event::metrics::{Call, Means};
    use crate::io::spans::{Spans, Track};

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
        spans.operation(Track { task: 2, beside: 1 }, times, (Call::Read, Means::Ring), 42);
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
