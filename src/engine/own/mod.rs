//! What is a run's own in the destination: files and directories that it makes, tries, or has set aside, and what killed
//! runs left.

pub(crate) mod directory;
pub(crate) mod litter;
pub(crate) mod new_file;
pub(crate) mod refused;
pub(crate) mod set_aside;
pub(crate) mod shed;
pub(crate) mod trial;
pub(crate) mod writable;
