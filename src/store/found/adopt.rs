//! Takes over the snapshots of other programs, as they are: each is renamed into the store, under the name of its time.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::io::Errno;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::roots::nearest_existing;
use crate::stop::Stop;
use crate::store::found::names::{Origin, Told, told};
use crate::store::found::rebuild::is_ours;
use crate::store::found::{directories, hold, number, refusal, tree, write_down};
use crate::store::layout::Layout;
use crate::store::own::held;
use crate::store::record::{self, Record, known};
use crate::store::{name, rename_tree};
use crate::text::Escaped;

/// What to take over, and where to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Adopt {
    /// The directory that holds the snapshots. It is made if it is missing.
    pub store: PathBuf,
    /// The trees. None: those that lie in the store.
    pub trees: Vec<PathBuf>,
    /// Of the times in the names of others.
    pub zone: TimeZone,
    /// Rename nothing, and tell what would be taken over.
    pub dry_run: bool,
    /// Wait while another run is at work in the store.
    pub wait: bool,
}

crate::options::with!(Adopt);

impl Adopt {
    /// The defaults for what lies in a store.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Adopt {
            store: store.into(),
            trees: Vec::new(),
            zone: TimeZone::system(),
            dry_run: false,
            wait: false,
        }
    }
}

/// What came of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Adopted {
    /// Where each lay, and what it is now, the oldest first.
    pub trees: Vec<(PathBuf, Record)>,
    /// Why others were not taken over, and the first errors of what could not be counted.
    pub errors: Vec<Error>,
}

/// A tree that is to be taken over.
struct Tree {
    path: PathBuf,
    origin: Origin,
    started: Timestamp,
    is_partial: bool,
}

/// Takes trees over. In the record they come before the snapshots that were taken, in the order of their times. What was renamed
/// by a run that was killed, and not written down, is found again. If this is stopped before it renames, nothing is done.
///
/// # Errors
/// When the store can't be used, a tree is none or has a name that tells no time, or lies on another file system.
pub fn adopt(adopt: &Adopt, stop: &Stop) -> Result<Adopted> {
    let layout = Layout::new(&adopt.store);
    let mut trees = find(adopt, &known(&layout)?.snapshots)?;
    require_one_file_system(&adopt.store, &trees)?;
    // A run that was killed may have left `latest` behind its record.
    if trees.is_empty() && layout.require().is_err() {
        return Ok(Adopted { trees: Vec::new(), errors: Vec::new() });
    }
    let lock = (!adopt.dry_run).then(|| hold(&layout, adopt.wait, stop)).transpose()?;
    let snapshots = known(&layout)?.snapshots;
    if lock.is_some() {
        trees = find(adopt, &snapshots)?; // another run may have been at work until now
    }
    let several = snapshots.last().is_some_and(|newest| newest.several);
    let (mut adopted, mut errors) = describe(&layout, trees, several, stop);
    let Some(lock) = lock.filter(|_| !stop.is_stopped()) else {
        return Ok(Adopted { trees: adopted, errors });
    };
    // What is not there under its name is not known to anybody yet. If this is killed, what has its name is known for what it is.
    let mut records = in_order(&layout, &adopted, &snapshots);
    number(&mut records);
    record::write(&layout.record(), &records)?;
    record::remove(&layout.pending())?;
    adopted.retain(|(path, record)| match take_in(&layout, path, &record.name) {
        Ok(()) => true,
        Err(error) => {
            errors.push(error);
            false
        }
    });
    record::flush_around(&layout.latest())?;
    let records = in_order(&layout, &adopted, &snapshots);
    let records = write_down(layout, records, lock)?;
    for (_, record) in &mut adopted {
        record.sequence =
            records.iter().find(|known| known.name == record.name).map_or(0, |known| known.sequence);
    }
    Ok(Adopted { trees: adopted, errors })
}

/// What is adopted comes before what was taken, and by its time among what was adopted before. What may be no snapshot, and so
/// comes before all others (rebuild.rs), stays there, and what was taken keeps its order: dates say nothing of either.
fn in_order(layout: &Layout, adopted: &[(PathBuf, Record)], snapshots: &[Record]) -> Vec<Record> {
    let (earlier, others): (Vec<Record>, Vec<Record>) =
        snapshots.iter().cloned().partition(|record| record.adopted);
    let mut by_time: Vec<Record> = adopted.iter().map(|(_, record)| record.clone()).chain(earlier).collect();
    by_time.sort_by(|one, other| (one.started, &one.name).cmp(&(other.started, &other.name)));
    let is_stray = |record: &&Record| record.rebuilt && !is_ours(layout, &record.name);
    let strays = others.iter().take_while(is_stray).count();
    let mut records = others;
    records.splice(strays..strays, by_time);
    records
}

/// The trees, and what a run that was killed had renamed already.
fn find(adopt: &Adopt, known: &[Record]) -> Result<Vec<Tree>> {
    let known: HashSet<&str> = known.iter().map(|record| &*record.name).collect();
    let mut trees = Vec::new();
    for path in &adopt.trees {
        trees.push(named(adopt, path)?);
    }
    let names = match directories(&adopt.store) {
        // One that is missing is made for trees that are named.
        Err(error) if error.errno() == Some(Errno::NOENT) && !adopt.trees.is_empty() => Vec::new(),
        names => names?.0,
    };
    let layout = Layout::new(&adopt.store);
    for name in names.iter().filter(|name| !known.contains(&***name)) {
        let told = told(name, &adopt.zone, false);
        let is_asked = |told: &Told| adopt.trees.is_empty() || told.origin == Origin::Own;
        // One that has a manifest was taken here, and `rebuild` takes it in.
        let was_taken = !held::is_absent(&layout.manifest(name));
        if let Some(told) = told.filter(|told| is_asked(told) && !was_taken) {
            let path = adopt.store.join(name);
            let is_there = |tree: &Tree| same(&tree.path, &path);
            if !trees.iter().any(is_there) {
                trees.push(Tree::new(path, told)?);
            }
        }
    }
    if let Some(recorded) = trees.iter().find(|tree| {
        let name = tree.path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| known.contains(name) && same(&tree.path, &layout.snapshot(name)))
    }) {
        return Err(refusal(&recorded.path, "it is a snapshot of this store already"));
    }
    trees.sort_by(|one, other| (one.started, &one.path).cmp(&(other.started, &other.path)));
    trees.dedup_by(|one, other| same(&one.path, &other.path));
    mark_unfinished(&mut trees);
    Ok(trees)
}

/// A tree that the caller has named.
fn named(adopt: &Adopt, path: &Path) -> Result<Tree> {
    if !std::fs::symlink_metadata(path).at(Operation::UseDirectory, || path)?.is_dir() {
        return Err(Error::new(Operation::UseDirectory, path, Cause::Refused("it is no directory".into())));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(|name| told(name, &adopt.zone, true)) {
        Some(told) => Tree::new(path.to_path_buf(), told),
        None => {
            let has_trees = directories(path)?.0.iter().any(|name| told(name, &adopt.zone, false).is_some());
            let why = if has_trees {
                let path = Escaped::path(path);
                format!("its name tells no time, and directories in it do: name these, {path}/*")
            } else {
                "its name tells no time, as daily.0, 2024-01-31-023000 and 2024-01-31_023000 do: rename it"
                    .into()
            };
            Err(Error::new(Operation::UseDirectory, path, Cause::Refused(why)))
        }
    }
}

impl Tree {
    fn new(path: PathBuf, told: Told) -> Result<Self> {
        let started = match told.started {
            Some(started) => started,
            None => {
                let stat = std::fs::symlink_metadata(&path).at(Operation::UseDirectory, || &path)?;
                Timestamp::new(stat.mtime(), 0)
                    .map_err(|_| refusal(&path, "its time is beyond all calendars: touch it"))?
            }
        };
        Ok(Tree { path, origin: told.origin, started, is_partial: told.is_partial })
    }
}

/// rsync-time-backup leaves a file beside its trees while it writes to the newest one.
fn mark_unfinished(trees: &mut [Tree]) {
    let mut seen: HashSet<PathBuf> = HashSet::new();
    for tree in trees.iter_mut().rev().filter(|tree| tree.origin == Origin::TimeBackup) {
        let around = tree.path.parent().unwrap_or(Path::new("")).to_path_buf();
        tree.is_partial |=
            around.join("backup.inprogress").symlink_metadata().is_ok() && !seen.contains(&around);
        seen.insert(around);
    }
}

/// Trees are renamed, which does not lead to another file system.
fn require_one_file_system(store: &Path, trees: &[Tree]) -> Result<()> {
    let (existing, _) = nearest_existing(store)?;
    let device = std::fs::metadata(&existing).at(Operation::UseStore, || store)?.dev();
    let other = trees
        .iter()
        .find(|tree| std::fs::symlink_metadata(&tree.path).is_ok_and(|stat| stat.dev() != device));
    other.map_or(Ok(()), |tree| Err(on_another_file_system(&tree.path)))
}

fn on_another_file_system(tree: &Path) -> Error {
    let why =
        "it lies on another file system than the store, and is renamed, not copied: name a store beside it";
    Error::new(Operation::UseDirectory, tree, Cause::Refused(why.into()))
}

/// Gives each a name that is free, and counts what it has.
fn describe(
    layout: &Layout,
    trees: Vec<Tree>,
    several: bool,
    stop: &Stop,
) -> (Vec<(PathBuf, Record)>, Vec<Error>) {
    let (mut described, mut errors) = (Vec::new(), Vec::new());
    let mut taken: HashSet<String> = HashSet::new();
    for tree in trees {
        let own = tree.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_there = tree.origin == Origin::Own && same(&tree.path, &layout.snapshot(own));
        let is_free =
            |name: &String| !taken.contains(name) && layout.snapshot(name).symlink_metadata().is_err();
        let by_time = || (0..u32::MAX).map(|earlier| name::of_time(tree.started, earlier)).find(is_free);
        let name = if is_there { own.to_owned() } else { by_time().unwrap_or_default() };
        taken.insert(name.clone());
        let counted = tree::count(&tree.path, &mut errors, stop);
        let missing =
            tree.is_partial.then_some("something is missing in it, as the program that made it says");
        let record = tree::record_of((name, false), tree.started, several, missing, &counted);
        described.push((tree.path, Record { adopted: true, ..record }));
    }
    (described, errors)
}

/// Renames a tree, if it has another name.
fn take_in(layout: &Layout, path: &Path, name: &str) -> Result<()> {
    let to = layout.snapshot(name);
    if same(path, &to) {
        return Ok(());
    }
    match rename_tree(path, &to) {
        Err(error) if error.errno() == Some(Errno::XDEV) => Err(on_another_file_system(path)),
        renamed => renamed.and_then(|()| record::flush_around(path)),
    }
}

/// Whether two paths lead to one directory.
fn same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| std::fs::symlink_metadata(path).map(|stat| (stat.dev(), stat.ino())).ok();
    inode(one).is_some() && inode(one) == inode(other)
}
