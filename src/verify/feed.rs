//! The feed: parses the manifest and sends what its lines say, chunk by chunk.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use async_channel::Sender;

use crate::content::manifest::{Malformed, Reader, Record};
use crate::error::{Context, Error, Operation, Result};
use crate::io::path::components;
use crate::verify::verification::{Input, Ticket, Verification};

/// Bytes that are read from the manifest at a time.
const CHUNK: usize = 64 << 10;
/// The most lines of a chunk, and the fewest while the tasks wait for work: few files then still reach all of them.
const FULL: usize = 32;
const SMALLEST: usize = 4;
/// Bytes of paths after which a chunk is full.
const FULL_BYTES: usize = 64 << 10;

/// What one line says, or why there are no more of them.
pub(super) enum Line {
    Record(Record),
    Malformed { number: u64, why: Malformed },
    Broken(Error),
}

/// Some lines, and the share of the work that they are.
pub(crate) struct Chunk {
    pub(super) lines: Vec<Line>,
    _ticket: Ticket,
}

/// The paths that a manifest names: 16 bytes of a hash of each. Two paths that share them would take 2⁶⁴ tries to find.
#[derive(Default)]
pub(super) struct Known(HashSet<[u8; 16]>);

impl Known {
    fn digest(path: &Path) -> Option<[u8; 16]> {
        let names = components(path.as_os_str().as_bytes())?;
        let hash = blake3::hash(&names.join(&b'/'));
        hash.as_bytes().first_chunk().copied()
    }

    fn add(&mut self, path: &Path) {
        self.0.extend(Self::digest(path));
    }

    /// Whether the manifest names this path, in whichever form: `./a//b` names `a/b`.
    pub(super) fn has(&self, path: &Path) -> bool {
        Self::digest(path).is_some_and(|digest| self.0.contains(&digest))
    }
}

/// Starts the feed in its thread, which returns the paths it has seen, if they are wanted.
pub(super) fn start(
    verification: &Arc<Verification>,
    input: Input,
    chunks: Sender<Chunk>,
    strict: bool,
) -> Result<JoinHandle<Option<Known>>> {
    let verification = verification.clone();
    let known = strict.then(Known::default);
    // Taken before any task can find that there is nothing to do.
    let ticket = Ticket::new(&verification);
    let body = move || {
        let _ticket = ticket;
        let feed = Feed { verification: &verification, chunks, lines: Vec::new(), bytes: 0, known };
        feed.run(input)
    };
    thread::Builder::new().name("feed".into()).spawn(body).at(Operation::StartEngine, || "threads")
}

struct Feed<'a> {
    verification: &'a Arc<Verification>,
    chunks: Sender<Chunk>,
    /// Not sent yet, and the bytes of their paths.
    lines: Vec<Line>,
    bytes: usize,
    known: Option<Known>,
}

impl Feed<'_> {
    fn run(mut self, input: Input) -> Option<Known> {
        let file = File::from(input.fd);
        let mut reader = Reader::new(BufReader::with_capacity(CHUNK, file));
        while let Some(line) = reader.next() {
            self.add(line, &input.name);
            // Before it may have to wait for more input, what there is goes out.
            let waits = reader.get_ref().buffer().is_empty();
            if (waits || self.is_full()) && !self.send() {
                return self.known;
            }
        }
        self.verification.complete.store(true, Ordering::Relaxed);
        self.send();
        self.known
    }

    fn add(&mut self, line: std::io::Result<(u64, Result<Record, Malformed>)>, name: &Path) {
        self.lines.push(match line {
            Ok((_, Ok(entry))) => {
                self.verification.listed.fetch_add(1, Ordering::Relaxed);
                self.bytes += entry.path.as_os_str().len();
                if let Some(known) = &mut self.known {
                    known.add(&entry.path);
                }
                Line::Record(entry)
            }
            Ok((number, Err(why))) => Line::Malformed { number, why },
            Err(error) => {
                // What the rest lists nobody knows, and so not what it lacks.
                self.known = None;
                Line::Broken(Error::new(Operation::ReadManifest, name, error))
            }
        });
    }

    fn is_full(&self) -> bool {
        let plenty = (self.chunks.capacity().unwrap_or(1) / 2).max(1);
        let full = (FULL * self.chunks.len() / plenty).clamp(SMALLEST, FULL);
        self.lines.len() >= full || self.bytes >= FULL_BYTES
    }

    /// Sends what there is; waits while the tasks are behind. Returns whether more is wanted.
    fn send(&mut self) -> bool {
        self.bytes = 0;
        let chunk = Chunk { lines: std::mem::take(&mut self.lines), _ticket: Ticket::new(self.verification) };
        self.chunks.send_blocking(chunk).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_in_whichever_form_it_was_written() {
        let mut known = Known::default();
        for path in ["./a//b", "x/../c", "/etc/passwd", "../d"] {
            known.add(Path::new(path));
        }
        assert!(known.has(Path::new("a/b")) && known.has(Path::new("c")));
        for path in ["a", "b", "x", "etc/passwd", "d", "ab", "a/b/c"] {
            assert!(!known.has(Path::new(path)), "{path}");
        }
    }
}
