//! The trees whose files a new snapshot uses again: the newest snapshot, the newest complete one, a newer one that has lost its
//! record, and what was written by runs that were broken off.

use std::path::PathBuf;

use crate::error::{Context, Operation, Result};
use crate::store::hashes::journal::{self, Head};
use crate::store::hashes::manifest;
use crate::store::layout::{Layout, manifest_name};
use crate::store::own::held;
use crate::store::prune::removal;
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
/// any record it is the one that `latest` leads to. What another user may have put there is none: its files are not linked to.
pub(super) fn unrecorded(layout: &Layout, snapshots: &[Record]) -> Option<String> {
    let is_ours = |name: &String| !layout.is_strangers(name);
    if let Some(latest) = layout.led_to().filter(|name| snapshots.is_empty() && is_ours(name)) {
        return Some(latest);
    }
    let is_known = |name: &String| snapshots.iter().any(|record| record.name == *name);
    let newest = layout.dated().into_iter().rfind(|name| !is_known(name) && is_ours(name))?;
    // To the second: that, and the order in it, is all that names tell.
    let time = name::time(&newest)?.as_second();
    let is_older = |record: &Record| (record.started.as_second(), &record.name) < (time, &newest);
    snapshots.last().is_none_or(is_older).then_some(newest)
}

/// The trees, the first to be looked at first: of a file that the newest one has no other is looked at. What was being written
/// last is put to what was broken off before it. Where a crash has cut the record off, what it lacks may not have been flushed.
pub(super) fn trees(held: &Held) -> Result<Vec<Tree>> {
    let layout = &held.layout;
    let recorded = newest(&held.snapshots).map(|record| (record.name.clone(), record.is_doubted()));
    let unrecorded = unrecorded(layout, &held.snapshots).map(|name| (name, held.cut.is_some()));
    let trees = unrecorded.into_iter().chain(recorded);
    let mut trees: Vec<Tree> = trees
        .map(|(name, is_doubted)| Tree {
            path: layout.snapshot(&name),
            manifest: manifest_name(&name),
            is_doubted,
        })
        .collect();
    let count = put_away(layout)?;
    let mounted = mounted::identity(layout.store());
    let was_mounted = |number| String::from_utf8(held::read(&layout.own(mark(number))).ok()?).ok();
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
    let count = (0..u32::MAX).find(|number| held::is_absent(&path_of(*number))).unwrap_or(u32::MAX);
    if held::is_absent(&incomplete) {
        return Ok(count); // the journal, if there is one, is of none of them
    }
    held::make_directory(&broken_off).at(Operation::Create, || &broken_off)?;
    rename_tree(&incomplete, &path_of(count))?;
    let journal = layout.journal();
    let (mark, hashes) = (layout.own(mark(count)), layout.own(broken_off_manifest(count)));
    held::remove(&mark).at(Operation::Remove, || &mark)?;
    let mut has_hashes = false;
    if !held::is_absent(&journal) {
        // Without these the files are used all the same, once they were compared: there may be no room for them.
        if let Ok((Head { mounted: Some(mounted), .. }, _)) = journal::read(&journal) {
            held::write(&mark, mounted.as_bytes()).ok();
        }
        has_hashes = manifest::write(layout, &journal, &hashes).is_ok();
    }
    if !has_hashes {
        held::remove(&hashes).at(Operation::Remove, || &hashes)?; // of a tree that was here before
    }
    Ok(count + 1)
}

/// Takes the trees out of sight that runs which were broken off had left before the last one: there is no room for them. What
/// the last one took from them it has. Their manifests stay, since its journal tells of those. Returns how many they were.
pub(super) fn drop_broken_off(layout: &Layout) -> Result<usize> {
    let broken_off = layout.broken_off();
    let mut count = 0;
    for name in held::list(&broken_off).at(Operation::ListDirectory, || &broken_off)? {
        let path = broken_off.join(name);
        if path.extension().is_none() {
            removal::doom(layout, &path)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Tells which mount a run that was broken off has written to.
fn mark(number: u32) -> String {
    format!("broken-off/{number}.mounted")
}

fn broken_off_manifest(number: u32) -> String {
    format!("broken-off/{number}.b3")
}
