//! The walk: lists the source with walkdir, parents before children, and cuts the entries of each directory in
//! batches. It stats nothing: names and types are what the listing holds.
//!
//! walkdir works by path. It starts at the held root's link in /proc/self/fd, and where a path nears `PATH_MAX` it
//! starts anew at a descriptor of that directory. What it lists is names only; whoever uses a name resolves it
//! beneath its root.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_channel::Sender;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use walkdir::{DirEntry, WalkDir};

use crate::engine::Run;
use crate::engine::directory::Directory;
use crate::engine::job::{BATCH, Batch, Entry, Parcel};
use crate::error::{Cause, Error, Operation};
use crate::metadata::proc_path;
use crate::plan::entry::Kind;
use crate::report::event::Event;

/// Directories walkdir keeps open at most. Where a tree is deeper, it reads the rest of the oldest listing into memory.
const OPEN_LISTINGS: usize = 128;
/// A directory whose path is longer is listed from a descriptor of its own: one more name of 255 bytes must still
/// fit in `PATH_MAX`, 4096 bytes.
pub(crate) const LONG_PATH: usize = 3500;
/// The smallest batch, while the copy tasks wait for work.
const SMALLEST: usize = 4;
/// A directory itself is as much work as so many entries.
const DIRECTORY_WEIGHT: usize = 4;
/// Entries found are reported in steps of so many.
const FOUND_STEP: u64 = 1024;

/// A directory that is being listed, and its entries that are not sent yet.
struct Listing {
    directory: Arc<Directory>,
    entries: Vec<Entry>,
    /// It has no subdirectories, and all its entries are here.
    leaf: bool,
}

impl Listing {
    fn new(directory: Arc<Directory>) -> Self {
        Listing { directory, entries: Vec::new(), leaf: true }
    }
}

struct Walk<'a> {
    run: &'a Run,
    parcels: &'a Sender<Parcel>,
    /// Batches that are not sent yet, and how much work they are.
    parcel: Parcel,
    weight: usize,
    /// From the root down to the directory that is being listed.
    listings: Vec<Listing>,
    /// Listings that wait for one inside of them, begun where the path got long.
    waiting: usize,
    /// Entries found and not reported yet.
    found: u64,
}

/// Fewer where descriptors are scarce, and in listings inside of listings.
pub(crate) fn open_listings(inside: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = limit.map_or(OPEN_LISTINGS, |limit| (limit / 16).clamp(1, OPEN_LISTINGS as u64) as usize);
    (most >> inside).max(1)
}

/// Walks the source tree from `root` until it is through or the run is stopped.
pub(crate) fn walk(run: &Run, root: Arc<Directory>, parcels: &Sender<Parcel>) {
    let Some(fd) = run.roots.source.fd.clone() else { return };
    let (listings, parcel) = (Vec::new(), Parcel::new());
    let mut walk = Walk { run, parcels, parcel, weight: 0, listings, waiting: 0, found: 1 }; // the root itself
    walk.listings.push(Listing::new(root));
    walk.list(fd.as_fd());
    walk.close_down_to(0);
    walk.send_parcel();
    walk.report_found(true);
}

impl Walk<'_> {
    /// Lists the directory on top, which `fd` holds, and all below it.
    fn list(&mut self, fd: BorrowedFd<'_>) {
        let base = PathBuf::from(proc_path(fd));
        let depth = self.listings.len() - 1;
        let mut tree = WalkDir::new(&base).min_depth(1).max_open(open_listings(self.waiting)).into_iter();
        while let Some(item) = tree.next() {
            if self.run.stop.is_stopped() {
                break;
            }
            match item {
                Ok(entry) => {
                    self.close_down_to(depth + entry.depth());
                    self.add(&entry);
                    if entry.file_type().is_dir() && entry.path().as_os_str().len() > LONG_PATH {
                        tree.skip_current_dir();
                        self.list_apart(fd, entry.path().strip_prefix(&base).unwrap_or(entry.path()));
                    }
                }
                Err(error) => self.report_error(error, &base, depth),
            }
        }
        self.close_down_to(depth + 1);
    }

    /// Lists the directory on top from a descriptor of its own.
    fn list_apart(&mut self, fd: BorrowedFd<'_>, below: &Path) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(fd, below, flags, Mode::empty(), beneath) {
            Ok(fd) => {
                self.waiting += 1;
                self.list(OwnedFd::as_fd(&fd));
                self.waiting -= 1;
            }
            Err(errno) => {
                self.mark_unlisted(self.listings.len() - 1);
                self.fail(Error::new(Operation::ListSource, self.run.source_path(&self.top_path()), errno));
            }
        }
    }

    /// Adds an entry to the directory on top; a directory becomes the new top.
    fn add(&mut self, entry: &DirEntry) {
        self.found += 1;
        if self.found == FOUND_STEP {
            self.report_found(false);
        }
        // A name is one component: a file system that lists another must not lead out of the directory.
        let name = entry.file_name().as_bytes();
        let Some(name) = CString::new(name).ok().filter(|_| !name.contains(&b'/') && name != b"..") else {
            let path = self.top_path().join(entry.file_name());
            return self.fail(Error::new(Operation::ListSource, self.run.source_path(&path), Errno::INVAL));
        };
        let size = self.batch_size();
        let Some(top) = self.listings.last_mut() else { return };
        if entry.file_type().is_dir() {
            let directory = Directory::child(&top.directory, name);
            top.leaf = false;
            if size == SMALLEST && !top.entries.is_empty() {
                self.send();
            }
            self.listings.push(Listing::new(directory));
            return;
        }
        top.entries.push(Entry { name, kind: Kind::from(entry.file_type()), rename: None });
        if top.entries.len() >= size {
            self.send();
        }
    }

    /// Small while the copy tasks run out of work, so that few files still keep all of them busy.
    fn batch_size(&self) -> usize {
        let plenty = (self.parcels.capacity().unwrap_or(1) / 2).max(1);
        (BATCH * self.parcels.len() / plenty).clamp(SMALLEST, BATCH)
    }

    /// Sends what the directory on top has so far.
    fn send(&mut self) {
        if let Some(top) = self.listings.last_mut() {
            top.directory.hold();
            top.leaf = false;
            let batch = Batch { directory: top.directory.clone(), entries: std::mem::take(&mut top.entries) };
            self.add_to_parcel(batch);
        }
    }

    /// Ends the listings deeper than `depth`, each with its last batch.
    fn close_down_to(&mut self, depth: usize) {
        while self.listings.len() > depth {
            if let Some(Listing { directory, entries, leaf }) = self.listings.pop() {
                if leaf && !entries.is_empty() {
                    directory.is_leaf();
                }
                self.add_to_parcel(Batch { directory, entries });
            }
        }
    }

    fn add_to_parcel(&mut self, batch: Batch) {
        self.weight += batch.entries.len() + DIRECTORY_WEIGHT;
        self.parcel.push(batch);
        if self.weight >= self.batch_size() {
            self.send_parcel();
        }
    }

    fn send_parcel(&mut self) {
        self.weight = 0;
        self.parcels.send_blocking(std::mem::take(&mut self.parcel)).ok();
    }

    /// The path of the directory on top, below the roots.
    fn top_path(&self) -> PathBuf {
        self.listings.last().map(|listing| listing.directory.path()).unwrap_or_default()
    }

    fn report_found(&mut self, complete: bool) {
        self.run.report_blocking(Event::Found { entries: std::mem::take(&mut self.found), complete });
    }

    fn report_error(&self, error: walkdir::Error, base: &Path, depth: usize) {
        // With a path it is about that entry, the directory itself if it is one. Reading on in a directory fails without
        // a path; its depth is that of the entries.
        let listed = depth + error.depth();
        let unlisted = if error.path().is_some() { listed } else { listed.saturating_sub(1) };
        self.mark_unlisted(unlisted);
        let depth = if error.path().is_some() { depth } else { unlisted };
        let mut path = self.listings.get(depth).map(|listing| listing.directory.path()).unwrap_or_default();
        let below = error.path().and_then(|path| path.strip_prefix(base).ok());
        path.extend(below.filter(|below| !below.as_os_str().is_empty()));
        let cause = error.into_io_error().map_or_else(|| Cause::TypeChanged, Cause::from);
        self.fail(Error::new(Operation::ListSource, self.run.source_path(&path), cause));
    }

    /// Takes note that not all entries of a directory, and those in it, are known.
    fn mark_unlisted(&self, depth: usize) {
        self.listings.iter().skip(depth).for_each(|listing| listing.directory.is_unlisted());
    }

    fn fail(&self, error: Error) {
        self.run.report_blocking(Event::Failed(error));
    }
}
