//! Subvolumes at the bounds of the walk: those that are not read are told, and snapshots of what may still come wait.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::error::{Cause, Operation, Result};
use crate::event::{Event, Notice};
use crate::io::subvolume::Subvolume;
use crate::walk::batch::Batch;
use crate::walk::bounds::Verdict;
use crate::walk::level::{Base, Route};
use crate::walk::listing::Unlisted;
use crate::walk::sink::Sink;
use crate::walk::tree::{LONG_PATH, Walk};

/// Subvolumes that are named one by one.
const NAMED: u64 = 5;

/// A snapshot that waits for all else to be read.
pub(super) struct Later<D> {
    subvolume: Subvolume,
    device: u64,
    directory: D,
    route: Route,
    /// Levels above it.
    above: usize,
}

/// What was left out.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Subvolumes that are not read, of which it is not known yet whether they are snapshots.
    subvolumes: Vec<(PathBuf, Option<Subvolume>)>,
    /// How many snapshots, and the first of them.
    snapshots: u64,
    snapshot: PathBuf,
}

impl LeftOut {
    fn add_snapshot(&mut self, path: PathBuf) {
        if self.snapshots == 0 {
            self.snapshot = path;
        }
        self.snapshots += 1;
    }
}

impl<S: Sink> Walk<'_, S> {
    /// Does not read a directory that lies beyond the bounds, and says so where nobody would expect it.
    pub(super) fn leave_out(&mut self, directory: &S::Directory, verdict: Verdict) {
        match verdict {
            Verdict::Subvolume(subvolume) => {
                self.left_out.subvolumes.push((self.sink.source_path(directory), subvolume));
            }
            Verdict::Snapshot => {
                let path = self.sink.source_path(directory);
                self.left_out.add_snapshot(path);
            }
            Verdict::Unknown(errno) => {
                let why = format!(
                    "it is a subvolume, and whether it is a snapshot of what SRC has can't be told ({}): it is not read",
                    std::io::Error::from(errno)
                );
                let cause = Cause::Refused(why);
                let unlisted = Unlisted { name: None, operation: Operation::ListSource, cause };
                return self.sink.report_unlisted(directory, unlisted);
            }
            Verdict::Inside | Verdict::Elsewhere | Verdict::Later(..) => {}
        }
        self.sink.mark_elsewhere(directory);
    }

    /// Tells in the end what was left out: subvolumes one by one, and how many snapshots there are.
    pub(super) fn tell_left_out(&mut self) {
        let mut met = std::mem::take(&mut self.left_out.subvolumes);
        met.sort_by_key(|(_, subvolume)| subvolume.map(|subvolume| subvolume.id));
        let mut subvolumes = 0;
        for (path, subvolume) in met {
            if subvolume.is_some_and(|subvolume| self.bounds.is_left_snapshot(&subvolume)) {
                self.left_out.add_snapshot(path);
                continue;
            }
            subvolumes += 1;
            if subvolumes <= NAMED {
                self.sink.report(Event::Notice(Notice::Subvolume(path)));
            }
        }
        if subvolumes > NAMED {
            self.sink.report(Event::Notice(Notice::MoreSubvolumes(subvolumes - NAMED)));
        }
        let LeftOut { snapshots, snapshot, .. } = std::mem::take(&mut self.left_out);
        if snapshots > 0 {
            self.sink.report(Event::Notice(Notice::Snapshots { first: snapshot, count: snapshots }));
        }
    }

    /// Takes the directory on top, a snapshot, out of the way until all else is read. The way to it begins at the lowest level.
    pub(super) fn put_off(&mut self, (subvolume, device): (Subvolume, u64)) {
        let Some(level) = self.levels.pop() else { return };
        self.open -= usize::from(level.fd.is_some());
        let directory = level.directory;
        // No path leads through a symlink that was followed.
        let first = self.levels.iter().rposition(|level| level.followed).unwrap_or_default();
        let on_the_way = self.levels.iter().skip(first + 1).map(|level| &level.name);
        let names: Vec<&[u8]> = on_the_way.chain([&level.name]).map(|name| name.to_bytes()).collect();
        let below = names.join(&b'/');
        let base =
            self.levels.get(first).and_then(|root| root.fd.clone()).filter(|_| below.len() < LONG_PATH);
        let Some(base) = base else {
            self.leave_out(&directory, Verdict::Unknown(Errno::NAMETOOLONG));
            return self.add_to_parcel(Batch { directory, entries: Vec::new() });
        };
        let scope = self.levels.last().and_then(|above| above.scope.clone());
        let route = Route { base: Base::Held(base), below, scope, name: level.name, names: level.names };
        let above = self.above + self.levels.len();
        self.later.push(Later { subvolume, device, directory, route, above });
    }

    /// Goes on with what was put off, the oldest first: it is known by now what is a snapshot of what is read.
    pub(super) fn go_back(&mut self) -> Result<()> {
        let oldest = |later: &[Later<S::Directory>]| {
            let order = later.iter().enumerate().min_by_key(|(_, later)| later.subvolume.id);
            order.map(|(at, _)| at)
        };
        while let Some(at) = oldest(&self.later) {
            let Later { subvolume, device, directory, route, above } = self.later.swap_remove(at);
            let is_snapshot = self.bounds.is_snapshot(&subvolume);
            if is_snapshot {
                self.leave_out(&directory, Verdict::Snapshot);
            }
            if is_snapshot || self.stop.is_stopped() {
                self.add_to_parcel(Batch { directory, entries: Vec::new() });
                continue;
            }
            self.bounds.cross(&subvolume, device);
            self.above = above;
            self.begin(directory, route)?;
            self.finish_levels()?;
        }
        self.above = 0;
        Ok(())
    }
}
