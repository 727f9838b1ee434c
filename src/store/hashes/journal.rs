//! What a run learns of the contents of files, written down as it comes: a hash, or which earlier tree has them. The lines of
//! a run that was broken off stay beside what it has written, and tell the next one as much.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use blake3::Hash;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Operation, Result};
use crate::event::{Action, EntryEvent, Kind, Live, Reporter};
use crate::store::own::held;
use crate::store::record::Record;

/// The first line, in JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The manifests of the earlier trees, by their numbers: names in the directory for what is ours.
    pub(crate) earlier: Vec<String>,
    /// Which mount the run has written to ([`identity`](crate::store::mounted::identity)).
    pub(crate) mounted: Option<String>,
}

/// What is known of a file's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Hash(Hash),
    /// The same of a file that changed each time that it was read: they may be a mixture.
    Changing(Hash),
    /// They are those that this earlier tree has under the same path.
    Earlier(u32),
}

/// A file, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) known: Known,
}

/// Writes the lines of a run.
pub(crate) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    /// What could not be written yet: there may be room later.
    waiting: Vec<u8>,
    counts: Counts,
}

/// What earlier trees had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Files that are clones of what they had.
    pub(crate) cloned: u64,
    /// Bytes that they had not, and that were written.
    pub(crate) bytes_copied: u64,
    /// Bytes that are there by hard links to what they had.
    pub(crate) bytes_linked: u64,
    /// Bytes that clones share with what they had.
    pub(crate) bytes_cloned: u64,
}

impl Counts {
    fn add(&mut self, event: &EntryEvent) {
        let shared = event.reused.map_or(0, |reused| reused.bytes);
        self.bytes_copied += event.bytes.saturating_sub(shared);
        match (event.reused, event.action) {
            (None, _) => {}
            (Some(_), Action::Linked) => self.bytes_linked += shared,
            (Some(_), action) => {
                self.cloned += u64::from(action.is_change());
                self.bytes_cloned += shared;
            }
        }
    }

    /// Puts them into the record of the run's snapshot.
    pub(crate) fn put(self, record: &mut Record) {
        record.cloned = self.cloned;
        record.bytes_copied = self.bytes_copied;
        record.bytes_linked = self.bytes_linked;
        record.bytes_cloned = self.bytes_cloned;
    }
}

impl Journal {
    /// Begins one in place of what is there.
    pub(crate) fn create(path: &Path, head: &Head) -> Result<Self> {
        let file = held::create(path).at(Operation::Write, || path)?;
        let mut file = BufWriter::with_capacity(1 << 16, file);
        let line = serde_json::to_vec(head).map_err(io::Error::from);
        let written = line.and_then(|line| file.write_all(&line)).and_then(|()| file.write_all(b"\n"));
        written.at(Operation::Write, || path)?;
        Ok(Journal { path: path.to_path_buf(), file, waiting: Vec::new(), counts: Counts::default() })
    }

    /// Has what is known so far in its file.
    ///
    /// # Errors
    /// When not all of it could be written. It may be tried again.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file.flush().at(Operation::Write, || &self.path)?;
        while !self.waiting.is_empty() {
            let length = self.file.get_mut().write(&self.waiting).at(Operation::Write, || &self.path)?;
            self.waiting.drain(..length);
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// When not all of it could be written.
    pub(crate) fn finish(mut self) -> Result<Counts> {
        self.flush()?;
        Ok(self.counts)
    }

    fn add(&mut self, path: &Path, known: Known) {
        let mut line = Vec::new();
        // Writing to memory can't fail.
        write(&mut line, path.as_os_str().as_bytes(), known).ok();
        if !self.waiting.is_empty() || self.file.write_all(&line).is_err() {
            self.waiting.extend(line);
        }
    }
}

impl Reporter for Journal {
    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        self.counts.add(event);
        if event.kind != Kind::File || event.error.is_some() {
            return;
        }
        let earlier = event.reused.and_then(|reused| u32::try_from(reused.tree).ok());
        let hash = match event.live {
            Some(Live::Changing) => event.hash.map(Known::Changing),
            _ => event.hash.map(Known::Hash),
        };
        let known = hash.or(earlier.map(Known::Earlier));
        if let Some(known) = known {
            self.add(&event.path(directory), known);
        }
    }
}

/// A line is `h`, or `c` of what may be a mixture, and a hash, or `e` and a number, then the path, and a NUL, which no path has.
pub(crate) fn write(to: &mut impl Write, path: &[u8], known: Known) -> io::Result<()> {
    match known {
        Known::Hash(hash) | Known::Changing(hash) => {
            to.write_all(if matches!(known, Known::Hash(_)) { b"h" } else { b"c" })?;
            to.write_all(hash.as_bytes())?;
        }
        Known::Earlier(number) => {
            to.write_all(b"e")?;
            to.write_all(&number.to_le_bytes())?;
        }
    }
    to.write_all(path)?;
    to.write_all(b"\0")
}

/// Reads a journal: its head, and then the lines.
pub(crate) fn read(path: &Path) -> Result<(Head, Lines)> {
    let file = held::open(path).at(Operation::UseStore, || path)?;
    let mut lines = Lines::of(file);
    let mut line = Vec::new();
    lines.input.read_until(b'\n', &mut line).at(Operation::UseStore, || path)?;
    // One that was killed before it had written all of this line has no others.
    let head = serde_json::from_slice(&line).unwrap_or_default();
    Ok((head, lines))
}

/// The lines of a journal, up to one that was being written when its run was killed.
pub(crate) struct Lines {
    input: BufReader<File>,
}

impl Lines {
    pub(crate) fn of(file: File) -> Self {
        Lines { input: BufReader::with_capacity(1 << 16, file) }
    }

    fn next_line(&mut self) -> io::Result<Option<Entry>> {
        let mut tag = [0];
        self.input.read_exact(&mut tag)?;
        let known = match tag[0] {
            tag @ (b'h' | b'c') => {
                let mut hash = [0; blake3::OUT_LEN];
                self.input.read_exact(&mut hash)?;
                let hash = Hash::from_bytes(hash);
                if tag == b'h' { Known::Hash(hash) } else { Known::Changing(hash) }
            }
            _ => {
                let mut number = [0; 4];
                self.input.read_exact(&mut number)?;
                Known::Earlier(u32::from_le_bytes(number))
            }
        };
        let mut path = Vec::new();
        self.input.read_until(0, &mut path)?;
        Ok((path.pop() == Some(0)).then_some(Entry { path, known }))
    }
}

impl Iterator for Lines {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_line() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            line => line.transpose(),
        }
    }
}
