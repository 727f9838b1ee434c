//! Listing the source tree: the first stage of the pipeline, in a thread of its own.

pub(crate) mod batch;
mod bounds;
mod later;
mod level;
mod links;
mod lister;
pub(crate) mod listing;
mod patient;
mod sink;
mod tree;

pub(crate) use crate::walk::batch::{Batch, Entry, Parcel};
pub(crate) use crate::walk::listing::Unlisted;
pub(crate) use crate::walk::sink::Sink;
pub(crate) use crate::walk::tree::walk;
