//! What to check, and how.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{DEFAULT_DEPTH, default_jobs};
use crate::io::file::is_in_user_space;
use crate::options::{Engine, with};

/// How long a file on no disk may make no progress, unless another time is given.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where a manifest comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manifest {
    /// A file, or what else can be read in order.
    File(PathBuf),
    /// Standard input.
    StandardInput,
}

impl Manifest {
    /// What messages call it.
    pub fn name(&self) -> &Path {
        match self {
            Manifest::File(path) => path,
            Manifest::StandardInput => Path::new("standard input"),
        }
    }
}

/// What to check, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyConfig {
    /// Which files there are and what they hold.
    pub manifest: Manifest,
    /// Where the manifest's paths start. None leads out of it, and no symlink beneath it is followed. Without one
    /// they start at the working directory and lead wherever they lead.
    pub directory: Option<PathBuf>,
    /// Also name the regular files in the directory that the manifest lacks. Needs a directory.
    pub strict: bool,
    /// How system calls reach the kernel.
    pub engine: Engine,
    /// Rings, a thread each; 0 counts as 1.
    pub jobs: usize,
    /// Files a ring has open at a time; 0 counts as 1.
    pub depth: usize,
    /// Bytes of a large file that are read at once: whole 64 KiB, 4 MiB at most. `None`: 256 KiB. Files on no disk are read
    /// by 256 KiB whatever this says.
    pub buffer: Option<usize>,
    /// How long a file on no disk may make no progress (for example in /proc, or on a file system in user space). Then it
    /// has failed, and the thread that reads it is left behind.
    pub timeout: Duration,
}

with!(VerifyConfig);

impl VerifyConfig {
    /// The defaults for checking what `manifest` names.
    pub fn new(manifest: Manifest) -> Self {
        VerifyConfig {
            manifest,
            directory: None,
            strict: false,
            engine: Engine::default(),
            jobs: default_jobs(),
            depth: DEFAULT_DEPTH,
            buffer: None,
            timeout: TIMEOUT,
        }
    }

    /// Whether a file system in user space is mounted, which may keep the whole process in the kernel. A
    /// caller that must end all the same does the work in a child process.
    pub fn may_hang(&self) -> bool {
        is_in_user_space()
    }
}
