//! Listing the source tree: the first stage of the pipeline, in a thread of its own.

mod level;
mod lister;
pub(crate) mod listing;
mod tree;

pub(crate) use crate::walk::tree::walk;
