//! What changed from one snapshot to another one.

use std::ffi::OsStr;
use std::path::Path;

use crate::config::Config;
use crate::error::{Outcome, Result};
use crate::event::{Reporter, Summary, Totals};
use crate::options::Owner;
use crate::plan::chmod::Chmod;
use crate::stop::Stop;
use crate::store::look::find::{Found, View};

/// Two snapshots of a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Diff {
    /// A comparison, whose options may be changed: what would make the earlier one equal to the later one.
    pub run: Config,
    /// What it was.
    pub from: Found,
    /// What it became.
    pub to: Found,
    /// Lines of the store's record that can't be read, and what to do: texts for people.
    pub damage: Vec<String>,
}

crate::options::with!(Diff);

impl Diff {
    /// From the snapshot of one name to that of another; `latest` is the newest one.
    ///
    /// # Errors
    /// When the store can't be used, or has no such snapshots.
    pub fn new(store: &Path, from: &OsStr, to: &OsStr) -> Result<Self> {
        let view = View::open(store)?;
        let (from, to) = (view.find(from)?, view.find(to)?);
        let run = Config::new(&to.path, &from.path);
        let damage = view.damage().map(ToString::to_string).collect();
        Ok(Diff { run, from, to, damage })
    }
}

/// Tells what changed, as [`check`](crate::check()) does. What is one inode in both is equal, and is not read: but
/// options may want other modes and owners than it has.
///
/// # Errors
/// Those of [`check`](crate::check()).
pub fn diff(diff: &Diff, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Summary> {
    if diff.from.path == diff.to.path {
        let summary = Summary::new(Outcome::Done, Totals::default());
        reporter.finish(&summary);
        return Ok(summary);
    }
    let mut run = diff.run.clone();
    run.shares_inodes = run.chmod == Chmod::default() && run.owner == Owner::default();
    crate::engine::check(&run, reporter, stop)
}
