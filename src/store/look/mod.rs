//! Looking back: what the snapshots of a store have, and how it is got out again. Nothing here writes to a store, or needs its
//! lock; what has no record is known by the names of its directories.

mod against;
mod diff;
mod find;
mod missing;
mod restore;
mod status;
mod versions;

pub use crate::store::look::diff::{Diff, diff};
pub use crate::store::look::find::{Found, View, place, within};
pub use crate::store::look::missing::Missing;
pub use crate::store::look::restore::{Partial, Restore, Restored, restore};
pub use crate::store::look::status::{Status, Trouble, status};
pub use crate::store::look::versions::{Version, Versions, versions};
