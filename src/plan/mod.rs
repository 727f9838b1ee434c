//! What there is and what to do about it: one stat, a pure decision, and who leads a hard link.

pub(crate) mod alone;
pub(crate) mod changes;
pub(crate) mod chmod;
pub(crate) mod compare;
pub(crate) mod delete;
pub(crate) mod entry;
pub(crate) mod links;
pub(crate) mod names;
pub(crate) mod narrow;
pub(crate) mod rules;
pub(crate) mod writers;
