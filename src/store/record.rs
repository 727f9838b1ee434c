//! What is known of each snapshot: a line of JSON each in `.ringsync/snapshots.jsonl`, in the order they were taken.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::JsonPath;
use crate::store::layout::{LATEST, Layout};
use crate::store::mounted;
use crate::store::own::held;
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
    /// Bytes that were written.
    pub bytes_copied: u64,
    /// Bytes of files that are hard links to an earlier snapshot's.
    #[serde(default)]
    pub bytes_linked: u64,
    /// Bytes that clones share with an earlier snapshot's files: of one that has changed only some.
    #[serde(default)]
    pub bytes_cloned: u64,
    /// Bytes of all files, each name of a file counted. What is more than the three above has another name in the snapshot.
    pub bytes: u64,
    /// Files that changed each time that they were read, and may be mixtures: the manifest marks them.
    #[serde(default)]
    pub changing: u64,
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
    /// It was not put on stable storage: which start of the machine it was taken in. After another one a crash may have taken
    /// contents of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unflushed: Option<String>,
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

    /// Whether a crash may have taken contents of its files, without a trace of that in their sizes and times.
    pub(super) fn is_doubted(&self) -> bool {
        let is_of_now = |taken: &String| mounted::boot().as_ref() == Some(taken);
        self.unflushed.as_ref().is_some_and(|taken| !is_of_now(taken))
    }
}

/// Of a line that may be a newer program's.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Reads the record. No file is no snapshot. A last line without an end that can't be read was being written when its run was
/// killed: its snapshot is found again by what stands beside the record. Of another line that can't be read `refuse` says
/// whether that is an error; one of a newer program always is.
fn read(path: &Path, refuse: &mut dyn FnMut(Error) -> Result<()>) -> Result<Vec<Record>> {
    let file = match held::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.at(Operation::UseStore, || path)?,
    };
    let mut reader = BufReader::new(file);
    let mut records = Vec::new();
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line).at(Operation::UseStore, || path)?;
        if line.is_empty() {
            return Ok(records);
        }
        let is_cut = line.last() != Some(&b'\n');
        number += 1;
        match parse(&line, number, path) {
            Ok(record) => records.push(record),
            Err(error) if is_newer(&line) => return Err(error),
            Err(_) if is_cut => return Ok(records),
            Err(error) => refuse(error)?,
        }
    }
}

/// The snapshots that are there, the oldest first, and the sequence number of the next one. A run that was killed may have given
/// one its name, and not got to write the record: what it had written down before tells it.
pub(super) fn known(layout: &Layout) -> Result<(Vec<Record>, u64)> {
    known_or(layout, &mut Err)
}

/// The same, as far as the record can be read, and why lines of it can't.
pub(super) fn legible(layout: &Layout) -> Result<(Vec<Record>, Vec<Error>)> {
    let mut illegible = Vec::new();
    let (snapshots, _) = known_or(layout, &mut |error| {
        illegible.push(error);
        Ok(())
    })?;
    Ok((snapshots, illegible))
}

fn known_or(layout: &Layout, refuse: &mut dyn FnMut(Error) -> Result<()>) -> Result<(Vec<Record>, u64)> {
    let mut snapshots = in_order(read(&layout.record(), refuse)?);
    let after = |record: Option<&Record>| record.map_or(1, |record| record.sequence.saturating_add(1));
    let next = after(snapshots.last());
    let pending = read(&layout.pending(), refuse)?.pop();
    // One that was found again since is there under another number.
    let is_known = |pending: &Record| snapshots.iter().any(|record| record.name == pending.name);
    let pending = pending.filter(|pending| pending.sequence >= next && !is_known(pending));
    snapshots.extend(pending);
    let next = after(snapshots.last());
    snapshots.retain(|record| layout.may_have(&record.name));
    Ok((snapshots, next))
}

/// The names that the record has, and of which there is no directory any more: the next run that writes it forgets them.
pub(super) fn gone(layout: &Layout) -> Result<Vec<String>> {
    let records = in_order(read(&layout.record(), &mut Err)?).into_iter();
    Ok(records.map(|record| record.name).filter(|name| !layout.may_have(name)).collect())
}

/// Puts records in their order, which is that of their numbers. Of two with one name the later one is its snapshot's.
fn in_order(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| record.sequence);
    let mut seen = HashSet::new();
    let is_last: Vec<bool> = records.iter().rev().map(|record| seen.insert(record.name.clone())).collect();
    let mut is_last = is_last.into_iter().rev();
    records.retain(|_| is_last.next().unwrap_or(true));
    records
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
    format!("line {number} is not a snapshot's ({error}): `snapshot rebuild` makes the record again")
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
    let mut file = held::create(&new).at(Operation::Write, at)?;
    file.write_all(text).at(Operation::Write, at)?;
    or_nothing_to_flush(file.sync_all()).at(Operation::Flush, at)?;
    held::rename(&new, path).at(Operation::Rename, at)?;
    flush_around(path)
}

/// Removes a file of ours, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    held::remove(path).at(Operation::Remove, || path)
}

/// Flushes the directory that a path lies in. One that can't be flushed is no error: its file system has nothing to flush.
pub(super) fn flush_around(path: &Path) -> Result<()> {
    let Some(around) = path.parent() else { return Ok(()) };
    let flushed = held::open_own(around).and_then(|around| File::from(around).sync_all());
    or_nothing_to_flush(flushed).at(Operation::Flush, || around)
}

fn or_nothing_to_flush(flushed: std::io::Result<()>) -> std::io::Result<()> {
    match flushed {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(()),
        flushed => flushed,
    }
}
