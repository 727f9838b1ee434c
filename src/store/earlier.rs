//! The trees whose files a new snapshot uses again: the newest snapshot, the newest complete one, a newer one that has lost its
//! record, and what was written by runs that were broken off.

use std::path::PathBuf;

use crate::error::{Context, Operation, Result};
use crate::store::hashes::journal::{self, Head};
use crate::store::hashes::manifest;
use crate::store::layout::{Layout, manifest_name};
use crate::store::record::Record;
use crate::store::{Held, mounted, name, rename_tree};

/// A tree, and the name of its manifest in the directory for what is ours. There may be none.
pub(super) struct Tree {
    pub(super) path: PathBuf,
    pub(super) manifest: String,
    /// A crash may have taken contents of its files: it was not flushed.
    pub(super) is_doubted: bool,
}

/// The newest snapshot, and the newest complete one.
pub(super) fn newest(snapshots: &[Record]) -> impl Iterator<Item = &Record> {
    let newest = snapshots.last();
    let complete = snapshots.iter().rev().find(|record| record.complete);
    newest.into_iter().chain(complete.filter(move |complete| Some(*complete) != newest))
}

/// The newest directory that is called by a time, where the record knows of none that is as new: the record was lost. Without
/// any record it is the one that `latest` leads to.
pub(super) fn unrecorded(layout: &Layout, snapshots: &[Record]) -> Option<String> {
    if let Some(latest) = layout.led_to().filter(|_| snapshots.is_empty()) {
        return Some(latest);
    }
    let is_known = |name: &String| snapshots.iter().any(|record| record.name == *name);
    let newest = layout.dated().into_iter().rfind(|name| !is_known(name))?;
    let is_older = |record: &Record| Some(record.started) < name::time(&newest);
    snapshots.last().is_none_or(is_older).then_some(newest)
}

/// The trees, the first to be looked at first. What was being written last is put to what was broken off before it.
pub(super) fn trees(held: &Held) -> Result<Vec<Tree>> {
    let layout = &held.layout;
    let recorded = newest(&held.snapshots).map(|record| record.name.clone());
    let names = recorded.chain(unrecorded(layout, &held.snapshots));
    let mut trees: Vec<Tree> = names
        .map(|name| Tree { path: layout.snapshot(&name), manifest: manifest_name(&name), is_doubted: false })
        .collect();
    let count = put_away(layout)?;
    let mounted = mounted::identity(layout.store());
    let was_mounted = |number| std::fs::read_to_string(layout.own(mark(number))).ok();
    let broken_off = (0..count).rev().map(|number| Tree {
        path: layout.broken_off().join(number.to_string()),
        manifest: broken_off_manifest(number),
        is_doubted: mounted.is_none() || was_mounted(number) != mounted,
    });
    trees.extend(broken_off);
    for tree in &mut trees {
        tree.path = std::path::absolute(&tree.path).at(Operation::UseStore, || &tree.path)?;
    }
    Ok(trees)
}

/// Puts what the last run was writing, if it was broken off, to what was broken off before. Returns how many there are.
fn put_away(layout: &Layout) -> Result<u32> {
    let (incomplete, broken_off) = (layout.incomplete(), layout.broken_off());
    let path_of = |number: u32| broken_off.join(number.to_string());
    let count = (0..u32::MAX).find(|number| !path_of(*number).exists()).unwrap_or(u32::MAX);
    if incomplete.symlink_metadata().is_err() {
        return Ok(count); // the journal, if there is one, is of none of them
    }
    std::fs::create_dir_all(&broken_off).at(Operation::Create, || &broken_off)?;
    rename_tree(&incomplete, &path_of(count))?;
    let journal = layout.journal();
    if journal.exists() {
        // Without these the files are used all the same, once they were compared: there may be no room for them.
        if let Ok((Head { mounted: Some(mounted), .. }, _)) = journal::read(&journal) {
            std::fs::write(layout.own(mark(count)), mounted).ok();
        }
        manifest::write(layout, &journal, &layout.own(broken_off_manifest(count))).ok();
    }
    Ok(count + 1)
}

/// Tells which mount a run that was broken off has written to.
fn mark(number: u32) -> String {
    format!("broken-off/{number}.mounted")
}

fn broken_off_manifest(number: u32) -> String {
    format!("broken-off/{number}.b3")
}
