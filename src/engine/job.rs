//! What travels on the channels between the walk and the copy tasks.

use std::ffi::CString;
use std::sync::Arc;

use crate::engine::directory::Directory;
use crate::engine::segment::LargeFile;
use crate::event::Kind;

/// The most entries a batch, or a parcel, holds. With this many most directories are one batch: two threads that create
/// files in one directory wait for each other's lock (docs/performance.md).
pub(crate) const BATCH: usize = 256;

/// Work that a task shares with others.
pub(crate) enum Offer {
    /// Half of a batch that took its task too long.
    Batch(Batch),
    /// A large file's parts.
    Large(Arc<LargeFile>),
}

/// What one message carries: the batches of several small directories, or one of a large one.
pub(crate) type Parcel = Vec<Batch>;

/// Some entries of one directory. Every directory ends with a batch of its own, empty if need be, whose end is the
/// end of the walk's interest in it.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) directory: Arc<Directory>,
    pub(crate) entries: Vec<Entry>,
}

/// One name that is not a directory.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: CString,
    /// What the listing said it is. What it really is, its stat tells.
    pub(crate) kind: Kind,
    /// Its name in the destination, where that is another one (SRC is one file).
    pub(crate) rename: Option<CString>,
}

impl Entry {
    /// Its name in the destination.
    pub(crate) fn target(&self) -> &CString {
        self.rename.as_ref().unwrap_or(&self.name)
    }
}
