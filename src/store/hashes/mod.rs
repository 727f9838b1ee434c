//! The hashes of what is in a snapshot: written down while its run goes on (journal.rs), put in order (sorted.rs), and merged with
//! those of earlier ones to a manifest (manifest.rs).

pub(crate) mod journal;
pub(crate) mod manifest;
mod sorted;
