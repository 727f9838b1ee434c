//! Listing the source tree: the first stage of the pipeline, in a thread of its own.

pub(crate) mod tree;

pub(crate) use tree::walk;
