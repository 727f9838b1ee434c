//! What there is and what to do about it: one stat, a pure decision, and who leads a hard link.

pub(crate) mod chmod;
pub(crate) mod compare;
pub(crate) mod delete;
pub(crate) mod narrow;
pub(crate) mod privileges;
pub(crate) mod rules;
pub(crate) mod skip;
pub(crate) mod writers;
