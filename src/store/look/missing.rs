//! What a partial snapshot lacks, and which one has it.

use std::path::{Path, PathBuf};

use crate::store::Record;
use crate::store::look::find::{Found, View};

/// What a snapshot lacks, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// Its path in a snapshot.
    pub path: PathBuf,
    /// The newest snapshot that has it, of those before this one. `None`: none has.
    pub newest: Option<String>,
}

impl View {
    /// The first `most` paths that a snapshot lacks.
    pub fn missing(&self, record: &Record, most: usize) -> Vec<Missing> {
        let before = |found: &&Found| found.record.as_ref().is_some_and(|one| one.sequence < record.sequence);
        let of = |path: PathBuf| {
            let mut older = self.snapshots.iter().rev().filter(before);
            let newest = older.find(|found| found.has_whole(&path)).map(|found| found.name.clone());
            Missing { path, newest }
        };
        record.missing.iter().take(most).filter_map(|path| path.to_path()).map(of).collect()
    }
}

impl Found {
    /// Whether it has something under a path, and its record does not say that it lacks that, or a directory around it.
    fn has_whole(&self, path: &Path) -> bool {
        let mut lacks = self.record.iter().flat_map(|record| &record.missing);
        !lacks.any(|lack| lack.to_path().is_some_and(|lack| path.starts_with(lack))) && self.has(path)
    }
}
