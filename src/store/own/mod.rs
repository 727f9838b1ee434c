//! The directory of a store for what is not a snapshot: all in it is opened, made and removed in one way (held.rs), and what
//! another user may have put there is refused (vetted.rs). Snapshots are gone
//! through in the same way (walk.rs).

pub(crate) mod held;
pub(crate) mod vetted;
pub(crate) mod walk;
