//! Whom the walk serves: it says what it finds, and knows nothing of what becomes of that.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Cause;
use crate::event::Event;
use crate::roots::follow::Follow;
use crate::roots::several::Parent;
use crate::select::Scope;
use crate::walk::listing::Unlisted;

/// Takes what the walk finds. `Directory` is what a directory is to the one who takes it; batches name theirs by it.
pub(crate) trait Sink {
    type Directory: Clone;

    /// A subdirectory was found.
    fn child(&self, parent: &Self::Directory, name: CString) -> Self::Directory;
    /// The directory that several sources lie in, none of which is it.
    fn around(&self, root: &Self::Directory, around: Arc<Parent>) -> Self::Directory;
    /// A symlink in a directory, to be followed.
    fn follow(&self, directory: &Self::Directory, name: &CStr) -> Result<Follow, Cause>;
    /// A subdirectory that was found is a symlink to one.
    fn mark_followed(&self, directory: &Self::Directory);
    /// Lends a directory that the walk has opened to list it.
    fn lend(&self, directory: &Self::Directory, fd: &Arc<OwnedFd>);
    /// These rules hold in a directory: said before any of its entries is sent.
    fn set_scope(&self, directory: &Self::Directory, scope: Option<Arc<Scope>>);
    /// One more batch of the directory will be sent before its last one.
    fn hold(&self, directory: &Self::Directory);
    /// The directory has one batch of entries and no subdirectory.
    fn mark_leaf(&self, directory: &Self::Directory);
    /// Not all names of the directory are known; that has been reported, or is no error.
    fn mark_unlisted(&self, directory: &Self::Directory);
    /// The directory lies on a file system that is left out, and is not read.
    fn mark_elsewhere(&self, directory: &Self::Directory);
    /// Not all names are known, and why: of the directory, or of one name in it.
    fn report_unlisted(&self, directory: &Self::Directory, unlisted: Unlisted);
    /// A name that is known to be there can't be read.
    fn report_failed(&self, directory: &Self::Directory, name: &CStr, cause: Cause);
    /// The source has something that is mirrored.
    fn mark_source_has_entries(&self);
    /// Where a directory lies, as the user would name it.
    fn source_path(&self, directory: &Self::Directory) -> PathBuf;
    /// Something that is no entry.
    fn report(&self, event: Event);
    /// A thread of the walk is stuck in the kernel, and nobody waits for it.
    fn leave_behind(&self);
}
