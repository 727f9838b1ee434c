//! What to do about an entry: pure decisions, from what a stat says and what the options are.

pub(crate) mod chmod;
pub(crate) mod compare;
pub(crate) mod delete;
pub(crate) mod id_map;
pub(crate) mod kept;
pub(crate) mod names;
pub(crate) mod narrow;
pub(crate) mod privileges;
pub(crate) mod rules;
pub(crate) mod skip;
pub(crate) mod symlinks;
pub(crate) mod tighten;
pub(crate) mod times;
pub(crate) mod writers;
