//! Directories of both trees: opened, and made, by the first who needs one; closed for a while where descriptors are scarce.

pub(crate) mod creation_defaults;
pub(crate) mod earlier;
pub(crate) mod evict;
pub(crate) mod kept_link;
pub(crate) mod kept_mode;
pub(crate) mod make;
pub(crate) mod meet;
pub(crate) mod merge;
pub(crate) mod open;
pub(crate) mod tidy;
