//! TODO engine/delete

pub(crate) mod aside;
pub(crate) mod collect;
pub(crate) mod extras;
pub(crate) mod node;
pub(crate) mod removal;
pub(crate) mod replace;
pub(crate) mod unlink;
pub(crate) mod work_stack;
