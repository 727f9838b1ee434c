//! What is in a tree, and the record of one whose run nothing is known of.

use std::path::Path;

use jiff::Timestamp;

use crate::error::Error;
use crate::event::{Incomplete, Kind};
use crate::stat::Stat;
use crate::stop::Stop;
use crate::store::own::walk::walk;
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
    let each = |stat: &Stat| {
        counted.entries += 1;
        counted.bytes += if stat.kind == Kind::File { stat.size } else { 0 };
        true
    };
    walk(tree, stop, each, |error| {
        if errors.len() < Incomplete::KEPT {
            errors.push(error);
        }
    });
    counted
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
        adopted: false,
    }
}
