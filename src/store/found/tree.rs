//! What is in a tree, and the record of one whose run nothing is known of.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::error::{Context, Error, Operation};
use crate::event::Incomplete;
use crate::stop::Stop;
use crate::store::record::{FORMAT, Record};

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Below the top.
    entries: u64,
    /// Of files, each name of one counted.
    bytes: u64,
}

/// Walks a tree. Of what can't be read the first errors are added to `errors`. Stops early if it is told to.
pub(super) fn count(tree: &Path, errors: &mut Vec<Error>, stop: &Stop) -> Counted {
    let mut counted = Counted::default();
    let mut directories = vec![PathBuf::from(tree)];
    while let Some(directory) = directories.pop().filter(|_| !stop.is_stopped()) {
        if let Err(error) = list(&directory, &mut counted, &mut directories)
            && errors.len() < Incomplete::KEPT
        {
            errors.push(error);
        }
    }
    counted
}

fn list(directory: &Path, counted: &mut Counted, directories: &mut Vec<PathBuf>) -> crate::error::Result<()> {
    for entry in std::fs::read_dir(directory).at(Operation::ListDirectory, || directory)? {
        let entry = entry.at(Operation::ListDirectory, || directory)?;
        let stat = entry.metadata().at(Operation::StatSource, || entry.path())?;
        counted.entries += 1;
        if stat.is_dir() {
            directories.push(entry.path());
        } else if stat.is_file() {
            counted.bytes += stat.len();
        }
    }
    Ok(())
}

/// The record of a tree that was begun at this time. Whether something is missing in it nobody knows: `missing` says what is known.
pub(super) fn record_of(
    (name, named): (String, bool),
    started: Timestamp,
    several: bool,
    missing: Option<&str>,
    counted: &Counted,
) -> Record {
    Record {
        format: FORMAT,
        sequence: 0,
        name,
        named,
        started,
        finished: started,
        complete: missing.is_none(),
        several,
        sources: Vec::new(),
        entries: counted.entries,
        copied: 0,
        linked: 0,
        cloned: 0,
        bytes_copied: 0,
        bytes_linked: 0,
        bytes_cloned: 0,
        bytes: counted.bytes,
        options: Vec::new(),
        errors: u64::from(missing.is_some()),
        first_errors: missing.map(String::from).into_iter().collect(),
        missing: Vec::new(),
        unflushed: None,
        exit_code: 0,
        version: env!("CARGO_PKG_VERSION").into(),
        rebuilt: true,
    }
}
