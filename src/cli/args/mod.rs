//! Options that several commands have, grouped by what they are about.

pub(crate) mod backup;
pub(crate) mod compare;
pub(crate) mod copying;
pub(crate) mod delete;
pub(crate) mod differences;
pub(crate) mod engine;
pub(crate) mod keep;
pub(crate) mod list;
pub(crate) mod select;
pub(crate) mod show;
pub(crate) mod symlinks;
pub(crate) mod write;
