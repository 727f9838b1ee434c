//! TODO engine/own

pub(crate) mod directory;
pub(crate) mod litter;
pub(crate) mod set_aside;
pub(crate) mod writable;
