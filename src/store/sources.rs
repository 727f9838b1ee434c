//! What a snapshot is taken of: that the store does not lie in it, nor it in the store, and that it is still there at the end.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::config::Config;
use crate::engine::within;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::roots::nearest_existing;
use crate::roots::nested::is_kept_out;
use crate::roots::overlap::{mounts, place};
use crate::store::layout::Layout;
use crate::store::record::Record;
use crate::text::Escaped;

/// All that are named.
fn named(run: &Config) -> &[PathBuf] {
    run.sources.as_deref().unwrap_or(std::slice::from_ref(&run.source))
}

fn hold(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Refuses a source or a store that is the wrong one. It is looked at no longer than the run waits for a call.
pub(super) fn refuse_wrong(run: &Config, store: &Path) -> Result<()> {
    let (looked, at) = (run.clone(), store.to_path_buf());
    within(run, move || {
        refuse_overlap(&looked, &at)?;
        refuse_stores(&looked, &at)
    })
}

/// Refuses a store from which snapshots would be taken into snapshots: one in a source, where no rule keeps the run out of
/// all of it; and a source in the store.
fn refuse_overlap(run: &Config, store: &Path) -> Result<()> {
    let (existing, missing) = nearest_existing(store)?;
    let held = hold(&existing).at(Operation::UseStore, || store)?;
    let mounts = mounts();
    let Some(to) = place(&held, &mounts) else { return Ok(()) }; // no /proc
    let to = if missing.as_os_str().is_empty() { to } else { to.join(&missing) };
    let refused = |why: String| Err(Error::new(Operation::UseStore, store, Cause::Refused(why)));
    for path in named(run) {
        // A file lies in the store if its directory does.
        let (source, is_directory) = match (hold(path), path.parent()) {
            (Ok(source), _) => (source, true),
            (_, Some(around)) if !around.as_os_str().is_empty() => match hold(around) {
                Ok(source) => (source, false),
                Err(_) => continue, // the engine says so
            },
            _ => (hold(Path::new(".")).at(Operation::UseSource, || path)?, false),
        };
        let Some(from) = place(&source, &mounts) else { continue };
        let named = Escaped::path(path);
        if to.has(&from, &mounts) {
            return refused(format!(
                "SRC lies in it ({named}): snapshots would be taken of snapshots. Name another STORE"
            ));
        }
        if is_directory
            && from.has(&to, &mounts)
            && !is_kept_out(&run.select, (&source, &from), (&held, &to), &mounts)
        {
            return refused(format!(
                "it lies in SRC ({named}), and snapshots would be taken into snapshots. Leave all of it out with \
                 --exclude, or, on another disk, with --one-file-system"
            ));
        }
    }
    Ok(())
}

/// Refuses a source that is a store, or lies in a snapshot of one.
fn refuse_stores(run: &Config, store: &Path) -> Result<()> {
    for path in named(run) {
        let Ok(source) = path.canonicalize() else { continue }; // the engine says so
        let what = match &source {
            source if Layout::new(source).is_store() => "is a store of snapshots itself",
            source if source.ancestors().any(|tree| Layout::around(tree).is_some()) => "lies in a snapshot",
            _ => continue,
        };
        let why = format!("SRC ({}) {what}: are SRC and STORE swapped?", Escaped::path(path));
        return Err(Error::new(Operation::UseStore, store, Cause::Refused(why)));
    }
    Ok(())
}

/// Refuses a name that is taken, and another shape than that of the snapshots there are.
pub(super) fn refuse(layout: &Layout, name: Option<&str>, several: bool, snapshots: &[Record]) -> Result<()> {
    let refused = |why: String| Err(Error::new(Operation::UseStore, layout.store(), Cause::Refused(why)));
    if let Some(name) = name.filter(|name| layout.snapshot(name).symlink_metadata().is_ok()) {
        return refused(format!("{} is there already", Escaped::name(name.as_ref())));
    }
    let shape = match snapshots.last() {
        Some(newest) if newest.several != several => newest.several,
        _ => return Ok(()),
    };
    let why = match shape {
        false => {
            "its snapshots have the contents of one source at their top: take several into another store"
        }
        true => "its snapshots have several sources, each under its own name: take one into another store",
    };
    refused(why.into())
}

/// What the record says that a snapshot was taken of.
pub(super) fn recorded(run: &Config) -> Vec<String> {
    named(run).iter().map(|path| absolute(path).to_string_lossy().into_owned()).collect()
}

/// A path that means the same from any directory. Symlinks stay, unless `..` may lead back over one.
fn absolute(path: &Path) -> PathBuf {
    let leads_back = path.components().any(|part| part == Component::ParentDir);
    let resolved = leads_back.then(|| path.canonicalize().ok()).flatten();
    let path = resolved.or_else(|| std::path::absolute(path).ok()).unwrap_or_else(|| path.to_path_buf());
    path.components().collect()
}

/// What the newest snapshot was taken of, if that is something else than what a run is to take.
pub(super) fn before(run: &Config, snapshots: &[Record]) -> Option<Vec<String>> {
    let sorted = |mut sources: Vec<String>| {
        sources.sort();
        sources
    };
    let before = &snapshots.last()?.sources;
    let is_known = !before.is_empty() && before.iter().all(|source| source.starts_with('/'));
    (is_known && sorted(before.clone()) != sorted(recorded(run))).then(|| before.clone())
}

/// The sources as a run finds them. What vanishes of them as a whole is not what vanishes of a directory: it was to be taken.
pub(super) struct Sources {
    all: Vec<PathBuf>,
    /// Of each, if it is there: which directory it is, if it is one.
    there: Vec<(PathBuf, Option<(u64, u64)>)>,
}

impl Sources {
    /// Looks at those of a run, no longer than it waits for a call.
    pub(super) fn note(run: &Config) -> Result<Self> {
        let all = named(run).to_vec();
        within(run, move || {
            let there = all.iter().filter(|path| path.symlink_metadata().is_ok());
            let there = there.map(|path| (path.clone(), directory(path))).collect();
            Ok(Sources { all, there })
        })
    }

    /// What has left since, an error each, and whether none is there any more. It is looked at no longer than a run waits for a
    /// call.
    pub(super) fn look_again(self, run: &Config) -> Result<(Vec<Error>, bool)> {
        within(run, move || {
            let are_gone = self.all.iter().all(|path| is_gone(path));
            // The guard tells of that.
            Ok((if are_gone { Vec::new() } else { self.lost() }, are_gone))
        })
    }

    fn lost(&self) -> Vec<Error> {
        let lost = |path: &Path, why: &str| {
            Error::new(
                Operation::UseSource,
                path,
                Cause::Refused(format!("{why}: some of it may be missing")),
            )
        };
        let mut errors = Vec::new();
        for (path, was) in &self.there {
            if is_gone(path) {
                errors.push(lost(path, "it has vanished during the run"));
            } else if was.is_some() && directory(path) != *was {
                errors.push(lost(path, "during the run another directory has come in its place"));
            }
        }
        errors
    }
}

/// Which directory this is. A symlink may lead elsewhere meanwhile, to another whole one.
fn directory(path: &Path) -> Option<(u64, u64)> {
    let stat = path.symlink_metadata().ok().filter(std::fs::Metadata::is_dir)?;
    Some((stat.dev(), stat.ino()))
}

fn is_gone(path: &Path) -> bool {
    matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}
