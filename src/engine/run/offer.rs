//! What threads offer each other.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use crate::engine::run::lane::Lane;
use crate::engine::state::batch::Batch;

/// Work that a task shares with others.
pub(crate) enum Offer {
    /// Half of a batch that took its task too long.
    Batch(Batch),
    /// Work that tasks of several threads do together.
    TeamWork(Arc<dyn TeamWork>),
}

/// Work that several tasks do together: each takes segments of it, until none is left.
pub(crate) trait TeamWork: Send + Sync {
    /// Takes segments of it until there are none left.
    fn help<'a>(&'a self, lane: &'a Lane) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
    /// The path below the roots of what it is about, for a trace.
    fn path(&self) -> Option<&Path>;
}
