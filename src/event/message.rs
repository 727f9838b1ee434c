//! What travels from the pipeline to the progress task.

use std::time::Duration;

use crate::error::{Error, Operation};
use crate::event::metrics::Ring;
use crate::event::{Entries, Notice};

/// What travels from the pipeline to the progress task.
#[derive(Debug)]
pub(crate) enum Event {
    /// The walk found more entries, and counts the directories among them; after `complete` it finds no more.
    Found { entries: u64, directories: u64, complete: bool },
    /// Entries of some directories were done.
    Entries(Vec<Entries>),
    /// This number of entries were deleted, and are not told one by one.
    Deleted(u64),
    /// A large file was begun: this is how many bytes are to come.
    Expected(u64),
    /// Bytes of a large file were copied.
    Bytes(u64),
    /// A large file was given up, or is begun anew, or nothing is said of it as an entry: what had been expected of it, and
    /// what was copied.
    Ended { expected: u64, copied: u64 },
    /// Everything is on stable storage.
    Durable,
    /// Something is not as it was hoped for, and what that means.
    Notice(Notice),
    /// Something failed that is no entry: a listing, a thread.
    Failed(Error),
    /// A ring has ended: its figures.
    Ring(Box<Ring>),
    /// Spans of a ring, as they are to be written.
    Trace(String),
}

/// A ring in which no task but one has had its turn for a while.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Stall {
    /// Its number, from 0.
    pub ring: usize,
    /// What that one task is at.
    pub operation: Operation,
    /// For how long, so far.
    pub time: Duration,
}

impl Stall {
    /// Of a ring that has stood still for this long, at this.
    pub fn new(ring: usize, operation: Operation, time: Duration) -> Self {
        Stall { ring, operation, time }
    }
}
