//! Makes the record of a store again from what lies there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Context, Error, Operation, Result};
use crate::stop::Stop;
use crate::store::found::{directories, hold, names, refusal, tree, write_down};
use crate::store::layout::Layout;
use crate::store::name;
use crate::store::own::held;
use crate::store::record::{Known, Record, legible};
use crate::text::Escaped;

/// Which store, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rebuild {
    #[allow(missing_docs)]
    pub store: PathBuf,
    /// Directories in it that are snapshots, as the caller knows: no others become some. None: all that may be.
    pub names: Vec<String>,
    /// Write nothing, and tell what would be added.
    pub dry_run: bool,
    /// Wait while another run is at work in the store.
    pub wait: bool,
}

crate::options::with!(Rebuild);

impl Rebuild {
    /// The defaults for a store.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Rebuild { store: store.into(), names: Vec::new(), dry_run: false, wait: false }
    }
}

/// What came of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rebuilt {
    /// The snapshots, the oldest first. Of those that had no record [`Record::rebuilt`] is set.
    pub snapshots: Vec<Record>,
    /// The names of those that had none until now.
    pub added: Vec<String>,
    /// Why lines of the record were dropped, and why directories are no snapshots.
    pub left_out: Vec<Error>,
    /// The first errors of what could not be counted.
    pub errors: Vec<Error>,
}

/// Makes the record of a store again. What can still be read of it is kept, in its order. Every other directory becomes a
/// snapshot: by its name, if that is a time, or as a named one, by the time of its manifest. Each comes after those that were
/// begun before it. A directory that has neither, and to which `latest` does not lead, may be anything: it comes before all
/// others, and an empty one, or one beside which there is no other, is left out, unless it is named. If this is stopped nothing is
/// written.
///
/// # Errors
/// When the store can't be used, its record is a newer program's, nothing in it looks like a store's and none is named, or one
/// that is named is no directory there, a snapshot already, or another program's or user's.
pub fn rebuild(rebuild: &Rebuild, stop: &Stop) -> Result<Rebuilt> {
    let layout = Layout::new(&rebuild.store);
    let (mut names, mut left_out) = directories(&rebuild.store)?;
    let is_asked = !rebuild.names.is_empty();
    if !is_asked && layout.require().is_err() && !names.iter().any(|name| name::time(name).is_some()) {
        let why = "it is no store: it has no record, and no directory that is called by a time";
        return Err(refusal(&rebuild.store, why));
    }
    let lock = (!rebuild.dry_run).then(|| hold(&layout, rebuild.wait, stop)).transpose()?;
    if lock.is_some() {
        names = directories(&rebuild.store)?.0; // another run may have been at work until now
    }
    let Known { mut snapshots, illegible, cut, .. } = legible(&layout)?;
    left_out.extend(illegible.into_iter().chain(cut));
    let known: HashSet<String> = snapshots.iter().map(|record| record.name.clone()).collect();
    names.retain(|name| !known.contains(name));
    if is_asked {
        names = asked(&layout, &rebuild.names, &names, &known)?;
    }
    let (mut added, mut errors) = (Vec::new(), Vec::new());
    let mut strays = Vec::new();
    let several = snapshots.last().is_some_and(|newest| newest.several);
    let has_others = is_asked || !snapshots.is_empty() || names.iter().any(|name| is_ours(&layout, name));
    for name in names {
        let why = foreign(&layout, &name);
        let doubt = || doubt(&layout, &name, has_others).filter(|_| !is_asked);
        if let Some(why) = why.or_else(doubt) {
            left_out.push(refusal(&layout.snapshot(&name), why));
            continue;
        }
        let (named, started) = match name::time(&name) {
            Some(time) => (false, time),
            None => (true, time_of(&layout, &name)?),
        };
        let counted = tree::count(&layout.snapshot(&name), &mut errors, stop);
        let list = if is_ours(&layout, &name) { &mut added } else { &mut strays };
        list.push(tree::record_of((name, named), started, several, None, &counted));
    }
    for list in [&mut strays, &mut added] {
        list.sort_by(|one, other| order(one).cmp(&order(other)));
    }
    let names = strays.iter().chain(&added).map(|record| record.name.clone()).collect();
    insert(&layout, &mut snapshots, added);
    snapshots.splice(..0, strays);
    if let Some(lock) = lock.filter(|_| !stop.is_stopped()) {
        snapshots = write_down(layout, snapshots, lock)?;
    }
    Ok(Rebuilt { snapshots, added: names, left_out, errors })
}

/// Whether a directory is certainly a snapshot: it is called by a time, has a manifest, or `latest` leads to it.
pub(super) fn is_ours(layout: &Layout, name: &str) -> bool {
    name::time(name).is_some()
        || name::refusal(name.as_ref()).is_none()
            && (!held::is_absent(&layout.manifest(name))
                || layout.led_to().is_some_and(|newest| newest == name))
}

/// The directories that the caller names, each once, in their order.
fn asked(
    layout: &Layout,
    names: &[String],
    there: &[String],
    known: &HashSet<String>,
) -> Result<Vec<String>> {
    for name in names {
        let why = match (known.contains(name), there.contains(name)) {
            (true, _) => Some("it is a snapshot of this store already".to_owned()),
            (_, false) => Some("there is no such directory in the store".to_owned()),
            _ => foreign(layout, name),
        };
        if let Some(why) = why {
            return Err(refusal(&layout.snapshot(name), why));
        }
    }
    Ok(there.iter().filter(|name| names.contains(name)).cloned().collect())
}

/// Why a directory is not this program's, as far as that can be told.
fn foreign(layout: &Layout, name: &str) -> Option<String> {
    let why = if layout.is_strangers(name) {
        "it belongs to another user, who may have put it there".into()
    } else if is_ours(layout, name) {
        return None;
    } else if let Some(why) = name::refusal(name.as_ref()) {
        why.into()
    } else if names::told(name, &TimeZone::UTC, false).is_some() {
        format!("`adopt` takes {} over", Escaped::name(name.as_ref()))
    } else {
        return None;
    };
    Some(format!("it is left as it is: {why}"))
}

/// Why a directory may be anything, if it may.
fn doubt(layout: &Layout, name: &str, has_others: bool) -> Option<String> {
    let is_empty =
        || std::fs::read_dir(layout.snapshot(name)).is_ok_and(|mut entries| entries.next().is_none());
    let why = if is_ours(layout, name) {
        return None;
    } else if names::is_scratch(name) {
        "no snapshot is called so"
    } else if is_empty() {
        "it is empty, and its name is no time"
    } else if !has_others {
        "nothing tells that it is a snapshot; a symlink `latest` that leads to it does"
    } else {
        return None;
    };
    Some(format!("it is left as it is: {why} (`rebuild STORE {}` takes it in)", Escaped::name(name.as_ref())))
}

/// When a named snapshot was taken: its manifest was written then. Its directory has the time that its source had.
fn time_of(layout: &Layout, name: &str) -> Result<Timestamp> {
    let modified = |path: &Path| std::fs::symlink_metadata(path).and_then(|stat| stat.modified());
    let tree = layout.snapshot(name);
    let time = modified(&layout.manifest(name)).or_else(|_| modified(&tree));
    let time = time.at(Operation::UseStore, || &tree)?;
    Timestamp::try_from(time).map_err(|_| refusal(&tree, "its time is beyond all calendars: touch it"))
}

/// When one was begun, to the second: that, and the order in it, is all that names tell.
fn order(record: &Record) -> (i64, &str) {
    (record.started.as_second(), &record.name)
}

/// Puts each after the last one that was begun no later; what was taken here comes after all that was adopted.
fn insert(layout: &Layout, snapshots: &mut Vec<Record>, added: Vec<Record>) {
    for record in added {
        let at = snapshots.iter().rposition(|earlier| order(earlier) <= order(&record));
        let taken = layout.has_manifest(&record.name);
        let adopted = snapshots.iter().rposition(|earlier| taken && earlier.adopted);
        snapshots.insert(at.max(adopted).map_or(0, |at| at + 1), record);
    }
}
