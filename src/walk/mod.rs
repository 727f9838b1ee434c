//! Listing the source tree: the first stage of the pipeline, in a thread of its own.

mod lister;
mod listing;
pub(crate) mod tree;

pub(crate) use tree::walk;
