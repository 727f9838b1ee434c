//! How the values of options are read.

pub(crate) mod count;
pub(crate) mod duration;
pub(crate) mod id_map;
pub(crate) mod local;
pub(crate) mod owner;
pub(crate) mod rate;
pub(crate) mod reflink;
pub(crate) mod rule;
pub(crate) mod size;
pub(crate) mod span;
