//! Snapshots: complete trees of a source, one beside the other in a store, in which what did not change is one more hard
//! link to what the snapshot before has. Each is an ordinary directory, of use without this program.
//!
//! A store is a directory:
//!
//! - `2026-11-27_023000Z/`, and so on: the snapshots, by the time they were begun, or by a name that the user gave;
//! - `latest`: a symlink to the newest one;
//! - `.ringsync/`: the record of the snapshots (`snapshots.jsonl`), the lock, and what is not done.
//!
//! [`take()`] has the engine write to `.ringsync/incomplete`, has all of it on stable storage, writes down what it will be,
//! and gives it its name. Whatever is killed at any moment, a snapshot with a name is whole: the next run finds what was written
//! down, and what was broken off, and goes on from there.

mod attempt;
pub mod clock;
mod clones;
mod earlier;
pub mod found;
mod hashes;
mod hold;
mod layout;
pub mod look;
mod mounted;
pub mod name;
mod own;
mod prune;
mod record;
pub mod retention;
mod shortage;
mod sources;
mod space;
mod take;
mod taken;
mod unfit;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::store::hold::{Held, is_broken_off, rename_tree};
use crate::store::layout::{LATEST, Layout};
use crate::store::record::{Known, known};

pub use crate::store::prune::{Decision, Prune, prune, refusal};
pub use crate::store::record::Record;
pub use crate::store::shortage::NoRoom;
pub use crate::store::space::KeepFree;
pub use crate::store::take::{Take, take};
pub use crate::store::taken::Taken;
pub use crate::store::unfit::{MinEntries, Unfit};

/// A store, as it is now.
#[derive(Debug)]
#[non_exhaustive]
pub struct Store {
    /// Its snapshots, the oldest first.
    pub snapshots: Vec<Record>,
    /// The names of those that the record has, and of which there is no directory any more.
    pub gone: Vec<String>,
    /// That the record's last line is cut off: its snapshot is not among these.
    pub cut: Option<Error>,
    layout: Layout,
}

impl Store {
    /// Reads the record of a store.
    ///
    /// # Errors
    /// When the directory is none, has no record, or one that can't be read, or that a newer program wrote.
    pub fn open(path: &Path) -> Result<Self> {
        let layout = Layout::new(path);
        layout.require()?;
        let Known { snapshots, gone, cut, .. } = known(&layout)?;
        Ok(Store { snapshots, gone, cut, layout })
    }

    /// Where a snapshot lies.
    pub fn path_of(&self, record: &Record) -> PathBuf {
        self.layout.snapshot(&record.name)
    }
}
