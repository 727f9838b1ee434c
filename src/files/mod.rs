//! Files that a run has beside its trees: where they may lie, and who may read them.

pub(crate) mod key;
pub(crate) mod manifest;
pub(crate) mod named;
pub(crate) mod trace;
pub(crate) mod trees;
