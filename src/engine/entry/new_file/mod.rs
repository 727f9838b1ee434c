//! What the copy of a file does about its new file (engine/own/new_file.rs) beside writing it: it has room promised to it, and
//! asks what closing it says.

pub(crate) mod closing;
pub(crate) mod room;
