//! The walk: lists the source, one directory after the other, parents before children, and cuts the
//! entries of each in batches. It stats nothing: names and types are what the listing holds.
//!
//! Each directory is opened beneath one that is held, never through a symlink, so that nobody who swaps a directory
//! for a symlink can have another one listed. Down to some depth the directories above stay open; deeper ones are
//! listed to their end first and closed, so that descriptors don't limit the depth.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_channel::Sender;

use crate::config::Config;
use crate::error::{Astray, Cause, Context, Error, Operation, Result};
use crate::event::{Event, Kind};
use crate::roots::Roots;
use crate::roots::follow::Follow;
use crate::roots::several::Several;
use crate::select::Scope;
use crate::stat::{Inode, stat_open};
use crate::stop::Stop;
use crate::walk::batch::{BATCH, Batch, Entry, Parcel};
use crate::walk::bounds::{Bounds, Verdict};
use crate::walk::later::{Later, LeftOut};
use crate::walk::level::{Base, Level, Rest, Route, names_in, wanted};
use crate::walk::listing::{Found, Unlisted};
use crate::walk::patient::TimedLister;
use crate::walk::sink::Sink;

/// Directories kept open at most while those below them are listed.
const OPEN_LISTINGS: usize = 128;
/// Where the way down from an open directory is longer, one more is kept open: one more name of 255 bytes must still
/// fit in `PATH_MAX`, 4096 bytes. Longer ways are gone step by step.
pub(super) const LONG_PATH: usize = 3500;
/// For such ways this many times as many are kept open.
pub(super) const LANDINGS: usize = 4;
/// The smallest batch, while the copy tasks wait for work.
const SMALLEST: usize = 4;
/// A directory itself is as much work as this many entries.
const DIRECTORY_WEIGHT: usize = 4;
/// Entries found are reported in steps of this many.
const FOUND_STEP: u64 = 1024;

pub(super) struct Walk<'a, S: Sink> {
    pub(super) config: &'a Config,
    roots: &'a Roots,
    pub(super) stop: &'a Stop,
    pub(super) sink: &'a S,
    parcels: &'a Sender<Parcel<S::Directory>>,
    /// Batches that are not sent yet, and how much work they are.
    parcel: Parcel<S::Directory>,
    weight: usize,
    /// From the root down to the directory that is being listed.
    pub(super) levels: Vec<Level<S::Directory>>,
    /// How many of them are open, and how many should be at most.
    pub(super) open: usize,
    pub(super) most_open: usize,
    /// Entries found and not reported yet, and directories among them.
    found: u64,
    directories: u64,
    /// The first level is a directory around sources.
    is_around: bool,
    /// `--one-file-system`: which directories are read.
    pub(super) bounds: Bounds,
    /// What lies beyond them.
    pub(super) left_out: LeftOut,
    /// What is read when all else is.
    pub(super) later: Vec<Later<S::Directory>>,
    /// Of what was put off, the levels above the lowest one.
    pub(super) above: usize,
    /// The destination, where it lies below the source: it is not read, however it came to be found.
    destination: Option<Inode>,
    pub(super) patience: Option<TimedLister>,
    /// Symlinks may stand for what they lead to.
    pub(super) follows: bool,
}

/// Fewer where descriptors are scarce.
fn open_listings() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(OPEN_LISTINGS, |limit| (limit / 32).clamp(1, OPEN_LISTINGS as u64) as usize)
}

/// Walks the source tree from `root`, or several sources for `root`, until it is through or the run is stopped. `scope`
/// are the rules that hold in the root.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn walk<S: Sink>(
    (config, roots, stop): (&Config, &Roots, &Stop),
    (root, scope): (S::Directory, Option<Arc<Scope>>),
    sink: &S,
    parcels: &Sender<Parcel<S::Directory>>,
) -> Result<()> {
    let patience = config.timeout.map(TimedLister::start).transpose()?;
    let follows = config.symlinks.may_follow();
    let destination = roots.destination.fd.as_ref().filter(|_| roots.nested || follows);
    let destination = destination.and_then(|fd| stat_open(fd).ok()).map(|stat| stat.inode);
    let mut walk = Walk {
        config,
        roots,
        stop,
        sink,
        parcels,
        parcel: Parcel::new(),
        weight: 0,
        levels: Vec::new(),
        open: 0,
        most_open: open_listings(),
        found: 0,
        directories: 0,
        is_around: false,
        bounds: Bounds::new(config.select.cross_subvolumes),
        left_out: LeftOut::default(),
        later: Vec::new(),
        above: 0,
        destination,
        patience,
        follows,
    };
    match (&roots.several, &roots.source.fd) {
        (Some(several), _) => walk.sources(several, root)?,
        (None, Some(fd)) => walk.tree(fd, root, scope)?,
        (None, None) => return Ok(()),
    }
    walk.send_parcel();
    walk.tell_left_out();
    walk.report_found(true);
    Ok(())
}

impl<S: Sink> Walk<'_, S> {
    /// Walks the one source.
    fn tree(&mut self, fd: &Arc<OwnedFd>, root: S::Directory, scope: Option<Arc<Scope>>) -> Result<()> {
        let select = &self.config.select;
        if select.one_file_system {
            let begun = self.bounds.begin(fd);
            begun.at(Operation::StatSource, || self.roots.source_path("".as_ref()))?;
        }
        (self.found, self.directories) = (1, 1); // the root itself
        let names = select.paths.as_ref().and_then(|paths| wanted(&paths.root, paths));
        let base = Base::Held(fd.clone());
        self.begin(root, Route { base, below: Vec::new(), scope, name: CString::default(), names })?;
        self.finish_levels()?;
        self.go_back()
    }

    /// Walks sources from different directories, one such directory after the other.
    fn sources(&mut self, several: &Several, root: S::Directory) -> Result<()> {
        let select = &self.config.select;
        let selection = select.has_rules().then(|| Arc::new(select.clone()));
        for (path, errno) in &several.unusable {
            let error = Error::new(Operation::UseSource, path, *errno);
            self.sink.report(Event::Failed(error));
        }
        self.is_around = true;
        for parent in &several.parents {
            if self.stop.is_stopped() {
                break;
            }
            let base = Base::Around(parent.clone(), selection.clone());
            let (below, scope, name) = (Vec::new(), None, CString::default());
            let names = Some(parent.names.clone());
            let around = self.sink.around(&root, parent.clone());
            self.begin(around, Route { base, below, scope, name, names })?;
            self.finish_levels()?;
            self.go_back()?;
        }
        self.add_to_parcel(Batch { directory: root, entries: Vec::new() });
        Ok(())
    }

    /// Walks to the end of what was begun.
    pub(super) fn finish_levels(&mut self) -> Result<()> {
        while !self.levels.is_empty() && !self.stop.is_stopped() {
            self.step()?;
        }
        while !self.levels.is_empty() {
            self.close_top();
        }
        Ok(())
    }

    /// Takes the next entry of the directory on top.
    fn step(&mut self) -> Result<()> {
        let Some(top) = self.levels.last_mut() else { return Ok(()) };
        match top.rest.next() {
            Some(Ok(found)) if found.kind == Kind::Directory => self.descend(found, None)?,
            Some(Ok(found)) if found.kind == Kind::Symlink && self.follows => self.meet_link(found)?,
            Some(Ok(found)) => self.add(found),
            Some(Err(unlisted)) => self.report_unlisted(unlisted),
            None => self.close_top(),
        }
        Ok(())
    }

    /// Adds an entry that is no directory to the directory on top.
    pub(super) fn add(&mut self, found: Found) {
        if !self.is_hidden(&found) {
            self.add_entry(found, false);
        }
    }

    /// The same, which no rule hides; it may be `followed` there.
    pub(super) fn add_entry(&mut self, found: Found, followed: bool) {
        if self.is_certainly_mirrored(found.kind) {
            self.sink.mark_source_has_entries();
        }
        self.count();
        let size = self.batch_size();
        let Some(top) = self.levels.last_mut() else { return };
        top.entries.push(Entry { name: found.name, kind: found.kind, rename: None, followed });
        if top.entries.len() >= size {
            self.send();
        }
    }

    /// Whether an entry that no rule hides is mirrored whatever its stat says, which the tasks see.
    fn is_certainly_mirrored(&self, kind: Kind) -> bool {
        let select = &self.config.select;
        let by_size = select.max_size.is_some() || select.min_size.is_some();
        match kind {
            Kind::File => !by_size,
            kind => self.config.keep.takes(kind),
        }
    }

    /// Whether the rules leave out an entry of the directory on top.
    pub(super) fn is_hidden(&self, found: &Found) -> bool {
        let Some(top) = self.levels.last() else { return false };
        // Rules are about what a list names, not about the directories on the way there.
        let is_on_the_way =
            top.names.as_ref().and_then(|names| names.child(&found.name)).is_some_and(|node| !node.named);
        let scope = top.scope.as_ref().filter(|_| !is_on_the_way);
        scope.is_some_and(|scope| scope.hides(&found.name, found.kind == Kind::Directory))
    }

    /// Begins a subdirectory of the directory on top, which a symlink may have led to.
    pub(super) fn descend(&mut self, found: Found, link: Option<Arc<Follow>>) -> Result<()> {
        if self.is_hidden(&found) {
            return Ok(());
        }
        self.sink.mark_source_has_entries();
        self.directories += 1;
        self.count();
        let size = self.batch_size();
        let Some(top) = self.levels.last_mut() else { return Ok(()) };
        let directory = self.sink.child(&top.directory, found.name.clone());
        if link.is_some() {
            self.sink.mark_followed(&directory);
        }
        top.leaf = false;
        if size == SMALLEST && !top.entries.is_empty() {
            self.send();
        }
        match self.route_to(found.name) {
            Some(route) => self.begin(directory, route.through(link)),
            None => Ok(()),
        }
    }

    /// Begins to list a directory.
    pub(super) fn begin(&mut self, directory: S::Directory, route: Route) -> Result<()> {
        if self.patience.is_some() {
            return self.list_patiently(directory, route);
        }
        let listing = match route.open() {
            Ok(listing) => listing.following(self.follows),
            Err(cause) => {
                self.push_level(directory, route, None, Rest::nothing());
                self.report_unlisted(Unlisted { name: None, operation: Operation::ListSource, cause });
                return Ok(());
            }
        };
        if !route.is_of_root() {
            self.sink.lend(&directory, &listing.fd);
        }
        let (fd, length) = (listing.fd.clone(), route.below.len());
        let scope = route.scope(&fd);
        self.push_level(directory, route, Some(fd.clone()), Rest::Listing(Box::new(listing)));
        let depth = self.levels.len();
        self.enter(&fd, scope);
        if self.levels.len() == depth && self.open > self.most_open {
            self.read_to_its_end(length);
        }
        Ok(())
    }

    /// The directory on top is open, and these rules hold in it. Returns whether it is to be read: one whose rules can't
    /// be, or that lies elsewhere, is not, and one that waits is no longer on top.
    pub(super) fn enter(&mut self, fd: &OwnedFd, scope: Result<Option<Arc<Scope>>>) -> bool {
        let verdict = self.judge(fd);
        if let Verdict::Later(subvolume, device) = verdict {
            self.put_off((subvolume, device));
            return false;
        }
        let is_inside = matches!(verdict, Verdict::Inside);
        let inode = self.follows.then(|| stat_open(fd).ok()).flatten().map(|stat| stat.inode);
        let scope = match self.refusal(fd, inode).filter(|_| is_inside) {
            Some(error) => Err(error),
            None => scope,
        };
        let Some(top) = self.levels.last_mut() else { return false };
        top.inode = inode;
        match scope {
            Ok(scope) if is_inside => {
                self.sink.set_scope(&top.directory, scope.clone());
                top.scope = scope;
                return true;
            }
            Ok(_) => {
                top.rest = Rest::nothing();
                let directory = top.directory.clone();
                self.leave_out(&directory, verdict);
            }
            Err(error) => {
                top.rest = Rest::nothing();
                self.sink.mark_unlisted(&top.directory);
                self.sink.report(Event::Failed(error));
            }
        }
        false
    }

    /// Why the directory on top is not read, if it is not: it is the destination, or lies in itself.
    fn refusal(&self, fd: &OwnedFd, inode: Option<Inode>) -> Option<Error> {
        let path = || self.levels.last().map(|top| self.sink.source_path(&top.directory)).unwrap_or_default();
        if self.is_round(inode) {
            return Some(Error::new(Operation::ListSource, path(), Cause::NotFollowed(Astray::Round)));
        }
        let destination = self.destination?;
        if !stat_open(fd).is_ok_and(|stat| stat.inode == destination) {
            return None;
        }
        if !self.roots.nested {
            let cause = Cause::NotFollowed(Astray::IntoDestination);
            return Some(Error::new(Operation::ListSource, path(), cause));
        }
        let cause = Cause::Refused("it is DST, which rules kept out of the run when it began".into());
        Some(Error::new(Operation::ListSource, &self.config.destination, cause))
    }

    /// `--one-file-system`: what becomes of the directory on top, which `fd` holds.
    fn judge(&mut self, fd: &OwnedFd) -> Verdict {
        if !self.config.select.one_file_system {
            return Verdict::Inside;
        }
        match self.above + self.levels.len() {
            1 if self.is_around => return Verdict::Inside,
            2 if self.is_around && self.bounds.begin(fd).is_err() => return Verdict::Elsewhere,
            _ => {}
        }
        self.bounds.judge(fd)
    }

    /// The way to a name of the directory on top, from the nearest open one above it.
    fn route_to(&self, name: CString) -> Option<Route> {
        let open = self.levels.iter().rposition(|level| level.fd.is_some())?;
        let base = Base::Held(self.levels[open].fd.clone()?);
        let mut below = Vec::new();
        for level in &self.levels[open + 1..] {
            below.extend_from_slice(level.name.to_bytes());
            below.push(b'/');
        }
        below.extend_from_slice(name.to_bytes());
        let top = self.levels.last()?;
        let scope = top.scope.clone();
        let names = names_in(top.names.as_ref(), &name, self.config.select.paths.as_ref());
        Some(Route { base, below, scope, name, names })
    }

    pub(super) fn push_level(
        &mut self,
        directory: S::Directory,
        route: Route,
        fd: Option<Arc<OwnedFd>>,
        rest: Rest,
    ) {
        self.open += usize::from(fd.is_some());
        let Route { base, name, names, .. } = route;
        let (scope, entries, followed, inode) = (None, Vec::new(), matches!(base, Base::Link(_)), None);
        let level = Level { directory, scope, name, entries, leaf: true, fd, names, rest, followed, inode };
        self.levels.push(level);
    }

    /// Reads all of the directory on top and closes it. `length` is how long the way to it is, in bytes.
    fn read_to_its_end(&mut self, length: usize) {
        let mut names = Vec::new();
        while let Some(entry) = self.levels.last_mut().and_then(|top| top.rest.next()) {
            match entry {
                Ok(found) if self.may_be_directory(found.kind) => names.push(found),
                Ok(found) => self.add(found),
                Err(unlisted) => self.report_unlisted(unlisted),
            }
        }
        let Some(top) = self.levels.last_mut() else { return };
        top.rest = Rest::Directories(names.into_iter());
        let may_close = length < LONG_PATH || self.open > LANDINGS * self.most_open;
        if may_close && !top.followed && top.fd.take().is_some() {
            self.open -= 1;
        }
    }

    /// Small while the copy tasks run out of work, so that few files still keep all of them busy.
    fn batch_size(&self) -> usize {
        let plenty = (self.parcels.capacity().unwrap_or(1) / 2).max(1);
        (BATCH * self.parcels.len() / plenty).clamp(SMALLEST, BATCH)
    }

    /// Sends what the directory on top has so far.
    fn send(&mut self) {
        if let Some(top) = self.levels.last_mut() {
            self.sink.hold(&top.directory);
            top.leaf = false;
            let batch = Batch { directory: top.directory.clone(), entries: std::mem::take(&mut top.entries) };
            self.add_to_parcel(batch);
        }
    }

    /// Ends the directory on top, with its last batch.
    fn close_top(&mut self) {
        if let Some(Level { directory, entries, leaf, fd, .. }) = self.levels.pop() {
            self.open -= usize::from(fd.is_some());
            if leaf && !entries.is_empty() {
                self.sink.mark_leaf(&directory);
            }
            self.add_to_parcel(Batch { directory, entries });
        }
    }

    pub(super) fn add_to_parcel(&mut self, batch: Batch<S::Directory>) {
        self.weight += batch.entries.len() + DIRECTORY_WEIGHT;
        self.parcel.push(batch);
        // A thread that is left behind may lose one batch, not several.
        if self.weight >= self.batch_size() || self.patience.is_some() {
            self.send_parcel();
        }
    }

    fn send_parcel(&mut self) {
        self.weight = 0;
        self.parcels.send_blocking(std::mem::take(&mut self.parcel)).ok();
    }

    fn count(&mut self) {
        self.found += 1;
        if self.found == FOUND_STEP {
            self.report_found(false);
        }
    }

    fn report_found(&mut self, complete: bool) {
        let (entries, directories) = (std::mem::take(&mut self.found), std::mem::take(&mut self.directories));
        self.sink.report(Event::Found { entries, directories, complete });
    }

    /// Reports that not all entries of the directory on top, or of the named one in it, are known.
    pub(super) fn report_unlisted(&mut self, unlisted: Unlisted) {
        if let Some(top) = self.levels.last() {
            self.sink.report_unlisted(&top.directory, unlisted);
        }
    }
}
