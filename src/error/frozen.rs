//! Files and directories that chattr(1) has closed to changes, by anybody: the kernel says EPERM then, as of a right that is
//! missing.

use std::fmt;

/// How one is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frozen {
    /// Nothing of it may change (`chattr +i`).
    Immutable,
    /// It may only grow (`chattr +a`).
    AppendOnly,
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Frozen::Immutable => "immutable (chattr -i ends that)",
            Frozen::AppendOnly => "append-only (chattr -a ends that)",
        })
    }
}
