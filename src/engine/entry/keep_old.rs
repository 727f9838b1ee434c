//! Keeping what an item will replace or rewrite: `--backup`.

use crate::engine::backup::Old;
use crate::engine::entry::item::Item;
use crate::engine::run::blocking::in_thread;
use crate::error::{Operation, Result};

/// Backs up what an item will replace.
pub(crate) async fn keep(item: &Item<'_>) -> Result<()> {
    if item.run().backups.is_none() {
        return Ok(());
    }
    item.lane.doing(Operation::Backup);
    let directory = item.directory.path();
    let (run, within, watched) = (item.run(), item.changing()?, item.lane.watched());
    let (lies_at, source, name) = (directory.as_path(), Some(&*item.pair.source), item.target());
    let expected = item.old.map(|old| old.inode);
    let old = Old { run, within, directory: &directory, lies_at, source, name, expected, watched };
    // Some system calls that change directories, as giving a file its name does.
    if old.link()? {
        return Ok(());
    }
    copy(item).await
}

/// Backs up what an item will rewrite where it is. Copying may take long, and goes to a thread.
pub(crate) async fn copy(item: &Item<'_>) -> Result<()> {
    if item.run().backups.is_none() {
        return Ok(());
    }
    item.lane.doing(Operation::Backup);
    let (within, source) = (item.changing()?.clone(), item.pair.source.clone());
    let (directory, name) = (item.directory.path(), item.target().to_owned());
    let (watched, expected) = (item.lane.watched.clone(), item.old.map(|old| old.inode));
    in_thread(item.lane, move |run| {
        let (watched, source, lies_at) = (watched.as_deref(), Some(&*source), directory.as_path());
        let (within, directory, name) = (&within, directory.as_path(), &*name);
        Old { run, within, directory, lies_at, source, name, expected, watched }.copy()
    })
    .await
}
