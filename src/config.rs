//! The resolved options of a run. The engine sees these and never the command line.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// What to mirror, where to, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The tree, or the one file, to copy. May be a symlink to it.
    pub source: PathBuf,
    /// What shall hold the same afterwards. May be a symlink to a directory.
    pub destination: PathBuf,
    /// Make missing parents of the destination.
    pub make_parents: bool,
    /// Change nothing; report what would be done.
    pub dry_run: bool,
    /// What is kept besides contents and mode.
    pub keep: Keep,
    /// Compare files of one size by their contents, whatever their times.
    pub checksum: bool,
    /// Only compare the trees: set by [`crate::check()`].
    pub(crate) check: bool,
    /// Write new files nameless and give them their name when they are whole.
    pub atomic: bool,
    /// Rewrite files that exist where they are, block by block where they differ, instead of replacing them.
    pub in_place: bool,
    /// Keep what a broken off copy of a large file has written, and go on there in the next run.
    pub partial: bool,
    /// Have all data, names and directories on stable storage before the run ends; a file gets its name after its data is.
    pub fsync: bool,
    /// Read each copied file back from the destination's storage and compare. Takes hashing.
    pub verify: bool,
    /// Write the hashes of all files of the destination, those that were there already included, to this file. Takes
    /// hashing.
    pub manifest: Option<PathBuf>,
    /// Give up on an operation that makes no progress for so long. Takes [`Engine::Threads`]: only a thread can be left
    /// behind in the kernel.
    pub timeout: Option<Duration>,
    /// Find out what reports may want to tell: all that differs of what is replaced, and where links lead.
    pub details: bool,
    /// Bytes of contents to read a second, by all threads together; what is cloned or only compared does not count.
    pub bandwidth: Option<NonZeroU64>,
    /// Hash the bytes that are copied.
    pub hash: bool,
    /// Whether to share extents with the source where the file system can.
    pub reflink: Reflink,
    /// How system calls reach the kernel.
    pub engine: Engine,
    /// Rings, a thread each.
    pub jobs: usize,
    /// Copy tasks a ring.
    pub depth: usize,
}

/// What a copy keeps of its source besides contents, type and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Owner and group.
    pub owner: bool,
    /// Extended attributes, POSIX ACLs and capabilities among them.
    pub xattrs: bool,
    /// Names that share an inode share one afterwards.
    pub hard_links: bool,
    /// Modification times, in nanoseconds.
    pub times: bool,
    /// FIFOs, sockets and device nodes.
    pub specials: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Keep { owner: true, xattrs: true, hard_links: true, times: true, specials: true }
    }
}

/// When to make a copy share its extents with the source (`FICLONE`, ioctl_ficlone(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reflink {
    /// Where the file system can; bytes are copied elsewhere.
    #[default]
    Auto,
    /// A file that can't be cloned fails.
    Always,
    /// Bytes are always copied.
    Never,
}

/// How operations reach the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Engine {
    /// io_uring, or threads where it is forbidden.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Plain system calls on a pool of threads.
    Threads,
}

impl Config {
    /// The defaults for mirroring `source` to `destination`.
    pub fn new(source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Self {
        Config {
            source: source.into(),
            destination: destination.into(),
            make_parents: false,
            dry_run: false,
            checksum: false,
            check: false,
            keep: Keep::default(),
            atomic: true,
            in_place: false,
            partial: false,
            fsync: false,
            verify: false,
            manifest: None,
            timeout: None,
            details: false,
            bandwidth: None,
            hash: true,
            reflink: Reflink::default(),
            engine: Engine::default(),
            jobs: default_jobs(),
            depth: DEFAULT_DEPTH,
        }
    }

    /// Whether a hash is needed of every file, however it came to be.
    pub(crate) fn needs_hashes(&self) -> bool {
        self.verify || self.manifest.is_some()
    }

    /// Whether new directories may be filled under a temporary name: not where files must be on stable storage, or be
    /// found again by the next run, one by one.
    pub(crate) fn stages_directories(&self) -> bool {
        self.atomic && !self.fsync && !self.partial && self.timeout.is_none()
    }
}

/// Copy tasks a ring unless told otherwise: enough to keep a disk's queue full from two rings.
pub const DEFAULT_DEPTH: usize = 64;

/// The cores this process may use, 8 at most: past that the file systems' locks are the limit.
pub fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(8)
}
