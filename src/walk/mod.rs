//! Listing the source tree: the first stage of the pipeline, in a thread of its own.

pub(crate) mod batch;
mod level;
mod lister;
pub(crate) mod listing;
mod sink;
mod tree;

pub(crate) use batch::{Batch, Entry, Parcel};
pub(crate) use listing::Unlisted;
pub(crate) use sink::Sink;
pub(crate) use tree::walk;
