//! The spans of one ring, as text of a trace.

use std::fmt::Write as _;
use std::path::Path;

use crate::event::JsonPath;
use crate::event::metrics::{Call, Means};

/// Text is sent once there are this many bytes of it.
pub(crate) const FULL: usize = 64 << 10;

/// Tracks of a task: what it has in flight at once, and more than it ever has.
pub(crate) const TRACKS: u32 = 8;

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
        (kind, means): (Call, Means),
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
