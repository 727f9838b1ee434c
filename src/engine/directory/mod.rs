//! TODO engine/directory

pub(crate) mod evict;
pub(crate) mod make;
pub(crate) mod merge;
pub(crate) mod newborn;
pub(crate) mod open;
pub(crate) mod tidy;
