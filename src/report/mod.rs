//! Showing a run: the reporters of the program. The library knows nothing of terminals; it sends events, its progress task
//! counts them, and one of these shows them.

pub(crate) mod bar;
pub(crate) mod clock;
pub(crate) mod format;
mod handful;
pub(crate) mod json;
pub(crate) mod lines;
pub(crate) mod log;
pub(crate) mod number_format;
mod stats;
mod tables;
pub(crate) mod terminal;
pub(crate) mod ticker;
pub(crate) mod verify;
pub(crate) mod words;
