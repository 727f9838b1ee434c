//! Getting files back out of a snapshot. What the destination has besides stays.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Outcome, Result};
use crate::event::{Both, Reporter, Summary};
use crate::roots::nearest_existing;
use crate::roots::overlap::{Location, mounts, mounts_below, place};
use crate::stop::Stop;
use crate::store::is_broken_off;
use crate::store::look::against::Against;
use crate::store::look::find::{Found, View, within};
use crate::store::look::missing::Missing;
use crate::store::own::held;
use crate::store::record::Record;
use crate::text::Escaped;

const INTO_STORE: &str = "nothing is restored into the store itself: name another destination";
/// As many paths of a partial snapshot are told.
const KEPT: usize = 10;

/// What to restore, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Restore {
    /// The run: its options may be changed, and what it reads is the snapshot.
    pub run: Config,
    /// What is read.
    pub snapshot: Found,
    /// What may be missing, if nobody asked for this snapshot by its name and something is, or may be, under a path that was
    /// asked for.
    pub partial: Option<Partial>,
    /// Lines of the store's record that can't be read, and what to do: texts for people.
    pub damage: Vec<String>,
    /// Paths in the snapshot, and their names in the destination. Of all that it has: an empty path each.
    places: Vec<(PathBuf, PathBuf)>,
    manifest: PathBuf,
}

crate::options::with!(Restore);

/// What the newest snapshot lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partial {
    /// The first errors of the run that took it.
    pub errors: Vec<String>,
    /// How many it had.
    pub count: u64,
    /// The first paths that it lacks, and the newest snapshot that has each.
    pub missing: Vec<Missing>,
    /// The newest snapshot of which nothing is missing.
    pub newest_complete: Option<String>,
}

impl Restore {
    /// Of a store's snapshot of this name, or else of its newest one: all that it has into `destination`, as
    /// [`Config::new`] mirrors; or each of `paths`, which begin at its top, under its own name, as [`Config::copy`] does.
    ///
    /// # Errors
    /// When the store can't be used, or there is no such snapshot, or it has no such path: nothing was written then.
    pub fn new(store: &Path, name: Option<&OsStr>, paths: &[PathBuf], destination: &Path) -> Result<Self> {
        let view = View::open(store)?;
        refuse_store(&view, destination)?;
        let snapshot = match name {
            Some(name) => view.find(name)?,
            None => view.newest()?.clone(),
        };
        let mut places = Vec::new();
        for path in paths {
            places.push(place_of(&view, &snapshot, path)?);
        }
        // What has several sources at its top has no metadata for the destination itself.
        if places.is_empty() && snapshot.record.as_ref().is_some_and(|record| record.several) {
            let at = Operation::UseStore;
            for entry in std::fs::read_dir(&snapshot.path).at(at, || &snapshot.path)? {
                let name = PathBuf::from(entry.at(at, || &snapshot.path)?.file_name());
                places.push((name.clone(), name));
            }
        }
        let mut run = match places.is_empty() {
            true => Config::new(&snapshot.path, destination),
            false => {
                let sources = places.iter().map(|(path, _)| snapshot.path.join(path));
                Config::copy(sources, destination)
            }
        };
        run.within = Some(snapshot.path.clone());
        if places.is_empty() {
            places.push((PathBuf::new(), PathBuf::new()));
        }
        let is_whole =
            !paths.is_empty() && snapshot.record.as_ref().is_some_and(|record| has_whole(record, &places));
        let partial = partial(&view, &snapshot).filter(|_| name.is_none() && !is_whole);
        let damage = view.damage().map(ToString::to_string).collect();
        Ok(Restore { run, partial, damage, places, manifest: view.manifest(&snapshot), snapshot })
    }
}

/// Refuses to write to the store: what is changed there is changed in all snapshots that share it.
fn refuse_store(view: &View, destination: &Path) -> Result<()> {
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|stat| (stat.dev(), stat.ino()));
    let Some(store) = inode(view.layout.store()) else { return Ok(()) };
    let Ok(destination) = std::path::absolute(destination) else { return Ok(()) };
    let existing = destination.ancestors().find_map(|path| path.canonicalize().ok());
    let is_store = |path: &Path| inode(path) == Some(store);
    if existing.is_some_and(|existing| existing.ancestors().any(is_store)) {
        return Err(view.refusal(INTO_STORE.into()));
    }
    refuse_mounted(view, &destination)
}

/// The same where what is mounted shows a part of the store in another place.
fn refuse_mounted(view: &View, destination: &Path) -> Result<()> {
    let mounts = mounts();
    let hold = |path: &Path| {
        let held = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        place(&held.ok()?, &mounts)
    };
    // What the destination is not, the engine says.
    let Ok((existing, missing)) = nearest_existing(destination) else { return Ok(()) };
    let (Some(store), Some(to)) = (hold(view.layout.store()), hold(&existing)) else { return Ok(()) };
    let to = if missing.as_os_str().is_empty() { to } else { to.join(missing) };
    if store.way_within(&to).is_some() {
        return Err(view.refusal(INTO_STORE.into()));
    }
    let is_elsewhere = |mount: &&Location| !mount.seen_at().starts_with(store.seen_at());
    let mut below = mounts_below(&to, &mounts).filter(is_elsewhere);
    match below.find(|mount| store.way_within(mount).is_some()) {
        Some(mount) => {
            let at = Escaped::path(mount.seen_at());
            Err(view.refusal(format!("a part of it is mounted in the destination ({at}): unmount that")))
        }
        None => Ok(()),
    }
}

/// A path of the snapshot, and its name in the destination.
fn place_of(view: &View, snapshot: &Found, path: &Path) -> Result<(PathBuf, PathBuf)> {
    let refuse = |why: String| Err(Error::new(Operation::FindPath, path, Cause::Refused(why)));
    let within = within(path)?;
    let Some(name) = within.file_name().map(PathBuf::from) else {
        return refuse("it is the whole snapshot: leave it out".into());
    };
    if snapshot.hold(&within)?.is_some() {
        return Ok((within, name));
    }
    let named = Escaped::name(snapshot.name.as_ref());
    refuse(match view.newest_with(&within) {
        Some(has) => {
            let has = Escaped::name(has.name.as_ref());
            format!("it is not in snapshot {named}; the newest one that has it is {has}")
        }
        None => format!("it is not in snapshot {named}, nor in any other"),
    })
}

fn partial(view: &View, snapshot: &Found) -> Option<Partial> {
    let record = snapshot.record.as_ref().filter(|record| !record.complete)?;
    Some(Partial {
        errors: record.first_errors.clone(),
        count: record.errors,
        missing: view.missing(record, KEPT),
        newest_complete: view.newest_complete().map(|complete| complete.name.clone()),
    })
}

/// Whether nothing is missing under these paths: what is, is known, and lies elsewhere.
fn has_whole(record: &Record, places: &[(PathBuf, PathBuf)]) -> bool {
    let is_apart =
        |lack: &PathBuf| places.iter().all(|(path, _)| !lack.starts_with(path) && !path.starts_with(lack));
    record.errors == record.missing.len() as u64
        && record.missing.iter().all(|lack| lack.to_path().as_ref().is_some_and(is_apart))
}

/// What came of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// Of the run.
    pub summary: Summary,
    /// The files that are not what they were when the snapshot was taken.
    pub wrong: Vec<Error>,
    /// How many files were to be compared, and could not, since the store has no hash of them.
    pub unknown: u64,
}

/// Restores. Where what was written is read back, and the store has the hashes of the snapshot's files, it is compared with
/// these as well.
///
/// # Errors
/// When nothing could be begun, as for [`sync`](crate::sync()).
pub fn restore(restore: &Restore, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Restored> {
    let checks = restore.run.reads_back() && restore.run.writes();
    let mut against = checks.then(|| Against::new(leaves_some(&restore.run)));
    let mut summary = match &mut against {
        Some(against) => crate::engine::sync(&restore.run, &mut Both(reporter, against), stop)?,
        None => crate::engine::sync(&restore.run, reporter, stop)?,
    };
    let (mut wrong, mut unknown) = (Vec::new(), 0);
    if let Some(against) = against.filter(|_| !is_broken_off(&summary)) {
        let trees = (&*restore.snapshot.path, &*restore.run.destination);
        unknown = against.files();
        if !held::is_absent(&restore.manifest) {
            // What can't be compared is not known to be right.
            let compared = against.compare(&restore.manifest, &restore.places, trees, stop);
            (wrong, unknown) = compared.unwrap_or_else(|error| (vec![error], unknown));
        }
    }
    if restore.partial.is_some() || !wrong.is_empty() {
        summary.outcome = summary.outcome.max(Outcome::Failed);
    }
    Ok(Restored { summary, wrong, unknown })
}

/// Whether a run may leave files alone that the snapshot has.
fn leaves_some(run: &Config) -> bool {
    let (select, compare) = (&run.select, &run.compare);
    let by_size = select.max_size.is_some() || select.min_size.is_some();
    let by_path = select.has_rules() || select.gitignore || select.paths.is_some() || select.one_file_system;
    by_size || by_path || compare.update || compare.existing || compare.ignore_existing
}
