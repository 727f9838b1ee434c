//! Sources that are written to while they are read.

pub(crate) mod steady;
