//! What the walk sends: the entries of a directory in batches, and batches in parcels.

use std::ffi::CString;

use crate::event::Kind;

/// The most entries a batch, or a parcel, holds. With this many most directories are one batch: two threads that create
/// files in one directory wait for each other's lock (docs/performance.md).
pub(crate) const BATCH: usize = 256;

/// What one message carries: the batches of several small directories, or one of a large one.
pub(crate) type Parcel<D> = Vec<Batch<D>>;

/// Some entries of one directory, which is a `D` to those who take them. Every directory ends with a batch of its own, empty
/// if need be, whose end is the end of the walk's interest in it.
#[derive(Debug)]
pub(crate) struct Batch<D> {
    pub(crate) directory: D,
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
    /// It is a symlink that stands for what it leads to; the kind is that one's.
    pub(crate) followed: bool,
}

impl Entry {
    /// Its name in the destination.
    pub(crate) fn target(&self) -> &CString {
        self.rename.as_ref().unwrap_or(&self.name)
    }
}
