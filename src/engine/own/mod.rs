//! Names of our own in the destination: directories that a run makes, what killed runs left, and what they had set aside.

pub(crate) mod directory;
pub(crate) mod litter;
pub(crate) mod refused;
pub(crate) mod set_aside;
pub(crate) mod writable;
