//! Whether a source is what it was: one that is not mounted, or was emptied, is to push out no good snapshot.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::event::Totals;
use crate::store::layout::Layout;
use crate::store::record::Record;
use crate::text::Escaped;

/// How much a source must have to be taken for what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MinEntries {
    /// This number of entries.
    Entries(u64),
    /// This percentage of what the newest complete snapshot has.
    Percent(u8),
}

impl Default for MinEntries {
    fn default() -> Self {
        MinEntries::Percent(10)
    }
}

/// Why what was written is no snapshot: its source is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfit {
    /// Entries that the source has.
    pub entries: u64,
    /// It vanished while it was read.
    pub gone: bool,
    /// One of several sources that is empty, and was not.
    pub emptied: Option<PathBuf>,
    /// The least that it was to have.
    pub least: u64,
    /// The newest complete snapshot, and how many it has.
    pub newest: Option<(String, u64)>,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(emptied), Some((name, _))) = (&self.emptied, &self.newest) {
            let emptied = Escaped::path(emptied);
            return write!(
                f,
                "{emptied} is empty, and snapshot {name} has something of it: is it mounted? If it is to be empty, give \
                 --min-entries as a number"
            );
        }
        match self.entries {
            _ if self.gone => f.write_str("the source has vanished")?,
            0 => f.write_str("the source is empty")?,
            entries => write!(f, "the source has {entries} of the {} entries that it must have", self.least)?,
        }
        if let Some((name, entries)) = &self.newest {
            write!(f, ", and snapshot {name} has {entries}")?;
        }
        f.write_str(": is it mounted?")?;
        match self.entries {
            0 => Ok(()),
            _ if self.gone => Ok(()),
            entries => write!(f, " If it is to have no more, give --min-entries {entries}"),
        }
    }
}

/// Whether the source has too little to be what it was. `written` tells where what is taken of one of several sources lies.
pub(super) fn unfit(
    totals: &Totals,
    gone: bool,
    (run, min_entries): (&Config, MinEntries),
    (layout, snapshots): (&Layout, &[Record]),
    written: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Option<Unfit> {
    let newest = snapshots.iter().rev().find(|record| record.complete);
    let entries = entries(totals, run.sources.is_some());
    let mut emptied = None;
    let least = match min_entries {
        MinEntries::Entries(least) => least,
        MinEntries::Percent(percent) => {
            let had = newest.map_or(0, |record| record.entries);
            let has_emptied = |newest: &Record| emptied_source(run, &layout.snapshot(&newest.name), written);
            emptied = newest.filter(|_| percent > 0).and_then(has_emptied);
            (u128::from(had) * u128::from(percent)).div_ceil(100) as u64
        }
    };
    let least = least.max(1);
    let newest = newest.map(|record| (record.name.clone(), record.entries));
    let is_unfit = gone || emptied.is_some() || entries < least;
    is_unfit.then_some(Unfit { entries, gone, emptied, least, newest })
}

/// One of several sources that is empty, and was not when the newest complete snapshot was taken.
fn emptied_source(
    run: &Config,
    newest: &Path,
    written: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Option<PathBuf> {
    let first = |path: &Path| {
        let is_directory = path.symlink_metadata().is_ok_and(|stat| stat.is_dir());
        is_directory
            .then(|| std::fs::read_dir(path).map(|mut entries| entries.next().is_some()).ok())
            .flatten()
    };
    let has_left = |source: &&PathBuf| {
        let (Some(now), Some(name)) = (written(source), source.file_name()) else { return false };
        first(&now) == Some(false) && first(&newest.join(name)) == Some(true)
    };
    run.sources.as_ref()?.iter().find(has_left).cloned()
}

/// Those at the top of the snapshot and below: of one directory the walk counts the directory as well.
pub(super) fn entries(totals: &Totals, several: bool) -> u64 {
    if several { totals.found } else { totals.found.saturating_sub(1) }
}
