//! What a store has had under a path: each version once, and in which snapshots it is.

use std::collections::HashMap;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use blake3::Hash;
use jiff::Timestamp;

use crate::content::manifest::Reader;
use crate::error::{Context, Error, Operation, Result};
use crate::event::{Attributes, Kind};
use crate::stat::{Inode, stat_open};
use crate::stop::Stop;
use crate::store::look::against::hash_held;
use crate::store::look::find::{Found, View, within};
use crate::store::own::held;

/// One version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// What it is.
    pub kind: Kind,
    /// Of the first snapshot that has it.
    pub attributes: Attributes,
    /// Of a file's contents, if they could be read.
    pub hash: Option<Hash>,
    /// Where a symlink leads.
    pub target: Option<PathBuf>,
    /// When that snapshot was begun.
    pub started: Option<Timestamp>,
    /// The snapshots that have it, the oldest first.
    pub snapshots: Vec<String>,
}

impl Version {
    /// Files are told apart by their contents, symlinks by where they lead, all else by its metadata.
    fn is_same(&self, other: &Version) -> bool {
        match self.kind == other.kind {
            false => false,
            _ if self.kind == Kind::File => self.hash.is_some() && self.hash == other.hash,
            _ if self.kind == Kind::Symlink => self.target == other.target,
            _ => Attributes { size: 0, ..self.attributes } == Attributes { size: 0, ..other.attributes },
        }
    }
}

/// All of them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Versions {
    /// In the order of their first snapshots.
    pub versions: Vec<Version>,
    /// What could not be looked at.
    pub errors: Vec<Error>,
    /// Lines of the store's record that can't be read, and what to do: texts for people.
    pub damage: Vec<String>,
}

/// Finds the versions of what lies under `path`, which begins at the top of each snapshot. Names of one inode are one
/// version; what has another inode is read once, unless the store knows its hash.
///
/// # Errors
/// When the store can't be used.
pub fn versions(store: &Path, path: &Path, stop: &Stop) -> Result<Versions> {
    let (view, path) = (View::open(store)?, within(path)?);
    let damage = view.damage().map(ToString::to_string).collect();
    let mut found = Versions { versions: Vec::new(), errors: Vec::new(), damage };
    let mut inodes: HashMap<Inode, usize> = HashMap::new();
    for snapshot in view.snapshots.iter().take_while(|_| !stop.is_stopped()) {
        match look(&view, snapshot, &path, &inodes, stop) {
            Ok(None) => {}
            Ok(Some(Look::Known(index))) => found.versions[index].snapshots.push(snapshot.name.clone()),
            Ok(Some(Look::New(inode, version, error))) => {
                found.errors.extend(error);
                let same = found.versions.iter().position(|known| known.is_same(&version));
                let index = same.unwrap_or(found.versions.len());
                match same {
                    Some(same) => found.versions[same].snapshots.extend(version.snapshots),
                    None => found.versions.push(*version),
                }
                inodes.insert(inode, index);
            }
            Err(error) => found.errors.push(error),
        }
    }
    Ok(found)
}

/// What a snapshot has under the path.
enum Look {
    /// The inode of an earlier one.
    Known(usize),
    New(Inode, Box<Version>, Option<Error>),
}

fn look(
    view: &View,
    snapshot: &Found,
    path: &Path,
    inodes: &HashMap<Inode, usize>,
    stop: &Stop,
) -> Result<Option<Look>> {
    let Some(held) = snapshot.hold(path)? else { return Ok(None) };
    let at = || snapshot.path.join(path);
    let stat = stat_open(&held).at(Operation::FindPath, at)?;
    if let Some(&index) = inodes.get(&stat.inode) {
        return Ok(Some(Look::Known(index)));
    }
    let (hash, error) = match stat.kind {
        Kind::File => hash_of(view, snapshot, path, &held, stop)
            .map_or_else(|error| (None, Some(error)), |hash| (hash, None)),
        _ => (None, None),
    };
    let version = Version {
        kind: stat.kind,
        attributes: Attributes::from(&stat),
        hash,
        target: (stat.kind == Kind::Symlink)
            .then(|| target(&held))
            .transpose()
            .at(Operation::ReadLink, at)?,
        started: snapshot.started,
        snapshots: vec![snapshot.name.clone()],
    };
    Ok(Some(Look::New(stat.inode, Box::new(version), error)))
}

fn target(held: &OwnedFd) -> rustix::io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(held, c"", Vec::new())?;
    Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
}

/// From the manifest, or else by reading.
fn hash_of(view: &View, snapshot: &Found, path: &Path, held: &OwnedFd, stop: &Stop) -> Result<Option<Hash>> {
    match known_hash(&view.manifest(snapshot), path, stop) {
        Some(hash) => Ok(Some(hash)),
        None => hash_held(held, stop).at(Operation::ReadSource, || snapshot.path.join(path)),
    }
}

fn known_hash(manifest: &Path, path: &Path, stop: &Stop) -> Option<Hash> {
    let lines = Reader::new(BufReader::new(held::open(manifest).ok()?));
    let mut lines = lines.take_while(|_| !stop.is_stopped()).map_while(std::io::Result::ok);
    lines.find_map(|(_, line)| line.ok().filter(|line| line.path == path).map(|line| line.hash))
}
