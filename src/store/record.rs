//! What is known of each snapshot: a line of JSON each in `.ringsync/snapshots.jsonl`, in the order they were taken.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::JsonPath;
use crate::store::layout::{LATEST, Layout};
use crate::store::retention::Candidate;

/// The version of the lines that this program writes, and the newest one that it reads.
pub(super) const FORMAT: u32 = 1;

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// Of the line: [`Store::open`](crate::store::Store::open) refuses one that it does not know.
    pub format: u32,
    /// One more than that of the snapshot before. This is their order, whatever the clock said.
    pub sequence: u64,
    /// Of its directory in the store.
    pub name: String,
    /// It was given its name by the user, and goes only by that.
    pub named: bool,
    /// When it was begun, and when it was whole.
    pub started: Timestamp,
    #[allow(missing_docs)]
    pub finished: Timestamp,
    /// No entry of the source is missing in it, and no bytes.
    pub complete: bool,
    /// Whether the sources lie in it each under its own name.
    pub several: bool,
    /// What it was taken of, as absolute paths. What is no UTF-8 became U+FFFD.
    pub sources: Vec<String>,
    /// Entries of the source, directories included.
    pub entries: u64,
    /// Entries that were copied, and that are hard links to an earlier snapshot's.
    pub copied: u64,
    #[allow(missing_docs)]
    pub linked: u64,
    /// Files that are clones of an earlier snapshot's.
    #[serde(default)]
    pub cloned: u64,
    /// Bytes that were written, and bytes of all files, each name of a file counted.
    pub bytes_copied: u64,
    #[allow(missing_docs)]
    pub bytes: u64,
    /// The options of the run, as its caller gave them.
    #[serde(default)]
    pub options: Vec<String>,
    /// How many errors the run had, and the first of them.
    pub errors: u64,
    #[allow(missing_docs)]
    pub first_errors: Vec<String>,
    /// What is missing in it: the first paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<JsonPath>,
    /// The exit code of the run.
    pub exit_code: u8,
    /// The program's version.
    pub version: String,
    /// It was made from what lies in the store, not by the run that took the snapshot: whether something is missing in that
    /// is not known.
    #[serde(default)]
    pub rebuilt: bool,
}

impl Record {
    /// What rules look at.
    pub fn candidate(&self) -> Candidate {
        Candidate::new(self.started, self.complete, self.named)
    }
}

/// Of a line that may be a newer program's.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Reads the record. No file is no snapshot. A last line without an end was being written when its run was killed: its
/// snapshot is found again by what stands beside the record.
pub(super) fn read(path: &Path) -> Result<Vec<Record>> {
    let file = match open_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.at(Operation::UseStore, || path)?,
    };
    let mut reader = BufReader::new(file);
    let mut records = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line).at(Operation::UseStore, || path)?;
        if line.last() != Some(&b'\n') {
            return Ok(records);
        }
        records.push(parse(&line, records.len() + 1, path)?);
    }
}

/// The snapshots that are there, the oldest first, and the sequence number of the next one. A run that was killed may have given
/// one its name, and not got to write the record: what it had written down before tells it.
pub(super) fn known(layout: &Layout) -> Result<(Vec<Record>, u64)> {
    let mut snapshots = read(&layout.record())?;
    let after = |record: Option<&Record>| record.map_or(1, |record| record.sequence.saturating_add(1));
    let next = after(snapshots.last());
    let pending = read(&layout.pending())?.pop();
    // One that was found again since is there under another number.
    let is_known = |pending: &Record| snapshots.iter().any(|record| record.name == pending.name);
    let pending = pending.filter(|pending| pending.sequence >= next && !is_known(pending));
    snapshots.extend(pending);
    let next = after(snapshots.last());
    snapshots.retain(|record| layout.may_have(&record.name));
    Ok((snapshots, next))
}

/// Opens a file of ours to read it. The store may be another user's, who may have put a FIFO or a symlink in its place.
pub(super) fn open_file(path: &Path) -> std::io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is no regular file")),
    }
}

/// Whether a newer program has written a line.
pub(super) fn is_newer(line: &[u8]) -> bool {
    serde_json::from_slice(line).is_ok_and(|Version { format }| format > FORMAT)
}

/// Reads a line.
pub(super) fn parse(line: &[u8], number: usize, path: &Path) -> Result<Record> {
    let refuse = |why: String| Err(Error::new(Operation::UseStore, path, Cause::Refused(why)));
    match serde_json::from_slice(line) {
        Ok(Version { format }) if format > FORMAT => refuse(format!(
            "line {number} is of format {format}, and this program knows up to {FORMAT}: use a newer ringsync"
        )),
        Ok(_) => match serde_json::from_slice::<Record>(line) {
            Ok(record) if is_part_of_path(&record.name) => Ok(record),
            Ok(_) => refuse(format!("line {number} names no directory of the store")),
            Err(error) => refuse(illegible(number, &error)),
        },
        Err(error) => refuse(illegible(number, &error)),
    }
}

fn illegible(number: usize, error: &serde_json::Error) -> String {
    format!("line {number} is not a snapshot's ({error}): `rebuild` makes the record again")
}

/// Whether a snapshot's directory can be called so.
pub(super) fn is_part_of_path(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']) && name != LATEST
}

/// Writes all records anew, in place of those there are.
pub(super) fn write(path: &Path, records: &[Record]) -> Result<()> {
    let mut text = Vec::new();
    for record in records {
        let line = serde_json::to_vec(record).map_err(std::io::Error::from);
        text.extend(line.at(Operation::Write, || path)?);
        text.push(b'\n');
    }
    replace(path, &text)
}

/// Writes a small file whole: under another name first, and flushed before it gets its own.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let at = || path.to_path_buf();
    let mut file = File::create(&new).at(Operation::Write, at)?;
    file.write_all(text).at(Operation::Write, at)?;
    file.sync_all().at(Operation::Flush, at)?;
    std::fs::rename(&new, path).at(Operation::Rename, at)?;
    flush_around(path)
}

/// Removes a file of ours, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.at(Operation::Remove, || path),
    }
}

/// Flushes the directory that a path lies in. One that can't be flushed is no error: its file system has nothing to flush.
pub(super) fn flush_around(path: &Path) -> Result<()> {
    let Some(around) = path.parent() else { return Ok(()) };
    let flushed = File::open(around).and_then(|around| around.sync_all());
    match flushed {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(()),
        flushed => flushed.at(Operation::Flush, || around),
    }
}
