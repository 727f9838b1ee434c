//! The resolved options of a run. The engine sees these and never the command line.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::AtFlags;

use crate::error::{Context, Operation, Result};
use crate::event::Mode;
use crate::files::key::default_state_directory;
use crate::files::named::{self, Existing};
use crate::files::trees::Trees;
use crate::options::{
    Backup, Compare, Delete, DeleteWhen, Engine, Hashing, Keep, Lock, Owner, Reflink, Reuse, Symlinks,
    try_with, with,
};
use crate::plan::chmod::Chmod;
use crate::plan::id_map::IdMap;
use crate::plan::privileges::Privileges;
use crate::plan::rules::Rules;
use crate::select::Selection;

/// What to mirror, where to, and how: the defaults, with what differs from them.
///
/// ```
/// use ringsync::{Config, Delete, DeleteLimit};
///
/// let config = Config::new("photos", "/mnt/backup/photos").with(|config| {
///     config.fsync = true;
///     config.keep.owner = false;
///     config.delete = Some(Delete::default().with(|delete| delete.limit = Some(DeleteLimit::Percent(10))));
/// });
/// # assert!(config.fsync && !config.keep.owner && config.delete.is_some());
/// ```
///
/// A nightly backup: without some files, with a limit to what it deletes, read back, and with a manifest to verify it by
/// later.
///
/// ```no_run
/// use ringsync::{Config, Delete, DeleteLimit, Hashing, Stop, event::Silent};
///
/// let config = Config::new("photos", "/mnt/backup/photos").try_with(|config| {
///     config.select.exclude("*.tmp".as_ref())?;
///     config.delete = Some(Delete::default().with(|delete| delete.limit = Some(DeleteLimit::Percent(10))));
///     config.hashing = Some(Hashing::default().with(|hashing| {
///         hashing.verify = true;
///         hashing.manifest = Some("/mnt/backup/photos.b3".into());
///     }));
///     Ok(())
/// })?;
/// let totals = ringsync::sync(&config, &mut Silent, &Stop::default())?.into_result()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The tree, or the one file, to copy. May be a symlink to it.
    pub source: PathBuf,
    /// What shall hold the same afterwards. May be a symlink to a directory.
    pub destination: PathBuf,
    /// A source that is a symlink is copied as one, and not what it leads to.
    pub source_itself: bool,
    /// Instead of `source`: what to put into `destination`, each under its own name. See [`Config::copy`].
    pub(crate) sources: Option<Vec<PathBuf>>,
    /// The source is this directory, which is no symlink, or the sources lie in it: no symlink on the way to them is followed.
    pub(crate) within: Option<PathBuf>,
    /// Both trees are a store's: what is one inode in both is equal, and a comparison leaves it at that.
    pub(crate) shares_inodes: bool,
    /// Other sources of the same destination, which runs of their own copy: where in it each one goes, and its path. What
    /// one of them has is not deleted there.
    pub shared_with: Vec<(PathBuf, PathBuf)>,
    /// Make missing parents of the destination.
    pub make_parents: bool,
    /// Whether the destination is changed, or it is reported what that would take.
    pub mode: Mode,
    /// What is kept besides contents and mode.
    pub keep: Keep,
    /// Which symlinks stand for what they lead to.
    pub symlinks: Symlinks,
    /// Follow symlinks of other users than root and the one who runs this: on the way to what the user named, and in the trees
    /// where [`Config::symlinks`] has them followed. Those users can then have read or written what is not theirs.
    pub insecure_links: bool,
    /// What of the source is mirrored.
    pub select: Selection,
    /// Delete what the destination has and the source lacks.
    pub delete: Option<Delete>,
    /// A directory that is not empty makes way for an entry of another type, as it does where [`Config::delete`] is set.
    pub force: bool,
    /// Files of the caller's own, for example a log, that are not deleted if they lie in the destination.
    pub own_files: Vec<PathBuf>,
    /// Keep what is replaced or deleted.
    pub backup: Option<Backup>,
    /// Trees of earlier runs, the first one first: what is the same there becomes a hard link to it, or what `reuse` says.
    /// Relative paths begin at the destination.
    pub link_dest: Vec<PathBuf>,
    /// How entries of those trees are used again.
    pub reuse: Reuse,
    /// If this run is broken off, a later one takes what it has written for an earlier tree. Of those trees, by their numbers,
    /// that are such themselves a crash may have taken contents.
    pub(crate) salvage: Option<Vec<usize>>,
    /// No event tells of an entry that was deleted: at the end their number is told.
    pub(crate) counts_deleted: bool,
    /// What counts as changed, and what is left alone.
    pub compare: Compare,
    /// Changes to the modes of the source, made before anything is compared with them.
    pub chmod: Chmod,
    /// Who is to own everything, no matter who owns the source. A user takes [`Keep::owner`], a group [`Keep::group`].
    pub owner: Owner,
    /// Which users take the place of the source's. `None`: none. Takes [`Keep::owner`].
    pub users: Option<IdMap>,
    /// The same for groups. Takes [`Keep::group`].
    pub groups: Option<IdMap>,
    /// Where the machine key lies, by which a run knows what killed ones left in the destination:
    /// [`default_state_directory`] unless told otherwise. `None`: it knows nothing of them.
    pub state: Option<PathBuf>,
    /// Write new files nameless and give them their name when they are whole.
    pub atomic: bool,
    /// Rewrite files that exist where they are, block by block where they differ, instead of replacing them.
    pub in_place: bool,
    /// Keep what a broken off copy of a large file has written, and go on there in the next run.
    pub partial: bool,
    /// Have the destination for this run alone among those that ask for it. A run that writes nothing asks for no lock.
    pub lock: Option<Lock>,
    /// Have all data, names and directories on stable storage before the run ends; a file gets its name after its data is.
    pub fsync: bool,
    /// Take what was read last of a file that changes each time that it is read, though it may be a mixture of its states, in
    /// place of an error that keeps what the destination has.
    pub take_changing: bool,
    /// Of a file of more than 1 GiB that grew while it was read, take the beginning for one state if its end and samples are
    /// as they were, without reading it all once more.
    pub trust_append: bool,
    /// Give up on an operation that makes no progress for this long. Takes [`Engine::Threads`]: only a thread can be left
    /// behind in the kernel.
    pub timeout: Option<Duration>,
    /// Find out what reports may want to tell: all that differs of what is replaced, and where links lead.
    pub details: bool,
    /// Take the figures of each ring: [`Summary::rings`](crate::event::Summary::rings).
    pub stats: bool,
    /// Write what each task did when to this file, as Chrome's trace events.
    pub trace: Option<PathBuf>,
    /// Bytes of contents to read a second, by all threads together; what is cloned or only compared does not count.
    pub bandwidth: Option<NonZeroU64>,
    /// Hash the bytes that are copied.
    pub hashing: Option<Hashing>,
    /// Whether to share extents with the source where the file system can.
    pub reflink: Reflink,
    /// How system calls reach the kernel.
    pub engine: Engine,
    /// Rings, a thread each, to begin with, 1 at least: [`Config::reserve_jobs`] may join.
    pub jobs: usize,
    /// Further rings, that join where those spend much of their time waiting for a disk in opens and stats made in place.
    /// Fewer where descriptors are scarce.
    pub reserve_jobs: usize,
    /// Copy tasks a ring at most, from 1 to 1024: a ring begins with two and adds more while they wait.
    pub depth: usize,
    /// Bytes of a large file that are read, and written, at once: whole 64 KiB, 4 MiB at most. `None`: 256 KiB, but 1 MiB of
    /// a file on FUSE if there is no [`Config::timeout`]. With [`Config::bandwidth`] never more than 256 KiB.
    pub buffer: Option<usize>,
}

with!(Config);
try_with!(Config);

impl Config {
    /// The defaults for mirroring `source` to `destination`.
    pub fn new(source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Self {
        Config {
            source: source.into(),
            destination: destination.into(),
            source_itself: false,
            sources: None,
            within: None,
            shares_inodes: false,
            shared_with: Vec::new(),
            make_parents: false,
            mode: Mode::Sync,
            select: Selection::default(),
            delete: None,
            force: false,
            own_files: Vec::new(),
            backup: None,
            link_dest: Vec::new(),
            reuse: Reuse::default(),
            salvage: None,
            counts_deleted: false,
            compare: Compare::default(),
            chmod: Chmod::default(),
            owner: Owner::default(),
            users: None,
            groups: None,
            state: default_state_directory(),
            keep: Keep::default(),
            symlinks: Symlinks::default(),
            insecure_links: false,
            atomic: true,
            in_place: false,
            partial: false,
            lock: None,
            fsync: false,
            take_changing: false,
            trust_append: false,
            timeout: None,
            details: false,
            stats: false,
            trace: None,
            bandwidth: None,
            hashing: Some(Hashing::default()),
            reflink: Reflink::default(),
            engine: Engine::default(),
            jobs: default_jobs(),
            reserve_jobs: default_jobs(),
            depth: DEFAULT_DEPTH,
            buffer: None,
        }
    }

    /// The defaults for putting each of `sources`, files or directories, into `directory`, under its own name. That one is
    /// not itself mirrored. A source that is a symlink is copied as one. [`Config::delete`] is about what lies in the sources that
    /// are directories. Goes not with [`Selection::paths`].
    pub fn copy(
        sources: impl IntoIterator<Item = impl Into<PathBuf>>,
        directory: impl Into<PathBuf>,
    ) -> Self {
        let sources: Vec<PathBuf> = sources.into_iter().map(Into::into).collect();
        // The first one stands for all where an error is about none of them.
        let first = sources.first().cloned().unwrap_or_default();
        Config { sources: Some(sources), ..Config::new(first, directory) }
    }

    /// Opens the log of a run, to append to it, or makes one that nobody can read who may not read the sources.
    ///
    /// # Errors
    /// When the file can't be opened, a symlink in the way may not be followed, or root would write to another user's file.
    pub fn open_log(&self, path: &Path) -> Result<File> {
        let trees = self.trees();
        let named = named::find(path, &trees, Operation::UseLog)?;
        named.open_to_write(&trees, Existing::Append).at(Operation::UseLog, || path)
    }

    /// The trees of a run, as files beside them have to know them. Several sources are not followed where they are symlinks.
    pub(crate) fn trees(&self) -> Trees {
        let trees = match &self.sources {
            Some(sources) => Trees::of(sources, AtFlags::SYMLINK_NOFOLLOW, &self.destination),
            None => Trees::of(std::slice::from_ref(&self.source), AtFlags::empty(), &self.destination),
        };
        trees.following(self.insecure_links)
    }

    /// The rules of a run by this process.
    pub(crate) fn rules(&self, umask: u32) -> Rules {
        Rules {
            keep: self.keep,
            privileges: Privileges::of_process(),
            compare: self.compare,
            chmod: self.chmod.clone(),
            owner: self.owner,
            users: self.users.clone(),
            groups: self.groups.clone(),
            umask,
        }
    }

    /// Whether the destination is changed.
    pub(crate) fn writes(&self) -> bool {
        self.mode == Mode::Sync
    }

    /// Whether something may be deleted before anything is copied. What hangs then could not be given up, whether the source
    /// has a file of the right size is not known, and where symlinks lead is found out later.
    pub(crate) fn deletes_before(&self) -> bool {
        let knows_sizes = self.select.max_size.is_none() && self.select.min_size.is_none();
        let may =
            |delete: Delete| delete.when == DeleteWhen::Before && (knows_sizes || delete.allow_empty_source);
        let follows = self.symlinks.may_follow() || self.symlinks.keep_directory_links;
        self.timeout.is_none() && !follows && self.delete.is_some_and(may)
    }

    /// Whether the trees are only compared.
    pub(crate) fn checks(&self) -> bool {
        self.mode == Mode::Check
    }

    /// The manifest that is to be written, if one is.
    pub(crate) fn manifest(&self) -> Option<&Path> {
        self.hashing.as_ref()?.manifest.as_deref().filter(|_| self.writes())
    }

    /// Whether copied files are read back.
    pub(crate) fn reads_back(&self) -> bool {
        self.hashing.as_ref().is_some_and(|hashing| hashing.verify)
    }

    /// Whether a hash is needed of every file, however it came to be.
    pub(crate) fn needs_hashes(&self) -> bool {
        self.hashing.as_ref().is_some_and(|hashing| hashing.verify || hashing.manifest.is_some())
    }

    /// Whether new directories may be filled under a temporary name: not where files must be on stable storage, or be
    /// found again by the next run, one by one.
    pub(crate) fn makes_provisional_directories(&self) -> bool {
        self.atomic && !self.fsync && !self.partial && self.timeout.is_none() && self.salvage.is_none()
    }
}

/// The most copy tasks a ring has unless told otherwise: enough to keep a disk's queue full from two rings.
pub const DEFAULT_DEPTH: usize = 64;

/// The cores this process may use, 8 at most: past that the file systems' locks are the limit.
pub fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(8)
}
