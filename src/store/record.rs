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
    /// It was another program's: it comes before all that were taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
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

/// What a file of records has.
#[derive(Default)]
struct Lines {
    records: Vec<Record>,
    /// Why lines of it can't be read.
    illegible: Vec<Error>,
    /// Why its last line can't be, which has no end: a crash has cut it off.
    cut: Option<Error>,
}

/// Reads records. No file has none, and an empty line is none.
///
/// # Errors
/// When the file can't be read, or a newer program has written a line.
fn read(path: &Path) -> Result<Lines> {
    let file = match held::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lines::default()),
        file => file.at(Operation::UseStore, || path)?,
    };
    let mut reader = BufReader::new(file);
    let mut lines = Lines::default();
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line).at(Operation::UseStore, || path)?;
        if line.is_empty() {
            return Ok(lines);
        }
        number += 1;
        let is_cut = line.pop_if(|end| *end == b'\n').is_none();
        if line.is_empty() {
            continue;
        }
        match parse(&line, number, path) {
            Ok(record) => lines.records.push(record),
            Err(error) if is_newer(&line) => return Err(error),
            Err(_) if is_cut => lines.cut = Some(refusal(path, cut_off(number))),
            Err(error) => lines.illegible.push(error),
        }
    }
}

/// What is known of the snapshots of a store.
pub(super) struct Known {
    /// Those that are there, the oldest first.
    pub(super) snapshots: Vec<Record>,
    /// The sequence number of the next one.
    pub(super) next: u64,
    /// The names that the record has, and of which there is no directory any more: the next run that writes it forgets them.
    pub(super) gone: Vec<String>,
    /// That the record's last line is cut off, whose snapshot is known by its directory alone.
    pub(super) cut: Option<Error>,
    /// Why other lines can't be read.
    pub(super) illegible: Vec<Error>,
}

/// What is known of the snapshots, where all of the record can be read, except for a last line that is cut off.
///
/// # Errors
/// When it can't be read, or a line of it.
pub(super) fn known(layout: &Layout) -> Result<Known> {
    let mut known = legible(layout)?;
    match known.illegible.is_empty() {
        true => Ok(known),
        false => Err(known.illegible.swap_remove(0)),
    }
}

/// What is known of the snapshots, as far as the record can be read. A run that was killed may have given one its name, and not
/// got to write the record: what it had written down before tells it.
///
/// # Errors
/// When the record can't be read, or is a newer program's.
pub(super) fn legible(layout: &Layout) -> Result<Known> {
    let Lines { records, mut illegible, mut cut } = read(&layout.record())?;
    let mut snapshots = in_order(records);
    let gone = snapshots.iter().map(|record| record.name.clone());
    let gone = gone.filter(|name| !layout.may_have(name)).collect();
    let after = |record: Option<&Record>| record.map_or(1, |record| record.sequence.saturating_add(1));
    let next = after(snapshots.last());
    let mut pending = read(&layout.pending())?;
    illegible.append(&mut pending.illegible);
    // One that was found again since is there under another number.
    let is_known = |pending: &Record| snapshots.iter().any(|record| record.name == pending.name);
    let last = pending.records.pop().filter(|pending| pending.sequence >= next && !is_known(pending));
    // The line that is cut off is the one of this snapshot.
    cut = cut
        .filter(|_| !last.as_ref().is_some_and(|last| last.sequence == next && layout.may_have(&last.name)));
    snapshots.extend(last);
    let next = after(snapshots.last());
    snapshots.retain(|record| layout.may_have(&record.name));
    Ok(Known { snapshots, next, gone, cut: cut.or(pending.cut), illegible })
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
fn is_newer(line: &[u8]) -> bool {
    serde_json::from_slice(line).is_ok_and(|Version { format }| format > FORMAT)
}

/// Reads a line.
fn parse(line: &[u8], number: usize, path: &Path) -> Result<Record> {
    let refuse = |why: String| Err(refusal(path, why));
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

fn refusal(path: &Path, why: String) -> Error {
    Error::new(Operation::UseStore, path, Cause::Refused(why))
}

fn illegible(number: usize, error: &serde_json::Error) -> String {
    format!("line {number} is not a snapshot's ({error}): `snapshot rebuild` makes the record again")
}

fn cut_off(number: usize) -> String {
    format!(
        "line {number}, the last one, is cut off: its snapshot is known by its directory alone, and `snapshot rebuild` takes \
         it in"
    )
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
