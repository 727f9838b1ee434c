//! TODO engine/check

pub(crate) mod entry;
