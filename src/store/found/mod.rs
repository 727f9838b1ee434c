//! What lies in a store without a record, or is to lie there: the record is made again from the directories (rebuild.rs), and
//! trees of other programs are taken over as they are (adopt.rs), whose names tell when they were made (names.rs). What is in
//! a tree is counted (tree.rs).

mod adopt;
mod names;
mod rebuild;
mod tree;

use std::path::Path;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::stop::Stop;
use crate::store::Held;
use crate::store::layout::Layout;
use crate::store::record::Record;

pub use crate::store::found::adopt::{Adopt, Adopted, adopt};
pub use crate::store::found::rebuild::{Rebuild, Rebuilt, rebuild};

fn refusal(path: &Path, why: impl Into<String>) -> Error {
    Error::new(Operation::UseStore, path, Cause::Refused(why.into()))
}

/// The names of the directories in a store, hidden ones left out, and why others can't be those of snapshots.
fn directories(store: &Path) -> Result<(Vec<String>, Vec<Error>)> {
    let (mut names, mut odd) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(store).at(Operation::ListDirectory, || store)? {
        let entry = entry.at(Operation::ListDirectory, || store)?;
        if !entry.file_type().at(Operation::ListDirectory, || store)?.is_dir() {
            continue;
        }
        match entry.file_name().into_string() {
            Ok(name) if name.starts_with('.') => {}
            Ok(name) => names.push(name),
            Err(_) => odd.push(refusal(&entry.path(), "it is left as it is: its name is no UTF-8")),
        }
    }
    names.sort();
    Ok((names, odd))
}

/// Writes the record of these snapshots, in this order. What their order was before is nothing to anybody.
fn write_down(layout: Layout, mut snapshots: Vec<Record>, lock: std::fs::File) -> Result<Vec<Record>> {
    let next = number(&mut snapshots);
    let held = Held { layout, snapshots, next, gone: Vec::new(), cut: None, lock };
    held.write_down()?;
    Ok(held.snapshots)
}

/// Numbers them in this order. Returns the next number.
fn number(snapshots: &mut [Record]) -> u64 {
    let mut next = 1;
    for record in snapshots {
        record.sequence = next;
        next += 1;
    }
    next
}

/// Has a store, which is made if it is missing, for this process alone.
fn hold(layout: &Layout, wait: bool, stop: &Stop) -> Result<std::fs::File> {
    let (_, _, lock) = layout.make_and_lock(wait, stop)?;
    layout.vet()?;
    layout.require_latest()?;
    Ok(lock)
}
