//! `--one-file-system`: which directories are read. Each source has its own file system. With `--cross-subvolumes` the
//! subvolumes of btrfs in it are read too, but for snapshots of what is read: they hold it once more.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::io::list::LIST;
use crate::io::subvolume::{Subvolume, Uuid, is_btrfs, is_subvolume};
use crate::stat::stat_open;

/// What becomes of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    /// It is read.
    Inside,
    /// It is on another file system.
    Elsewhere,
    /// It is a subvolume, and these are not read. What it is of, if that can be told.
    Subvolume(Option<Subvolume>),
    /// It is a snapshot of what is read.
    Snapshot,
    /// It is a snapshot, of what may be read later: it waits until all else is read. Its device.
    Later(Subvolume, u64),
    /// Nothing is known of the subvolume.
    Unknown(Errno),
}

/// Where the walk ends.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// Subvolumes are read.
    crosses: bool,
    /// That of the source.
    device: Option<u64>,
    /// Those of the subvolumes in it that are read.
    crossed: HashSet<u64>,
    /// The subvolumes that are read, or are snapshots of them, and what each was received as.
    known: HashMap<Uuid, Option<Uuid>>,
}

impl Bounds {
    pub(super) fn new(crosses: bool) -> Self {
        Bounds { crosses, ..Bounds::default() }
    }

    /// A source begins with this directory.
    pub(super) fn begin(&mut self, source: &OwnedFd) -> rustix::io::Result<()> {
        self.device = Some(stat_open(source)?.inode.device);
        if is_btrfs(source) {
            // What can't be opened is not read either.
            let opened = rustix::fs::openat(source, c".", LIST, Mode::empty());
            let subvolume = opened.and_then(Subvolume::of);
            self.known.extend(subvolume.map(|subvolume| (subvolume.uuid, subvolume.received)));
        }
        Ok(())
    }

    /// What becomes of a directory that was met. One that is read is known from now on.
    pub(super) fn judge(&mut self, directory: &OwnedFd) -> Verdict {
        let Ok(stat) = stat_open(directory) else { return Verdict::Elsewhere };
        let device = stat.inode.device;
        if self.device == Some(device) || self.crossed.contains(&device) {
            return Verdict::Inside;
        }
        if !is_subvolume(directory, stat.inode) {
            return Verdict::Elsewhere;
        }
        if !self.crosses {
            return Verdict::Subvolume(Subvolume::of(directory).ok());
        }
        match Subvolume::of(directory) {
            Ok(subvolume) if self.is_snapshot(&subvolume) => Verdict::Snapshot,
            Ok(subvolume) if subvolume.parent.is_some() => Verdict::Later(subvolume, device),
            Ok(subvolume) => {
                self.cross(&subvolume, device);
                Verdict::Inside
            }
            // It is held, but can't be listed, which is told when that is tried.
            Err(Errno::BADF) => Verdict::Inside,
            Err(errno) => Verdict::Unknown(errno),
        }
    }

    /// Whether a subvolume is a snapshot of one that is known, and then is known as well: there may be snapshots of it. One that
    /// was received in parts is stored as a snapshot of the one before it, and is none.
    pub(super) fn is_snapshot(&mut self, subvolume: &Subvolume) -> bool {
        let of = subvolume.parent.and_then(|parent| self.known.get(&parent));
        let is_snapshot = of.is_some_and(|of| subvolume.received.is_none() || subvolume.received == *of);
        if is_snapshot {
            self.known.insert(subvolume.uuid, subvolume.received);
        }
        is_snapshot
    }

    /// Whether a subvolume that is not read is a snapshot of what the source has, if it is asked of all, the oldest first.
    pub(super) fn is_left_snapshot(&mut self, subvolume: &Subvolume) -> bool {
        let is_snapshot = self.is_snapshot(subvolume);
        self.known.insert(subvolume.uuid, subvolume.received);
        is_snapshot
    }

    /// A subvolume is read.
    pub(super) fn cross(&mut self, subvolume: &Subvolume, device: u64) {
        self.known.insert(subvolume.uuid, subvolume.received);
        self.crossed.insert(device);
    }
}
